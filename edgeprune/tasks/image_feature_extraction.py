"""Extract features of images: image embeddings."""

from edgeprune.tasks.embedding import Embedding
from edgeprune.tasks.image import Images, require_images
from edgeprune.tasks.source import Source
from edgeprune.tasks.spec import TaskSpec

__all__ = ["ImageFeatureExtraction"]


class ImageFeatureExtraction(Images, Embedding):
    """Embed images by the state of their first token, which classifiers read."""

    output_names = ("image_embeds",)

    @classmethod
    def resolve(cls, source: Source) -> TaskSpec:
        require_images(source)
        return TaskSpec(task=source.task, inputs=source.inputs, pooling="cls")
