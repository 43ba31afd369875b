"""IDX files, as MNIST is published: ``train-images-idx3-ubyte`` and ``train-labels-idx1-ubyte``, gzipped or not.

File names with a dot (``train-images.idx3-ubyte``) and with a prefix (``emnist-digits-train-images-idx3-ubyte``) are
read too. The files may be in ``raw/`` or ``MNIST/raw/``, as torchvision stores them.
"""

import gzip
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from lop_engine.arrays import read_blocks
from lop_engine.datasets.base import GREY_SHAPE, in_numbers
from lop_engine.datasets.importing.source import Block, ImportOptions, refuse_columns
from lop_engine.errors import DataError
from lop_engine.files import require_regular

_NAME = re.compile(r"(?P<prefix>.*-)?(?P<part>train|t10k|test)-(?P<what>images|labels)[-.]idx[13]-ubyte(\.gz)?")
_FOLDERS = (".", "raw", "MNIST/raw")
_UBYTE = 8
_BLOCK = 4096
_MOST_ENTRIES = 2**24


def recognises(path: Path) -> bool:
    return bool(_files(path, "train"))


def open_source(path: Path, options: ImportOptions) -> "Idx":
    refuse_columns(path, options)
    train, test = _files(path, "train"), _files(path, "t10k") or _files(path, "test")
    if not train:
        raise DataError(f"{path}: holds no train-images-idx3-ubyte (or train-images-idx3-ubyte.gz)")
    if options.with_val and not test:
        raise DataError(f"{path}: holds no t10k-images-idx3-ubyte; leave out --with-val")
    parts = [_pair(path, train)] + ([_pair(path, test)] if options.with_val else [])
    return Idx(parts, left_out=test.get("images") if not options.with_val else None)


def _files(path: Path, part: str) -> dict[str, Path]:
    """Return the files of one part at `path` (a folder, or one of the files), by content; uncompressed ones first."""
    named = None if path.is_dir() else _NAME.fullmatch(path.name)
    if not path.is_dir() and not named:
        return {}
    prefix = named["prefix"] if named else None
    for folder in [path / name for name in _FOLDERS] if path.is_dir() else [path.parent]:
        files: dict[str, Path] = {}
        for file in sorted(folder.iterdir()) if folder.is_dir() else []:
            match = _NAME.fullmatch(file.name)
            if match and match["part"] == part and (prefix is None or match["prefix"] == prefix):
                files.setdefault(match["what"], file)
        if files:
            return files
    return {}


def _pair(path: Path, files: dict[str, Path]) -> tuple[Path, Path]:
    """Return the files of images and of labels. Raises DataError."""
    for what, number in (("images", 3), ("labels", 1)):
        if what not in files:
            there = next(iter(files.values())).name
            raise DataError(f"{path}: {there} is there, its {what} (...-{what}-idx{number}-ubyte) are missing")
    return files["images"], files["labels"]


class Idx:
    """Pairs of files with images and labels; the labels are the classes."""

    format = "idx"
    shape = GREY_SHAPE

    def __init__(self, parts: list[tuple[Path, Path]], left_out: Path | None) -> None:
        self._parts, self._left_out = parts, left_out
        self.total = len(parts)

    def names(self) -> dict[int, str]:
        return {}

    def notes(self) -> list[str]:
        return [f"test images left out ({self._left_out.name}); --with-val adds them"] if self._left_out else []

    def blocks(self, limit: int) -> Iterator[tuple[Block, int]]:
        for done, (images, labels) in enumerate(self._parts, start=1):
            with _opened(labels, 1) as (file, (count,)):
                values = np.concatenate([np.zeros(0, np.uint8), *_all(labels, file, (count,))])
            with _opened(images, 3) as (file, shape):
                if shape[0] != len(values) or not shape[0]:
                    raise DataError(f"{images}: {shape[0]} images, {labels.name} has {len(values)} labels")
                if shape[1:] != self.shape[1:]:
                    sides = in_numbers(shape[1:])
                    raise DataError(f"{images}: images of {sides}; only images of 28x28 are read from IDX files")
                start = 0
                for block in _all(images, file, shape):
                    of_block = values[start : start + len(block)].astype(np.int64)
                    yield Block(str(images), of_block, block[:, None], start), done
                    start += len(block)


def _all(path: Path, file: Any, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """Yield the whole array after a header, in blocks. Raises DataError if the file is longer."""
    yield from read_blocks(file, np.dtype(np.uint8), shape, _BLOCK)
    if file.read(1):
        raise DataError(f"{path}: holds more than the {shape[0]} entries that its header says; download it again")


@contextmanager
def _opened(path: Path, num_dimensions: int) -> Iterator[tuple[Any, tuple[int, ...]]]:
    """Return an IDX file of bytes at the start of its values, and its shape. Raises DataError."""
    require_regular(path)
    try:
        with open(path, "rb") as raw:
            is_gzip = raw.read(2) == b"\x1f\x8b"
        with gzip.open(path) if is_gzip else open(path, "rb") as file:
            head = file.read(4 + 4 * num_dimensions)
            if len(head) < 4 + 4 * num_dimensions or head[:4] != bytes([0, 0, _UBYTE, num_dimensions]):
                begins = f"it begins with {head[:4].hex() or 'nothing'}"
                raise DataError(f"{path}: not an IDX file of bytes in {num_dimensions} dimensions ({begins})")
            shape = struct.unpack(f">{num_dimensions}I", head[4:])
            if shape[0] > _MOST_ENTRIES:
                raise DataError(f"{path}: declares {shape[0]} entries, more than any data set of this kind has")
            yield file, shape
    except DataError:
        raise
    except EOFError:
        raise DataError(f"{path}: cut short; download it again") from None
    except Exception as error:  # gzip and zlib raise several exception types for a damaged file
        reason = (str(error).splitlines() or [""])[0][:200]
        raise DataError(f"{path}: not a whole IDX file: {reason}; download it again") from None
