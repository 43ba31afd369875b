"""The images of one task of every seed."""

from collections.abc import Sequence

import numpy as np

from lop_engine.datasets.base import IMAGE_SHAPE, ImageSet

#: Value types that cross to the device as they are stored.
_PASSED_ON = (np.uint8, np.float16, np.float32)


def stack_images(images: ImageSet, classes: Sequence[Sequence[int]], num_images: int) -> np.ndarray:
    """The first `num_images` images of `classes` (a list a seed) in one array.

    Returns:
        (seeds, classes, num_images, 3, 32, 32): uint8 or float16 where the images are, else float32.
    """
    dtype = images.dtype if images.dtype in _PASSED_ON else np.dtype(np.float32)
    stacked = np.empty((len(classes), len(classes[0]), num_images, *IMAGE_SHAPE), dtype)
    for seed, chosen in enumerate(classes):
        for place, index in enumerate(chosen):
            stacked[seed, place] = images.images(index, num_images)
    return stacked
