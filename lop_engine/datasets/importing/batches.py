"""Downsampled ImageNet at 32x32 (Chrabaszcz et al. 2017): ``train_data_batch_1`` ... as pickles or ``.npz``.

A batch holds ``data``, uint8 (N, 3072) with the planes red, green, blue, and ``labels``, N numbers from 1 in a special
order. CIFAR-10's batches have the same format, and so has CIFAR-100's ``train``, whose labels are ``fine_labels``
or ``coarse_labels``. Images of another size are resized where `ImportOptions.resize` names a filter.
``map_clsloc.txt`` or CIFAR's ``meta`` in the same folder has the names of the labels.
"""

import math
import os
import re
import warnings
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from lop_engine import safe_pickle
from lop_engine.arrays import read_blocks
from lop_engine.datasets.base import IMAGE_SHAPE, SIDE
from lop_engine.datasets.importing.pixels import Resizer
from lop_engine.datasets.importing.source import Block, ImportOptions, read_names
from lop_engine.errors import DataError

_TRAIN = re.compile(r"(?:train_)?data_batch_?([0-9]{0,4})(?:\.npz|\.pickle|\.pkl)?")
_VAL = re.compile(r"(?:val_data|test_batch)(?:\.npz|\.pickle|\.pkl)?")
_MAP, _META = "map_clsloc.txt", "meta"
_CIFAR_100 = {_TRAIN: "train", _VAL: "test"}
"""CIFAR-100's two files; ``meta`` is in the same folder."""
_PIXELS = int(np.prod(IMAGE_SHAPE))
#: Images read at a time: 12 MB.
_BLOCK = 4096
#: Images do not compress much; archives with a higher compression are refused.
MAX_RATIO, MIN_BOMB = 100, 16 * 2**20
_MAX_DIRECTORY = 2**20
_MAX_SIDE = 256
_FINE = "fine_labels"
_LABELS = ("labels", _FINE)


def recognises(path: Path) -> bool:
    return bool(_batch_files(path, _TRAIN))


def open_source(path: Path, options: ImportOptions) -> "Batches":
    files = _batch_files(path, _TRAIN)
    if not files:
        raise DataError(f"{path}: holds no batches (train_data_batch_1, ...)")
    numbers = [int(match[1] or 1) for file in files if (match := _TRAIN.fullmatch(file.name))]
    if path.is_dir() and numbers != list(range(1, len(numbers) + 1)):
        gap = next(i for i, number in enumerate(numbers, start=1) if i != number)
        raise DataError(f"{path}: batch {gap} is missing or duplicate ({len(files)} files)")
    if options.with_val:
        val = _batch_files(path if path.is_dir() else path.parent, _VAL)
        if not val:
            raise DataError(f"{path}: holds no val_data; leave out --with-val")
        files += val
    if options.images_from:
        raise DataError(f"{path}: batches keep their images as data; leave out --images")
    return Batches(files, options)


def has_only_validation(path: Path) -> bool:
    return not _batch_files(path, _TRAIN) and bool(_batch_files(path, _VAL))


def _batch_files(path: Path, pattern: re.Pattern[str]) -> list[Path]:
    """Return the batches at `path` (a folder, or one of them), in the order of their numbers."""
    place, of_cifar = (path, path / _CIFAR_100[pattern]) if path.is_dir() else (path.parent, path)
    if of_cifar.name == _CIFAR_100[pattern] and of_cifar.is_file() and (place / _META).is_file():
        return [of_cifar]
    if not path.is_dir():
        return [path] if pattern.fullmatch(path.name) else []
    batches = [file for file in path.iterdir() if pattern.fullmatch(file.name)]
    for file in batches:
        if not file.is_file():
            raise DataError(f"{file}: not a file that can be read")
    return sorted(batches, key=lambda file: (int(re.sub(r"[^0-9]", "", file.stem) or 1), file.name))


class Batches:
    """A sequence of batch files."""

    format = "batches"
    shape = IMAGE_SHAPE

    def __init__(self, files: list[Path], options: ImportOptions) -> None:
        self._files = files
        self._labels_from = options.labels_from
        self._resizer = Resizer(options.resize) if options.resize else None
        self.total = sum(file.stat().st_size for file in files)
        self._labels: set[int] = set()

    def names(self) -> dict[int, str]:
        if self._files[0].name == _CIFAR_100[_TRAIN]:
            return _names_of_cifar(self._files[0].with_name(_META), self._labels_from or _FINE)
        path = self._files[0].with_name(_MAP)
        return read_names(path, sorted(self._labels)) if os.path.lexists(path) else {}

    def notes(self) -> list[str]:
        return self._resizer.notes() if self._resizer else []

    def blocks(self, limit: int) -> Iterator[tuple[Block, int]]:
        done = 0
        for path in self._files:
            size = path.stat().st_size
            for block, share in self._read(path):
                self._labels.update(np.unique(block.labels).tolist())
                yield block, done + int(share * size)
            done += size

    def _read(self, path: Path) -> Iterator[tuple[Block, float]]:
        """Yield the blocks of one file, with the share of it that was read."""
        read = _read_npz if zipfile.is_zipfile(path) else _read_pickle
        with read(path, self._labels_from) as (labels, num_images, pieces):
            if labels.shape != (num_images,) or labels.dtype.kind not in "ui" or not num_images:
                raise DataError(f"{path}: {labels.shape} labels of {labels.dtype} for {num_images} images")
            start = 0
            for piece in pieces:
                end = start + len(piece)
                images = self._images(path, piece)
                yield Block(str(path), labels[start:end].astype(np.int64), images), end / num_images
                start = end

    def _images(self, path: Path, rows: np.ndarray) -> np.ndarray:
        """Return rows of a batch as (n, 3, 32, 32), resized if necessary and allowed. Raises DataError."""
        side = _side(rows.shape)
        images = rows.reshape(-1, 3, side, side)
        if side == SIDE:
            return images
        if not self._resizer:
            raise DataError(f"{path}: images of {side}x{side}; add --resize box to bring them to {SIDE}x{SIDE}")
        if images.dtype != np.uint8:
            raise DataError(f"{path}: images of {side}x{side} and type {images.dtype}; only uint8 can be resized")
        return self._resizer.array(images)


#: Labels, the number of images, and blocks of images of shape (n, 3 * side * side) or (n, 3, side, side).
_Content = tuple[np.ndarray, int, Iterator[np.ndarray]]


@contextmanager
def _read_pickle(path: Path, labels_from: str | None) -> Iterator[_Content]:
    raw = safe_pickle.load(path)
    if not isinstance(raw, dict):
        raise DataError(f"{path}: holds no dictionary with data and labels")
    content = {key.decode("latin1") if isinstance(key, bytes) else key: value for key, value in raw.items()}
    data = content.get("data")
    if not isinstance(data, safe_pickle.StoredArray):
        raise DataError(f'{path}: holds no array "data"')
    _check_rows(path, data.shape, data.dtype)
    try:
        labels = _labels(content[_label_key(path, content, labels_from)])
        yield labels, data.shape[0], data.blocks(_rows_at_once(data.shape))
    except (ValueError, TypeError, OverflowError, EOFError) as error:
        raise DataError(f"{path}: {str(error).splitlines()[0]}") from None


def _label_key(path: Path, there: Collection[str], labels_from: str | None) -> str:
    """Return the key (or member) of a batch with its labels. Raises DataError."""
    for key in [labels_from] if labels_from else _LABELS:
        if key in there:
            return key
    labels = ", ".join(key for key in map(str, there) if key != "data")
    if labels_from:
        raise DataError(f'{path}: --labels "{labels_from}": the batch has no such labels (there are {labels})')
    raise DataError(f'{path}: holds no list of whole numbers "labels" (there are {labels}); choose one with --labels')


def _names_of_cifar(path: Path, labels: str) -> dict[int, str]:
    """Return the names of CIFAR-100's classes: ``fine_label_names`` for ``fine_labels``. Raises DataError."""
    raw = safe_pickle.load(path)
    content = raw if isinstance(raw, dict) else {}
    key = f"{labels.removesuffix('s')}_names"
    names = content.get(key, content.get(key.encode()))
    if not isinstance(names, list) or not all(isinstance(name, str | bytes) for name in names):
        raise DataError(f'{path}: holds no list of names "{key}"')
    return {label: name.decode("latin1") if isinstance(name, bytes) else name for label, name in enumerate(names)}


def _labels(raw: Any) -> np.ndarray:
    if isinstance(raw, safe_pickle.StoredArray):
        return raw.whole()
    if not isinstance(raw, list) or not all(type(label) is int for label in raw):
        raise ValueError('holds no list of whole numbers "labels"')
    return np.array(raw, dtype=np.int64)


@contextmanager
def _read_npz(path: Path, labels_from: str | None) -> Iterator[_Content]:
    try:
        check_directory(path, _MAX_DIRECTORY)
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
            with open_member(archive, f"{_label_key(path, names, labels_from)}.npy") as (file, shape, dtype):
                if len(shape) != 1 or dtype.itemsize * shape[0] > MIN_BOMB * 4:
                    raise ValueError(f"labels of shape {shape}")
                labels = next(read_blocks(file, dtype, shape, shape[0]), np.empty(0, dtype))
            with open_member(archive, "data.npy") as (file, shape, dtype):
                _check_rows(path, shape, dtype)
                yield labels, shape[0], read_blocks(file, dtype, shape, _rows_at_once(shape))
    except DataError:
        raise
    except Exception as error:  # zipfile, zlib and numpy raise many exception types for a damaged archive
        raise DataError(f"{path}: not a whole .npz archive: {(str(error).splitlines() or [''])[0][:200]}") from None


def check_directory(path: Path, most_bytes: int) -> None:
    """Refuse a zip whose directory is longer than `most_bytes`: Python reads it completely. Raises ValueError."""
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - 2**17))
        end = file.read()
    plain, long = end.rfind(b"PK\x05\x06"), end.rfind(b"PK\x06\x06")
    sizes = [int.from_bytes(end[plain + 12 : plain + 16], "little")] if plain >= 0 else []
    if long >= 0:
        sizes = [int.from_bytes(end[long + 40 : long + 48], "little")]
    if any(size > most_bytes for size in sizes):
        raise ValueError("its list of contents is too long for an archive of images")


@contextmanager
def open_member(archive: zipfile.ZipFile, name: str) -> Iterator[tuple[Any, tuple[int, ...], np.dtype]]:
    """Return an array of an archive: the file at the start of its values, its shape and type."""
    info = archive.getinfo(name)
    if info.file_size > max(MIN_BOMB, MAX_RATIO * info.compress_size):
        raise ValueError(f"{name} would grow from {info.compress_size} to {info.file_size} bytes, so it is refused")
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        with warnings.catch_warnings(action="ignore"):  # errors of Python for odd characters in a damaged header
            shape, is_fortran, dtype = read_header(file)
        if dtype.kind not in "uif" or (is_fortran and len(shape) > 1):
            raise ValueError(
                f"{name} holds {dtype}{' in Fortran order' if is_fortran else ''}; save numbers in C order"
            )
        if any(length < 0 for length in shape):
            raise ValueError(f"{name} declares the shape {shape}")
        yield file, shape, dtype


def _check_rows(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> None:
    if not _side(shape) or dtype.kind not in "uif":
        raise DataError(f"{path}: data of shape {shape} and type {dtype}, expected (images, 3072) numbers")


def _side(shape: tuple[int, ...]) -> int:
    """Return the side of square images of 1 to 256 pixels for rows of such a shape; 0 for others."""
    if len(shape) not in (2, 4):
        return 0
    side = math.isqrt(shape[1] // 3) if len(shape) == 2 else shape[2]
    return side if shape[1:] in ((3 * side * side,), (3, side, side)) and 1 <= side <= _MAX_SIDE else 0


def _rows_at_once(shape: tuple[int, ...]) -> int:
    return max(1, _BLOCK * _PIXELS // math.prod(shape[1:]))
