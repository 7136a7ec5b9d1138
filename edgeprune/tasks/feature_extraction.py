"""Extract features of texts: sentence embeddings."""

from edgeprune.models.pooling import Pooling, read_pooling
from edgeprune.models.sentence_settings import read_sentence_settings
from edgeprune.ondevice.agent import STATES_OUTPUT
from edgeprune.tasks.embedding import Embedding
from edgeprune.tasks.source import Source
from edgeprune.tasks.spec import TaskSpec
from edgeprune.tasks.text import Texts

__all__ = ["FeatureExtraction"]


class FeatureExtraction(Texts, Embedding):
    """Embed sentences, with the pooling that the model's folder names."""

    output_names = ("sentence_embedding",)
    unread_names = (STATES_OUTPUT,)

    @classmethod
    def resolve(cls, source: Source) -> TaskSpec:
        pooling = read_pooling(source.folder)
        if pooling is None:
            source.note("the model doesn't say how it pools token states; taking their mean")
            pooling = Pooling("mean", normalize=False)
        settings = read_sentence_settings(source.folder)
        if settings.max_length not in (None, source.max_length):
            source.note(
                f"sentence-transformers cuts this model's texts to {settings.max_length} tokens, this pipeline to "
                f"{source.max_length} (stages.prepare.max_length)"
            )
        if settings.prompts:
            source.note(
                f"the model has prompts ({', '.join(settings.prompts)}), which are written before texts by who asks for "
                f"them; packages write none: give data, and run.py, texts that have theirs"
            )
        return TaskSpec(
            task=source.task,
            max_length=source.max_length,
            inputs=source.inputs,
            pooling=pooling.mode,
            normalize=pooling.normalize,
        )
