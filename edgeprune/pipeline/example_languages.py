"""Refuse `stages.package.examples` where a language's program can't read what the model reads, before anything is trained."""

from edgeprune.base.errors import UsageError
from edgeprune.pipeline.checks import require_single_texts
from edgeprune.pipeline.subject import Subject
from edgeprune.profiles.pipeline import ExampleLanguage, Pipeline

__all__ = ["check_examples"]

_OF_TEXT_GRAPHS: tuple[ExampleLanguage, ...] = ("cpp", "java", "kotlin")
"""Languages without a tokenizer library that reads tokenizer.json exactly."""


def check_examples(pipeline: Pipeline, subject: Subject) -> None:
    """Check that the examples that a pipeline asks for can answer as this model's package does.

    Torch is imported only if it asks for js.

    Raises:
        UsageError: There is no such example for the task, for pairs of texts, for this tokenizer or without the graph that
            reads texts. The message says what to change.
    """
    config = pipeline.stages.package
    if not config.examples:
        return
    named = ", ".join(config.examples)
    require_single_texts(subject, what=f"stages.package.examples names {named}", instead="leave it out")
    need_graph = [language for language in config.examples if language in _OF_TEXT_GRAPHS]
    if need_graph and config.tokenizer != "graph":
        raise UsageError(
            f"stages.package.examples names {', '.join(need_graph)}, whose program reads texts with the graph of "
            f"stages.package.tokenizer: graph; set that too, or leave {'it' if len(need_graph) == 1 else 'them'} out"
        )
    if "js" in config.examples:
        from edgeprune.models.text_reader import load_text_reader

        reader = load_text_reader(subject.model.folder, pipeline.stages.prepare.max_length)
        if reader.tokenizer.split_special_tokens:
            raise UsageError(
                "stages.package.examples names js, but this tokenizer splits special tokens that stand in a text, which "
                "tokenizers for Node can't be told; leave js out"
            )
