"""Classify images."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from edgeprune.data.images import ImageFile
from edgeprune.data.table import Table
from edgeprune.models.reader import Array
from edgeprune.tasks.classification import Classification
from edgeprune.tasks.image import Images, require_images
from edgeprune.tasks.source import Source
from edgeprune.tasks.spec import TaskSpec

__all__ = ["ImageClassification"]

_SIDE = 16
"""The width and height, in pixels, of the images that the linear model sees."""


class ImageClassification(Images, Classification):
    """Give an image a label, several labels or a number."""

    @classmethod
    def resolve(cls, source: Source) -> TaskSpec:
        require_images(source)
        return super().resolve(source)

    def plain_features(self, train: Table, test: Table) -> tuple[Any, Any] | None:
        """Compute the colours of 16 x 16 pixels, less their mean over the training images."""
        features, test_features = (_thumbnails(cast("Sequence[ImageFile]", table.contents)) for table in (train, test))
        mean = features.mean(0)
        return features - mean, test_features - mean


def _thumbnails(images: Sequence[ImageFile]) -> Array:
    """Shrink images, and return their colours between 0 and 1, [images, colours]."""
    return np.stack([np.asarray(image.decode().resize((_SIDE, _SIDE))).ravel() / 255 for image in images])
