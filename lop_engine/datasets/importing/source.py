"""What an importer asks of a source of images, and the synthetic images as a source."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from lop_engine.datasets.base import Shape
from lop_engine.datasets.synthetic import SyntheticImages
from lop_engine.errors import DataError


@dataclass(frozen=True)
class Block:
    """Some images of one file, in the source's order."""

    where: str
    """The file, for error messages."""
    labels: np.ndarray
    """(N,) int64: the source's own."""
    images: np.ndarray
    """(N, channels, height, width)"""
    first: int = 0
    """The number of the first image in its file."""


@dataclass(frozen=True)
class ImportOptions:
    """What a person may choose of an import."""

    format: str | None = None
    """A name of `importing.FORMATS`; None looks."""
    train_images: int | None = None
    """Images a class to train on; None: 600, or fewer in proportion where a class holds fewer.

    Of grey images all are kept if neither number is given.
    """
    test_images: int | None = None
    names: Path | None = None
    """A file that says what the labels are called."""
    with_val: bool = False
    """Whether validation images follow the training images of their class."""
    resize: str | None = None
    """Pillow's filter for pictures of another size; None: "box" for image files, and other arrays are refused."""
    replace: bool = False
    """Whether a data set that is there already gives way."""
    images_from: str | None = None
    """The column of a parquet file that holds the images; None looks."""
    labels_from: str | None = None
    """The column of a parquet file, or the key of a batch, that holds the labels; None looks."""
    shape: Shape | None = None
    """What pictures become; None: grey ones of 28x28 stay as they are, and others become 3x32x32."""


def refuse_columns(path: Path, options: ImportOptions) -> None:
    """Refuse names of columns for a form that has none. Raises DataError."""
    if options.images_from or options.labels_from:
        option = "--images" if options.images_from else "--labels"
        raise DataError(f"{path}: has no columns to choose from; leave out {option}")


class Source(Protocol):
    """Images in somebody else's form."""

    @property
    def format(self) -> str: ...

    @property
    def shape(self) -> Shape:
        """Of its images."""

    @property
    def total(self) -> int:
        """Units of work, for a progress bar: those that `blocks` counts."""

    def names(self) -> dict[int, str]:
        """What the labels are called where the source says so; asked after `blocks` is through."""

    def notes(self) -> list[str]:
        """What a person should know of what was read; asked after `blocks` is through."""

    def blocks(self, limit: int) -> Iterator[tuple[Block, int]]:
        """Blocks, with the work done so far. More than `limit` images of a class are not wanted. Raises DataError."""


class StandIn:
    """Classes of `SyntheticImages`; as many images a class as the split takes."""

    format = "synthetic"

    def __init__(self, images: SyntheticImages) -> None:
        self._images, self.shape = images, images.shape
        self.total = images.num_classes

    def names(self) -> dict[int, str]:
        return {}

    def notes(self) -> list[str]:
        return []

    def blocks(self, limit: int) -> Iterator[tuple[Block, int]]:
        for index in range(self.total):
            for images in self._images.blocks(index, limit):
                yield Block(self._images.name, np.full(len(images), index), images), index + 1
