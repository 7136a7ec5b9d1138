"""Extract features of texts: sentence embeddings."""

from edgeprune.models.pooling import Pooling, read_pooling
from edgeprune.tasks.embedding import Embedding
from edgeprune.tasks.source import Source
from edgeprune.tasks.spec import TaskSpec
from edgeprune.tasks.text import Texts

__all__ = ["FeatureExtraction"]


class FeatureExtraction(Texts, Embedding):
    """Embed sentences, with the pooling that the model's folder names."""

    output_names = ("sentence_embedding",)

    @classmethod
    def resolve(cls, source: Source) -> TaskSpec:
        pooling = read_pooling(source.folder)
        if pooling is None:
            source.note("the model doesn't say how it pools token states; taking their mean")
            pooling = Pooling("mean", normalize=False)
        return TaskSpec(
            task=source.task,
            max_length=source.max_length,
            inputs=source.inputs,
            pooling=pooling.mode,
            normalize=pooling.normalize,
        )
