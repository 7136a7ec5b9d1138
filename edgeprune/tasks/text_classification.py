"""Classify texts, or pairs of texts."""

from typing import Any

from edgeprune.data.table import Table, flat
from edgeprune.tasks.classification import Classification
from edgeprune.tasks.text import Texts

__all__ = ["TextClassification"]


class TextClassification(Texts, Classification):
    """Give a text a label, several labels or a number."""

    def plain_features(self, train: Table, test: Table) -> tuple[Any, Any] | None:
        """Compute TF-IDF of words and pairs of words; None: the texts have no words at all."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
        try:
            features = vectorizer.fit_transform([" ".join(flat([text])) for text in train.texts])
        except ValueError:  # the texts have no word
            return None
        return features, vectorizer.transform([" ".join(flat([text])) for text in test.texts])
