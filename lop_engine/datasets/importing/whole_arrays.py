"""A data set in one file of arrays: keras's ``mnist.npz``, or the reference's pickle ``mnist_``.

keras's file has ``x_train`` (N, 28, 28), ``y_train`` (N,), ``x_test`` and ``y_test``.
The reference's pickle is a list of tensors x (N, 784), y (N,), x_test, y_test; grey levels are divided by 255.
"""

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lop_engine import tensors
from lop_engine.arrays import read_blocks
from lop_engine.datasets.base import GREY_SHAPE
from lop_engine.datasets.importing.batches import check_directory, open_member
from lop_engine.datasets.importing.source import Block, ImportOptions, refuse_columns
from lop_engine.errors import DataError, why
from lop_engine.safe_pickle import StoredArray

_NAMES = (("x_train", "y_train"), ("X_train", "y_train"), ("train_images", "train_labels"), ("x", "y"))
_TEST = {"x_train": "x_test", "X_train": "X_test", "train_images": "test_images"}
_FILES = ("mnist.npz", "mnist_", "mnist.pkl", "mnist.pickle")
_MAX_DIRECTORY = 2**20
_MAX_BYTES = 2**30
_BLOCK = 4096

Pair = tuple[np.ndarray, np.ndarray]
"""Images (N, 28, 28) or (N, 784), and labels (N,)."""


def recognises(path: Path) -> bool:
    file = _file(path)
    if file is None or not file.is_file():
        return False
    return file.name in _FILES or (file.suffix == ".npz" and any(pair[0] in _members(file) for pair in _NAMES))


def open_source(path: Path, options: ImportOptions) -> "WholeArrays":
    refuse_columns(path, options)
    file = _file(path)
    if file is None:
        raise DataError(f"{path}: holds none of {', '.join(_FILES)}")
    return WholeArrays(file, options.with_val)


def _file(path: Path) -> Path | None:
    if not path.is_dir():
        return path
    return next((path / name for name in _FILES if (path / name).is_file()), None)


def _members(path: Path) -> list[str]:
    """Return the names of the arrays in an .npz file; none if it is damaged."""
    try:
        check_directory(path, _MAX_DIRECTORY)
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except (OSError, ValueError, zipfile.BadZipFile):
        return []


class WholeArrays:
    """Images and labels of a file; the labels are the classes."""

    format = "arrays"
    shape = GREY_SHAPE
    total = 1

    def __init__(self, path: Path, with_test: bool) -> None:
        self._path, self._with_test = path, with_test
        self._left_out = 0

    def names(self) -> dict[int, str]:
        return {}

    def notes(self) -> list[str]:
        return [f"{self._left_out} test images left out; --with-val adds them"] if self._left_out else []

    def blocks(self, limit: int) -> Iterator[tuple[Block, int]]:
        train, test = (_of_npz if zipfile.is_zipfile(self._path) else _of_pickle)(self._path)
        if self._with_test and test is None:
            raise DataError(f"{self._path}: holds no test images; leave out --with-val")
        for images, labels in [train] + ([test] if test and self._with_test else []):
            images = _grey_levels(self._path, images)
            _check_labels(self._path, labels, len(images))
            for start in range(0, len(images), _BLOCK):
                part = slice(start, start + _BLOCK)
                yield Block(str(self._path), labels[part].astype(np.int64), images[part], start), 1
        self._left_out = len(test[0]) if test and not self._with_test else 0


def _of_npz(path: Path) -> tuple[Pair, Pair | None]:
    names = _members(path)
    chosen = next((pair for pair in _NAMES if pair[0] in names and pair[1] in names), None)
    if chosen is None:
        raise DataError(f"{path}: holds no x_train and y_train (there are {', '.join(names) or 'no arrays'})")
    images, labels = chosen
    test = (_TEST.get(images, ""), labels.replace("train", "test"))
    try:
        with zipfile.ZipFile(path) as archive:
            train = _member(archive, images), _member(archive, labels)
            if test[0] in names and test[1] in names:
                return train, (_member(archive, test[0]), _member(archive, test[1]))
            return train, None
    except Exception as error:  # zipfile, zlib and numpy raise many types for a damaged archive
        raise DataError(f"{path}: not a whole .npz archive: {why(error)[:200]}") from None


def _member(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    with open_member(archive, f"{name}.npy") as (file, shape, dtype):
        if int(np.prod(shape, dtype=np.int64)) * dtype.itemsize > _MAX_BYTES:
            raise ValueError(f"{name} of shape {shape} is too large")
        return next(read_blocks(file, dtype, shape, shape[0]), np.empty(shape, dtype)) if shape else np.empty(0)


def _of_pickle(path: Path) -> tuple[Pair, Pair | None]:
    raw = tensors.load(path)
    members = raw if isinstance(raw, list | tuple) else []
    arrays = [one.whole() if isinstance(one, StoredArray) else one for one in members]
    if len(arrays) not in (2, 4) or not all(isinstance(one, np.ndarray) for one in arrays):
        raise DataError(
            f"{path}: holds no list of tensors x, y, x_test, y_test, as the reference's load_mnist.py writes"
        )
    return (arrays[0], arrays[1]), ((arrays[2], arrays[3]) if len(arrays) == 4 else None)


def _check_labels(path: Path, labels: np.ndarray, num_images: int) -> None:
    if labels.shape != (num_images,) or labels.dtype.kind not in "ui":
        raise DataError(f"{path}: {labels.shape} labels of {labels.dtype} for {num_images} images")


def _grey_levels(path: Path, images: np.ndarray) -> np.ndarray:
    """Return images (N, 1, 28, 28): grey levels 0 to 255 as uint8, rescaled if they were divided. Raises DataError."""
    _, _, height, width = (0, *GREY_SHAPE)
    if images.shape[1:] not in ((height, width), (height * width,), (1, height, width), (height, width, 1)):
        raise DataError(f"{path}: images of shape {images.shape}, expected (images, 28, 28) or (images, 784)")
    images = images.reshape(-1, *GREY_SHAPE)
    if images.dtype == np.uint8 or not len(images):
        return images
    if images.dtype.kind == "f" and images.min() >= 0 and images.max() <= 1:
        levels = np.rint(images * 255)
        if np.allclose(levels / 255, images, rtol=0, atol=1e-6):
            return levels.astype(np.uint8)
    if images.dtype.kind in "uif" and images.min() >= 0 and images.max() <= 255 and (images == np.rint(images)).all():
        return images.astype(np.uint8)
    return images
