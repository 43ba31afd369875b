"""Write images, in whatever order they come, as one file a class."""

import os
from pathlib import Path

import numpy as np

from lop_engine.datasets.base import IMAGE_SHAPE
from lop_engine.datasets.importing.source import Block
from lop_engine.datasets.survey import check_finite
from lop_engine.errors import DataError

#: Bytes of images kept back, so that a file is opened for many images at a time.
_BUFFER = 128 * 2**20
MAX_CLASSES = 65_536


class ClassWriter:
    """``<label>.part`` files in `folder`, at most `limit` images each; `finish` makes them ``0.npy``, ``1.npy``, ...

    The name of a file is a number, whatever a class is called: nothing of the source decides where bytes go.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder, self._limit = folder, limit
        self._dtype: np.dtype | None = None
        self._pending: dict[int, list[np.ndarray]] = {}
        self._pending_bytes = 0
        self.counts: dict[int, int] = {}

    @property
    def dtype(self) -> np.dtype:
        assert self._dtype is not None
        return self._dtype

    def add(self, block: Block) -> None:
        """Take a block's images. Raises DataError for values that are no numbers, or of another type than before."""
        images = block.images
        if images.dtype.kind not in "uif" or images.shape[1:] != IMAGE_SHAPE or len(images) != len(block.labels):
            raise DataError(f"{block.where}: {images.shape} of {images.dtype}, expected (images, 3, 32, 32) numbers")
        images = images.astype(images.dtype.newbyteorder("="), copy=False)
        if images.dtype != (self._dtype or images.dtype):
            raise DataError(f"{block.where}: {images.dtype} values, those before are {self._dtype}")
        self._dtype = images.dtype
        check_finite(images, block.where, block.first)
        order = np.argsort(block.labels, kind="stable")
        labels, starts = np.unique(block.labels[order], return_index=True)
        for label, places in zip(labels.tolist(), np.split(order, starts[1:]), strict=True):
            self._add_class(label, images[places], block.where)
        if self._pending_bytes > _BUFFER:
            self._flush()

    def _add_class(self, label: int, images: np.ndarray, where: str) -> None:
        count = self.counts.get(label, 0)
        if not count and len(self.counts) == MAX_CLASSES:
            raise DataError(f"{where}: more than {MAX_CLASSES} classes")
        images = images[: self._limit - count]
        self.counts[label] = count + len(images)
        if len(images):
            self._pending.setdefault(label, []).append(images)
            self._pending_bytes += images.nbytes

    def _flush(self) -> None:
        for label, pieces in self._pending.items():
            path = self._part(label)
            is_new = not path.exists()
            with open(path, "ab") as file:
                if is_new:
                    self._write_head(file, 0)
                for piece in pieces:
                    file.write(np.ascontiguousarray(piece).data)
        self._pending, self._pending_bytes = {}, 0

    def finish(self, labels: list[int]) -> None:
        """Complete the files: the class of ``labels[k]`` becomes ``k.npy``. All are on the disk when this returns."""
        self._flush()
        for index, label in enumerate(labels):
            with open(self._part(label), "r+b") as file:
                self._write_head(file, self.counts[label])
                file.flush()
                os.fsync(file.fileno())
            self._part(label).rename(self._folder / f"{index}.npy")

    def _part(self, label: int) -> Path:
        return self._folder / f"{label}.part"

    def _write_head(self, file: object, num_images: int) -> None:
        """numpy leaves room in a header for the first axis to grow, so a later count fits where the first was."""
        header = {
            "descr": np.lib.format.dtype_to_descr(self.dtype),
            "fortran_order": False,
            "shape": (num_images, *IMAGE_SHAPE),
        }
        np.lib.format.write_array_header_1_0(file, header)  # type: ignore[arg-type]
