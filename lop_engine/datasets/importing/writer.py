"""Writes images, in any order, as one file per class, into a folder that is renamed atomically."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from lop_engine.datasets.base import Shape, in_numbers
from lop_engine.datasets.class_folder import NAME, Manifest
from lop_engine.datasets.importing.source import Block
from lop_engine.datasets.verify import check_finite
from lop_engine.errors import DataError, sentence
from lop_engine.files import sync_directory

_CLASS_FILE = re.compile(r"[0-9]+\.npy")


@contextmanager
def new_folder(target: Path, replace: bool) -> Iterator[Path]:
    """Yield an empty folder that is renamed to `target` on success, and removed on failure.

    Args:
        replace: replace an existing data set, at the last moment, but nothing else.
    Raises:
        DataError: `target` exists, or a disk error.
    """
    target = _resolved(target)
    staging = target.with_name(f".{target.name}.importing")
    old = target.with_name(f".{target.name}.replaced")
    made = _missing_parents(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(target.with_name(f".{target.name}.lock"))
        with lock.acquire(timeout=0):
            try:
                _put_back(target, old)
                _refuse_if_taken(target, replace)
                _remove(staging)
                staging.mkdir()
                yield staging
                _refuse_if_taken(target, replace)  # it may have been created in the meantime
                _swap(staging, target, old)
            finally:
                _remove(staging)
                if target.exists():
                    _remove(old)
                Path(lock.lock_file).unlink(missing_ok=True)
    except Timeout:
        raise DataError(f"{target}: another import is writing it now") from None
    except OSError as error:
        raise DataError(f"{sentence(error, target)}; nothing was imported") from None
    finally:
        for parent in made:
            with suppress(OSError):
                parent.rmdir()  # only succeeds if it is empty


def _resolved(target: Path) -> Path:
    """Return the place with links resolved: a link stays, and its target is replaced."""
    try:
        resolved = target.expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"{target}: not a place for a data set: {error}") from None
    if resolved in (Path.cwd(), *Path.cwd().parents):
        raise DataError(f"{target}: the working directory, or one above it; name a new one with --to DIR")
    return resolved


def _missing_parents(target: Path) -> list[Path]:
    return [parent for parent in target.parents if not parent.exists()]


def _put_back(target: Path, old: Path) -> None:
    """Restore an old data set under its temporary name, left by an import that was killed."""
    if old.exists() and not os.path.lexists(target):
        old.rename(target)
    elif os.path.lexists(old):
        _remove(old)


def _swap(staging: Path, target: Path, old: Path) -> None:
    if not target.exists():
        staging.rename(target)
    else:
        target.rename(old)
        try:
            staging.rename(target)
        except BaseException:
            old.rename(target)
            raise
    sync_directory(target.parent)


def _refuse_if_taken(target: Path, replace: bool) -> None:
    """Refuse to replace anything except an empty folder or, with `replace`, a data set."""
    if not os.path.lexists(target) or (target.is_dir() and not any(target.iterdir())):
        return
    strange = _strange(target)
    if strange:
        raise DataError(f"{target}: exists already, and {strange}; name another place with --to DIR")
    if not replace:
        raise DataError(f"{target}: exists already; name another place with --to DIR, or add --replace")


def _strange(target: Path) -> str:
    """Return a file that does not belong to a data set of ours; "" if there is none."""
    try:
        if not target.is_dir() or Manifest.read(target) is None:
            return "no data set of lop's"
    except DataError:
        return f"its {NAME} is not one of lop's"
    known = {target / NAME, target / "classes"}
    within = list((target / "classes").iterdir()) if (target / "classes").is_dir() else []
    others = [path for path in target.iterdir() if path not in known]
    others += [path for path in within if not _CLASS_FILE.fullmatch(path.name)]
    return f"holds {others[0].relative_to(target)} besides a data set" if others else ""


def _remove(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path, ignore_errors=True)


#: Bytes of images that are buffered, so that a file is opened for many images at a time.
_BUFFER = 128 * 2**20
MAX_CLASSES = 65_536


class ClassWriter:
    """``<label>.part`` files in `folder` of at most `limit` images; `finish` renames them to ``0.npy``, ``1.npy``, etc.

    File names are numbers, whatever classes are called, so a source cannot decide where files are written.
    """

    def __init__(self, folder: Path, limit: int, shape: Shape) -> None:
        self._folder, self._limit, self._shape = folder, limit, shape
        self._dtype: np.dtype | None = None
        self._pending: dict[int, list[np.ndarray]] = {}
        self._pending_bytes = 0
        self.counts: dict[int, int] = {}

    @property
    def dtype(self) -> np.dtype:
        assert self._dtype is not None
        return self._dtype

    def add(self, block: Block) -> None:
        """Write a block's images. Raises DataError for values that are not numbers, or of another type than before."""
        images = block.images
        if images.dtype.kind not in "uif" or images.shape[1:] != self._shape or len(images) != len(block.labels):
            expected = f"expected images of {in_numbers(self._shape)} numbers"
            raise DataError(f"{block.where}: {images.shape} of {images.dtype}, {expected}")
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
        """Complete the files: the class of ``labels[k]`` becomes ``k.npy``. All are on disk when this returns."""
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
        """Write a header with space for the first axis to grow, so that a later count fits."""
        header = {
            "descr": np.lib.format.dtype_to_descr(self.dtype),
            "fortran_order": False,
            "shape": (num_images, *self._shape),
        }
        np.lib.format.write_array_header_1_0(file, header)  # type: ignore[arg-type]
