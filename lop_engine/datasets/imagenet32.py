"""ImageNet at 32x32 as the reference keeps it: ``classes/<k>.npy``, one array a class."""

import re
import tokenize
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lop_engine.datasets.base import IMAGE_SHAPE
from lop_engine.errors import DataError


@dataclass(frozen=True)
class NpyFolder:
    """A folder ``classes/`` of ``0.npy``, ``1.npy``, ... each (num_images, 3, 32, 32).

    Files are memory-mapped and only the images asked for are read.

    Raises:
        DataError: naming the file and what is wrong with it.
    """

    path: Path
    num_images: int
    num_classes: int

    @classmethod
    def open(cls, path: Path, num_images: int) -> "NpyFolder":
        """Open `path` (the folder ``classes/`` or the one above it), wanting `num_images` a class."""
        folder = path / "classes" if (path / "classes").is_dir() else path
        numbers = sorted(int(p.stem) for p in folder.glob("*.npy") if re.fullmatch(r"\d+", p.stem))
        if not numbers:
            raise DataError(f"{path}: holds no class files (classes/0.npy, classes/1.npy, ...)")
        if numbers != list(range(len(numbers))):
            gap = next(i for i, number in enumerate(numbers) if i != number)
            raise DataError(
                f"{folder}: class file {gap}.npy is missing ({len(numbers)} files, up to {numbers[-1]}.npy)"
            )
        opened = cls(folder, num_images, len(numbers))
        opened.images(0)
        return opened

    @property
    def name(self) -> str:
        return str(self.path)

    @property
    def is_scaled(self) -> bool:
        return False

    def images(self, index: int) -> np.ndarray:
        """The images of class `index`, shape (num_images, 3, 32, 32), in the file's own type."""
        path = self.path / f"{index}.npy"
        try:
            stored = np.lib.format.open_memmap(path, mode="r")
        except (OSError, ValueError, SyntaxError, tokenize.TokenError) as error:
            raise DataError(f"{path}: not a whole .npy array: {error}") from None
        if stored.shape[1:] != IMAGE_SHAPE or stored.dtype.kind not in "uif":
            raise DataError(f"{path}: shape {stored.shape} of {stored.dtype}, expected (images, 3, 32, 32) numbers")
        if len(stored) < self.num_images:
            raise DataError(
                f"{path}: {len(stored)} images, {self.num_images} are wanted; lower train_images or test_images"
            )
        return np.array(stored[: self.num_images])
