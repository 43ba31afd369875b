"""The interface of a set of images, and the images of one task for every seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from lop_engine.experiment.spec import Spec

Shape = tuple[int, int, int]
"""Channels, height and width of an image."""

SIDE = 32
IMAGE_SHAPE: Shape = (3, SIDE, SIDE)
GREY_SHAPE: Shape = (1, 28, 28)
"""Shape of MNIST's images."""

DIRECTORIES = {IMAGE_SHAPE: Path("data/imagenet32"), GREY_SHAPE: Path("data/mnist")}
"""Default directory of imported images, by shape."""

#: Shapes of a data set's images, with their names in messages; all images of a set have the same shape.
SHAPES = {IMAGE_SHAPE: "colour images of 32x32", GREY_SHAPE: "grey images of 28x28"}


def in_numbers(shape: Sequence[int]) -> str:
    """Return ``1x28x28``."""
    return "x".join(map(str, shape))


@dataclass(frozen=True)
class Split:
    """The first `train` images of a class are for training, the next `test` for testing."""

    train: int
    test: int

    @property
    def total(self) -> int:
        return self.train + self.test

    def fitting(self, num_images: int) -> "Split":
        """Return this split, or for classes with fewer images (at least 2) one with similar proportions."""
        if self.total <= num_images:
            return self
        test = max(1, num_images * self.test // self.total)
        return Split(num_images - test, test)

    def __str__(self) -> str:
        return f"{self.train} train, {self.test} test"


#: Images per class in the paper.
PAPER_SPLIT = Split(600, 100)


class ImageSet(Protocol):
    """Images by class."""

    @property
    def name(self) -> str:
        """Return the origin of the images, for people."""

    @property
    def num_classes(self) -> int: ...

    @property
    def shape(self) -> Shape:
        """Return the shape of an image."""

    @property
    def dtype(self) -> np.dtype:
        """Return the type of the stored values: uint8 grey levels, or any other numbers."""

    @property
    def split(self) -> Split:
        """Return the set's default split, for specs without one."""

    @property
    def num_images(self) -> int | None:
        """Return the number of images in the smallest class; None if they are generated without limit."""

    @property
    def sha256(self) -> str:
        """Return a checksum of the images, independent of their path; "" if not computed."""

    def images(self, index: int, num_images: int) -> np.ndarray:
        """Return the first `num_images` images of class `index`, (num_images, *shape). Raises DataError."""


@dataclass(frozen=True)
class Data:
    """The data of a spec, checked before its runs are made. A problem's `data` returns it for (spec, seeds).

    That function raises DataError for data that are missing or cannot be used.
    """

    spec: Spec
    """The spec with the keys that depend on its data: sizes, checksums."""
    name: str
    """Name of the data set, for people."""
    notes: tuple[str, ...] = ()
    """Notes for the user."""


#: Value types that are copied to the device as they are stored.
_PASSED_ON = (np.uint8, np.float16, np.float32)


def stack_images(images: ImageSet, classes: Sequence[Sequence[int]], num_images: int) -> np.ndarray:
    """Return the first `num_images` images of `classes` (a list per seed) in one array.

    Returns:
        (seeds, classes, num_images, channels, height, width): uint8 or float16 where the images are, else float32.
    """
    dtype = images.dtype if images.dtype in _PASSED_ON else np.dtype(np.float32)
    stacked = np.empty((len(classes), len(classes[0]), num_images, *images.shape), dtype)
    for seed, chosen in enumerate(classes):
        for place, index in enumerate(chosen):
            stacked[seed, place] = images.images(index, num_images)
    return stacked
