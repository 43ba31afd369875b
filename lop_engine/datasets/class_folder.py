"""Images on disk: ``classes/<k>.npy``, one array a class, as the reference keeps them and as `lop data import` does."""

import re
import tokenize
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from lop_engine.datasets.base import IMAGE_SHAPE, PAPER_SPLIT, Split
from lop_engine.datasets.manifest import NAME, Manifest
from lop_engine.errors import DataError

_CLASS_FILE = re.compile(r"(0|[1-9][0-9]{0,6})\.npy")


@dataclass(frozen=True)
class ClassFolder:
    """A folder ``classes/`` of ``0.npy``, ``1.npy``, ... each (images, 3, 32, 32).

    Files are memory-mapped: only the images asked for are read, and none is kept. An imported folder has a
    ``dataset.json`` as well; one in the reference's layout is taken as it is.

    Raises:
        DataError: naming the file and what is wrong with it.
    """

    path: Path
    counts: tuple[int, ...]
    """Images of each class."""
    dtype: np.dtype
    manifest: Manifest | None

    @classmethod
    def open(cls, path: Path) -> "ClassFolder":
        """Open `path` (the folder ``classes/`` or the one above it); looks at the head of every file."""
        if not path.is_dir():
            raise DataError(f"{path}: no such folder; lop data import SOURCE makes one")
        folder = path / "classes" if (path / "classes").is_dir() else path
        num_classes = _count_files(folder, path)
        with warnings.catch_warnings(action="ignore"):  # Python's, of odd characters in a damaged head
            heads = [_map(folder / f"{index}.npy") for index in range(num_classes)]
        for index, head in enumerate(heads):
            if head.dtype != heads[0].dtype:
                raise DataError(f"{folder / f'{index}.npy'}: {head.dtype} values, 0.npy has {heads[0].dtype}")
        counts = tuple(len(head) for head in heads)
        manifest = Manifest.read(folder.parent)
        if manifest and tuple(entry.images for entry in manifest.classes) != counts:
            raise DataError(f"{folder}: the class files are not those that {folder.parent / NAME} lists")
        return cls(folder, counts, heads[0].dtype, manifest)

    @property
    def name(self) -> str:
        return str(self.path.parent if self.manifest else self.path)

    @property
    def num_classes(self) -> int:
        return len(self.counts)

    @property
    def num_images(self) -> int:
        return min(self.counts)

    @property
    def split(self) -> Split:
        return (self.manifest.split if self.manifest else PAPER_SPLIT).fitting(self.num_images)

    @property
    def sha256(self) -> str:
        return self.manifest.sha256 if self.manifest else ""

    @cached_property
    def class_names(self) -> list[str]:
        """The classes' WNIDs or names; their numbers where nobody named them."""
        if self.manifest:
            return [entry.name for entry in self.manifest.classes]
        return [str(index) for index in range(self.num_classes)]

    def file(self, index: int) -> Path:
        return self.path / f"{index}.npy"

    def mapped(self, index: int) -> np.ndarray:
        """All images of class `index`, (images, 3, 32, 32), memory-mapped and read-only."""
        return _map(self.file(index))

    def images(self, index: int, num_images: int) -> np.ndarray:
        """The first `num_images` images of class `index`, shape (num_images, 3, 32, 32), in the file's own type."""
        stored = self.mapped(index)
        if len(stored) < num_images:
            raise DataError(f"{self.file(index)}: {len(stored)} images, {num_images} are wanted")
        return np.array(stored[:num_images])


def _count_files(folder: Path, path: Path) -> int:
    names = [found.name for found in folder.glob("*.npy")]
    numbers = sorted(int(Path(name).stem) for name in names if _CLASS_FILE.fullmatch(name))
    if not numbers:
        raise DataError(f"{path}: holds no class files (classes/0.npy, classes/1.npy, ...)")
    if numbers != list(range(len(numbers))):
        gap = next(i for i, number in enumerate(numbers) if i != number)
        raise DataError(f"{folder}: class file {gap}.npy is missing ({len(numbers)} files, up to {numbers[-1]}.npy)")
    return len(numbers)


def _map(path: Path) -> np.ndarray:
    try:
        stored = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError, SyntaxError, tokenize.TokenError, OverflowError) as error:
        raise DataError(f"{path}: not a whole .npy array: {str(error).splitlines()[0]}") from None
    if stored.shape[1:] != IMAGE_SHAPE or stored.dtype.kind not in "uif":
        raise DataError(f"{path}: shape {stored.shape} of {stored.dtype}, expected (images, 3, 32, 32) numbers")
    if len(stored) < 2:
        raise DataError(f"{path}: {len(stored)} images, a class needs at least 2 (one to train, one to test)")
    return stored
