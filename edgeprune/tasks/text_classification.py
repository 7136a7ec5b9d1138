"""Text classification: single texts and pairs."""

from typing import Any

from edgeprune.data.table import Table, flat
from edgeprune.tasks.classification import Classification
from edgeprune.tasks.text import TextTask

__all__ = ["TextClassification"]


class TextClassification(TextTask, Classification):
    """A label, labels or a number for a text."""

    name = "text-classification"
    head = "ForSequenceClassification"

    def plain_features(self, train: Table, test: Table) -> tuple[Any, Any] | None:
        """TF-IDF of words and pairs of words; None where the texts have no words at all."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
        try:
            features = vectorizer.fit_transform([" ".join(flat([text])) for text in train.texts])
        except ValueError:  # what it raises without any word
            return None
        return features, vectorizer.transform([" ".join(flat([text])) for text in test.texts])
