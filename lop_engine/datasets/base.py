"""What the engine asks of a set of images, and the images of one task of every seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from lop_engine.experiment.spec import Spec

Shape = tuple[int, int, int]
"""Of one image: channels, height, width."""

SIDE = 32
IMAGE_SHAPE: Shape = (3, SIDE, SIDE)
GREY_SHAPE: Shape = (1, 28, 28)
"""MNIST's."""

DIRECTORIES = {IMAGE_SHAPE: Path("data/imagenet32"), GREY_SHAPE: Path("data/mnist")}
"""Where images of a shape are imported to, and looked for, by default."""

#: Of the images of a data set, each with what people call it; a set has images of one shape.
SHAPES = {IMAGE_SHAPE: "colour images of 32x32", GREY_SHAPE: "grey images of 28x28"}


def in_numbers(shape: Sequence[int]) -> str:
    """``1x28x28``"""
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
        """This split, or where a class holds fewer images (at least 2) one in about the same proportions."""
        if self.total <= num_images:
            return self
        test = max(1, num_images * self.test // self.total)
        return Split(num_images - test, test)

    def __str__(self) -> str:
        return f"{self.train} train, {self.test} test"


#: Images of a class in the paper.
PAPER_SPLIT = Split(600, 100)


class ImageSet(Protocol):
    """Images by class."""

    @property
    def name(self) -> str:
        """Where the images come from, for people."""

    @property
    def num_classes(self) -> int: ...

    @property
    def shape(self) -> Shape:
        """Of one image."""

    @property
    def dtype(self) -> np.dtype:
        """Of the stored values: uint8 grey levels, or numbers of any other kind."""

    @property
    def split(self) -> Split:
        """The set's own split, for specs that name none."""

    @property
    def num_images(self) -> int | None:
        """Images in the smallest class; None if they are generated without limit."""

    @property
    def sha256(self) -> str:
        """Checksum of the images, which does not depend on their path; empty if not computed."""

    def images(self, index: int, num_images: int) -> np.ndarray:
        """The first `num_images` images of class `index`, (num_images, *shape). Raises DataError."""


@dataclass(frozen=True)
class Data:
    """What a spec's data lie in, looked at before its runs are made. A problem's `data` makes one of (spec, seeds).

    It raises DataError for data that are missing or cannot be used.
    """

    spec: Spec
    """With what it leaves to its data filled in: sizes, checksums."""
    name: str
    """Of the data set, for people."""
    notes: tuple[str, ...] = ()
    """What people should know of it."""


#: Value types that cross to the device as they are stored.
_PASSED_ON = (np.uint8, np.float16, np.float32)


def stack_images(images: ImageSet, classes: Sequence[Sequence[int]], num_images: int) -> np.ndarray:
    """The first `num_images` images of `classes` (a list a seed) in one array.

    Returns:
        (seeds, classes, num_images, channels, height, width): uint8 or float16 where the images are, else float32.
    """
    dtype = images.dtype if images.dtype in _PASSED_ON else np.dtype(np.float32)
    stacked = np.empty((len(classes), len(classes[0]), num_images, *images.shape), dtype)
    for seed, chosen in enumerate(classes):
        for place, index in enumerate(chosen):
            stacked[seed, place] = images.images(index, num_images)
    return stacked
