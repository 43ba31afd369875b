"""The interface of a source of images, class names, and synthetic images as a source."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from lop_engine.datasets.base import Shape
from lop_engine.datasets.synthetic import SyntheticImages
from lop_engine.errors import DataError, why
from lop_engine.files import read_small

MAX_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Block:
    """Some images of one file, in the source's order."""

    where: str
    """The file, for error messages."""
    labels: np.ndarray
    """(N,) int64: the source's labels."""
    images: np.ndarray
    """(N, channels, height, width)"""
    first: int = 0
    """The number of the first image in its file."""


@dataclass(frozen=True)
class ImportOptions:
    """Options of an import."""

    format: str | None = None
    """A name of `importing.FORMATS`; None: recognise it."""
    train_images: int | None = None
    """Training images per class; None: 600, or proportionally fewer if a class has fewer.

    Of grey images all are kept if neither number is given.
    """
    test_images: int | None = None
    names: Path | None = None
    """A file with the names of the labels."""
    with_val: bool = False
    """Whether validation images follow the training images of their class."""
    resize: str | None = None
    """Pillow's filter for pictures of another size; None: "box" for image files, and other arrays are refused."""
    replace: bool = False
    """Whether to replace an existing data set."""
    images_from: str | None = None
    """The image column of a parquet file; None: recognise it."""
    labels_from: str | None = None
    """The label column of a parquet file, or the label key of a batch; None: recognise it."""
    shape: Shape | None = None
    """Shape of the resulting images; None: grey ones of 28x28 keep theirs, and others become 3x32x32."""


def refuse_columns(path: Path, options: ImportOptions) -> None:
    """Refuse names of columns for a format without columns. Raises DataError."""
    if options.images_from or options.labels_from:
        option = "--images" if options.images_from else "--labels"
        raise DataError(f"{path}: has no columns to choose from; leave out {option}")


class Source(Protocol):
    """Images in a foreign format."""

    @property
    def format(self) -> str: ...

    @property
    def shape(self) -> Shape:
        """Return the shape of its images."""

    @property
    def total(self) -> int:
        """Return the total units of work, for a progress bar: those that `blocks` counts."""

    def names(self) -> dict[int, str]:
        """Return the names of the labels, if the source has them; called after `blocks` has ended."""

    def notes(self) -> list[str]:
        """Return notes for the user; called after `blocks` has ended."""

    def blocks(self, limit: int) -> Iterator[tuple[Block, int]]:
        """Yield blocks with the units done so far. At most `limit` images per class are needed. Raises DataError."""


class StandIn:
    """Classes of `SyntheticImages`; as many images per class as the split needs."""

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


def class_names(labels: Sequence[int], known: Mapping[int, str], names_file: Path | None) -> list[str] | None:
    """Return the names of `labels`; None if they have none. A names file takes precedence over the source.

    Raises:
        DataError: two labels have the same name, or a name cannot be stored.
    """
    where = str(names_file) if names_file else "the source"
    if names_file:
        known = read_names(names_file, labels)
    if not known:
        return None
    names = [known.get(label, str(label)) for label in labels]
    by_name: dict[str, int] = {}
    for label, name in zip(labels, names, strict=True):
        if not name or not name.isprintable() or len(name) > 255:
            raise DataError(f"{where}: the name of class {label}, {ascii(name)[:60]}, is not printable")
        if name in by_name:
            raise DataError(f'{where}: classes {by_name[name]} and {label} are both called "{name}"')
        by_name[name] = label
    return names


def read_names(path: Path, labels: Sequence[int]) -> dict[int, str]:
    """Read ``WNID LABEL anything`` lines (map_clsloc.txt), or one name per line in the order of the labels."""
    lines = check_names_file(path)
    pairs = [re.match(r"(\S+)\s+([0-9]{1,9})(\s|$)", line) for line in lines]
    names = {int(pair[2]): pair[1] for pair in pairs if pair}
    if all(pairs) and all(label in names for label in labels):
        return {label: names[label] for label in labels}
    if len(lines) == len(labels):
        return dict(zip(labels, lines, strict=True))
    if all(pairs):
        missing = next(label for label in labels if label not in names)
        raise DataError(f"{path}: names no class {missing}")
    raise DataError(f"{path}: {len(lines)} names for {len(labels)} classes; write one a line, or lines WNID LABEL")


def check_names_file(path: Path) -> list[str]:
    """Return the lines of a file of names. Raises DataError."""
    try:
        text = read_small(path, MAX_BYTES).decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {why(error)}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: not UTF-8 text") from None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise DataError(f"{path}: holds no names")
    return lines
