"""Images on disk: ``classes/<k>.npy``, one array per class, the format of the reference and of `lop data import`.

`dataset.json` describes such a folder.
"""

import hashlib
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lop_engine.arrays import read_blocks
from lop_engine.datasets.base import IMAGE_SHAPE, PAPER_SPLIT, SHAPES, Shape, Split
from lop_engine.errors import DataError, why
from lop_engine.experiment.mistakes import explain
from lop_engine.files import read_small, replacing, require_regular

NAME = "dataset.json"
MAX_BYTES = 64 * 2**20


class ClassEntry(BaseModel):
    """One class: the file ``classes/<place in the list>.npy``."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str
    """Its WNID, or another name from the source."""
    images: int = Field(ge=2)
    sha256: str = Field(pattern="[0-9a-f]{64}")
    """Checksum of the images' bytes, in C order."""


class Manifest(BaseModel):
    """The content of `dataset.json`, which is written last, so a folder with one is complete."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: Literal["lop images 1"] = "lop images 1"
    source: dict[str, str]
    """Origin of the images, for people."""
    dtype: str
    shape: list[int] = Field(list(IMAGE_SHAPE), min_length=3, max_length=3)
    """Channels, height and width of an image."""
    train_images: int = Field(ge=1)
    test_images: int = Field(ge=1)
    normalisation: Literal["none", "scaled"]
    """Normalisation for specs with "auto"."""
    minimum: float
    maximum: float
    channel_means: list[float]
    """Means of the stored values, in the order red, green, blue; one number for grey images."""
    channel_stds: list[float]
    classes: list[ClassEntry] = Field(min_length=2)
    sha256: str
    """See `combined_sha256`."""

    @property
    def split(self) -> Split:
        return Split(self.train_images, self.test_images)

    def write(self, folder: Path) -> None:
        """Write ``folder/dataset.json`` atomically and durably."""
        with replacing(folder / NAME, durable=True) as file:
            usual = {"shape"} if tuple(self.shape) == IMAGE_SHAPE else set()  # older versions know no other value
            file.write(orjson.dumps(self.model_dump(exclude=usual), option=orjson.OPT_INDENT_2))

    @classmethod
    def read(cls, folder: Path) -> "Manifest | None":
        """Read ``folder/dataset.json``, or None. Raises DataError."""
        path = folder / NAME
        try:
            return cls.model_validate(orjson.loads(read_small(path, MAX_BYTES)))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {why(error)}") from None
        except orjson.JSONDecodeError as error:
            raise DataError(f"{path}: not valid JSON ({error}); import the images again") from None
        except ValidationError as error:
            first: Any = error.errors()[0]
            raise DataError(
                f"{path}: {explain(first, cls.model_fields) if first['loc'] else 'not a JSON object'}; "
                "import the images again"
            ) from None


def combined_sha256(dtype: str, checksums: Sequence[str]) -> str:
    """Return one checksum for ordered classes and their value type."""
    return hashlib.sha256("\n".join([dtype, *checksums]).encode()).hexdigest()


_CLASS_FILE = re.compile(r"(0|[1-9][0-9]{0,6})\.npy")


@dataclass(frozen=True)
class ClassFolder:
    """A folder ``classes/`` of ``0.npy``, ``1.npy``, ... each (images, channels, height, width), with one of `SHAPES`.

    Files are memory-mapped: only requested images are read, and none is cached. An imported folder also has a
    ``dataset.json``; one in the reference's layout is accepted without.

    Raises:
        DataError: names the file and the error.
    """

    path: Path
    counts: tuple[int, ...]
    """Number of images per class."""
    shape: Shape
    dtype: np.dtype
    manifest: Manifest | None
    identity: tuple[int, int]
    """Identity of the folder in the file system: another folder of the same name is another data set."""

    @classmethod
    def open(cls, path: Path, every_file: bool = True) -> "ClassFolder":
        """Open `path` (the folder ``classes/`` or the one above it).

        Args:
            every_file: check the header of each. Otherwise `dataset.json`, if present, is trusted, and a file
                is checked when its class is needed: the headers are 16,000 calls, for each of a cluster's workers.
        """
        if not path.is_dir():
            raise DataError(f"{path}: no such folder; lop data import SOURCE makes one")
        folder = path / "classes" if (path / "classes").is_dir() else path
        num_classes = _count_files(folder, path)
        manifest = Manifest.read(folder.parent) if folder.name == "classes" else None
        if manifest and not every_file and len(manifest.classes) == num_classes:
            listed = tuple(entry.images for entry in manifest.classes)
            shape = _known_shape(manifest.shape, folder.parent / NAME)
            return cls(folder, listed, shape, np.dtype(manifest.dtype), manifest, _identity(folder))
        heads = [_head(folder / f"{index}.npy") for index in range(num_classes)]
        _, shape, dtype = heads[0]
        for index, (_, this_shape, this_dtype) in enumerate(heads):
            if this_dtype != dtype:
                raise DataError(f"{folder / f'{index}.npy'}: {this_dtype} values, 0.npy has {dtype}")
            if this_shape != shape:
                raise DataError(f"{folder / f'{index}.npy'}: {SHAPES[this_shape]}, 0.npy has {SHAPES[shape]}")
        counts = tuple(count for count, _, _ in heads)
        if manifest and _listed(manifest) != (counts, shape, str(dtype)):
            raise DataError(f"{folder}: the class files are not those that {folder.parent / NAME} lists")
        return cls(folder, counts, shape, dtype, manifest, _identity(folder))

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
        """Return the classes' WNIDs or names; their numbers if they have no names."""
        if self.manifest:
            return [entry.name for entry in self.manifest.classes]
        return [str(index) for index in range(self.num_classes)]

    def file(self, index: int) -> Path:
        return self.path / f"{index}.npy"

    def mapped(self, index: int) -> np.ndarray:
        """Return all images of class `index`, (images, channels, height, width), memory-mapped and read-only."""
        stored = _map(self.file(index))
        expected = ((self.counts[index], *self.shape), self.dtype)
        if (stored.shape, stored.dtype) != expected or _identity(self.path) != self.identity:
            raise DataError(f"{self.file(index)}: the images have been replaced since they were opened")
        return stored

    def blocks(self, index: int, num_images: int) -> Iterator[np.ndarray]:
        """Yield the images of class `index`, at most `num_images` at a time, read without mapping."""
        stored = self.mapped(index)
        if not stored.flags.c_contiguous:
            yield from (np.array(stored[start : start + num_images]) for start in range(0, len(stored), num_images))
            return
        offset, shape, dtype = stored.offset, stored.shape, stored.dtype  # type: ignore[attr-defined]
        del stored
        try:
            with open(self.file(index), "rb") as file:
                file.seek(offset)
                yield from read_blocks(file, dtype, shape, num_images)
        except (OSError, EOFError) as error:
            raise DataError(f"{self.file(index)}: {why(error)}") from None

    def images(self, index: int, num_images: int) -> np.ndarray:
        """Return the first `num_images` images of class `index`, (num_images, *shape), in the file's value type."""
        stored = self.mapped(index)
        if len(stored) < num_images:
            raise DataError(f"{self.file(index)}: {len(stored)} images, {num_images} are needed")
        return np.array(stored[:num_images])


def _count_files(folder: Path, path: Path) -> int:
    names = [file.name for file in folder.glob("*.npy")]
    numbers = sorted(int(Path(name).stem) for name in names if _CLASS_FILE.fullmatch(name))
    if not numbers:
        raise DataError(f"{path}: holds no class files (classes/0.npy, classes/1.npy, ...)")
    if numbers != list(range(len(numbers))):
        gap = next(i for i, number in enumerate(numbers) if i != number)
        raise DataError(f"{folder}: class file {gap}.npy is missing ({len(numbers)} files, up to {numbers[-1]}.npy)")
    return len(numbers)


def _head(path: Path) -> tuple[int, Shape, np.dtype]:
    """Return the number of a file's images, their shape and type; closes the file."""
    stored = _map(path)
    return len(stored), stored.shape[1:], stored.dtype


def _listed(manifest: Manifest) -> tuple[tuple[int, ...], tuple[int, ...], str]:
    """Return the numbers of images of the classes, their shape and type, from a manifest."""
    return tuple(entry.images for entry in manifest.classes), tuple(manifest.shape), manifest.dtype


def _known_shape(shape: Sequence[int], where: Path) -> Shape:
    """Return one of `SHAPES`. Raises DataError."""
    for known in SHAPES:
        if known == tuple(shape):
            return known
    raise DataError(f"{where}: images of shape {tuple(shape)}: not a shape that lop knows; import the images again")


def _identity(folder: Path) -> tuple[int, int]:
    try:
        status = os.stat(folder)
    except OSError as error:
        raise DataError(f"{folder}: {why(error)}") from None
    return status.st_dev, status.st_ino


def _map(path: Path) -> np.ndarray:
    try:
        require_regular(path)
        with warnings.catch_warnings(action="ignore"):  # errors of Python and numpy for odd characters in a header
            stored = np.lib.format.open_memmap(path, mode="r")
        size = os.stat(path).st_size
    except Exception as error:  # numpy raises many exception types for a damaged file
        raise DataError(f"{path}: not a whole .npy array: {why(error)[:200]}") from None
    if stored.shape[1:] not in SHAPES or stored.dtype.kind not in "uif":
        raise DataError(
            f"{path}: shape {stored.shape} of {stored.dtype}, expected (images, 3, 32, 32) numbers, "
            "or (images, 1, 28, 28) of grey images"
        )
    if len(stored) < 2:
        raise DataError(f"{path}: {len(stored)} images, a class needs at least 2 (one to train, one to test)")
    if size != stored.offset + stored.nbytes:
        raise DataError(f"{path}: not a whole .npy array: {size - stored.offset - stored.nbytes} bytes too many")
    return stored
