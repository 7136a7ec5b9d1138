"""Read SQuAD's own file, in which questions are nested: data, paragraphs, questions with their answers."""

from typing import Any

from edgeprune.base.errors import DataError

__all__ = ["is_squad", "squad_rows"]


def is_squad(value: Any) -> bool:
    """Say whether a file's content has SQuAD's form: articles with paragraphs."""
    articles = value.get("data") if isinstance(value, dict) else None
    return (
        isinstance(articles, list) and bool(articles) and isinstance(articles[0], dict) and "paragraphs" in articles[0]
    )


def squad_rows(value: Any, name: str) -> list[dict[str, Any]]:
    """Make a row of every question: id, title, context, question, and answers as a list of texts and their places.

    Args:
        value: The file's content.
        name: What a message calls it.

    Raises:
        DataError: An article, a paragraph or a question isn't as SQuAD has them.
    """
    rows = []
    for number, article in enumerate(value["data"], start=1):
        try:
            for paragraph in article["paragraphs"]:
                rows += [
                    {
                        "id": question.get("id"),
                        "title": article.get("title"),
                        "context": paragraph["context"],
                        "question": question["question"],
                        "answers": [] if question.get("is_impossible") else question["answers"],
                    }
                    for question in paragraph["qas"]
                ]
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{name}: article {number} of data is not as in SQuAD, which has paragraphs with a context and qas, and in "
                f"these a question and its answers ({type(error).__name__}: {error})"
            ) from error
    return rows
