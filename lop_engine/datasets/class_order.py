"""The classes of each task: drawn for each seed, or from a table of orders with a row per seed.

A table is the reference's pickle, .npy, CSV or JSON.
"""

import csv
import hashlib
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lop_engine import safe_pickle, streams
from lop_engine.errors import DataError, why
from lop_engine.experiment.spec import Spec
from lop_engine.files import read_small, require_regular
from lop_engine.streams import Stream
from lop_engine.text import byte_size

#: A table of 30 seeds and 5,000 tasks has 2.4 MB; a larger file is something else.
MAX_BYTES = 256 * 2**20
MAX_NUMBERS = 20_000_000


@dataclass(frozen=True)
class ClassOrder:
    """Row s is the order of classes of seed s; consecutive classes make a task."""

    path: Path
    rows: np.ndarray
    """(seeds, classes), int64."""

    @property
    def sha256(self) -> str:
        """Return a checksum of the numbers, independent of the file format."""
        return hashlib.sha256(repr(self.rows.shape).encode() + self.rows.astype("<i8").tobytes()).hexdigest()

    def check(self, total_classes: int, num_classes: int) -> None:
        """Raise DataError unless every task of `num_classes` classes has different ones, below `total_classes`."""
        if self.rows.shape[1] < num_classes:
            raise DataError(f"{self.path}: rows of {self.rows.shape[1]} classes, a task needs {num_classes}")
        if self.rows.min() < 0 or self.rows.max() >= total_classes:
            raise DataError(
                f"{self.path}: classes {self.rows.min()} to {self.rows.max()}, the images have 0 to {total_classes - 1}"
            )
        places = np.arange(self.rows.shape[1] * num_classes).reshape(-1, num_classes) % self.rows.shape[1]
        groups = np.sort(self.rows[:, places], axis=2)
        repeated = np.argwhere((groups[:, :, 1:] == groups[:, :, :-1]).any(2))
        if len(repeated):
            seed, task = repeated[0]
            raise DataError(f"{self.path}: row {seed}: task {task} holds the same class twice")


def read_class_order(path: Path) -> ClassOrder:
    """Read a table; its suffix gives the format, by default the reference's pickle. Raises DataError."""
    readers = {".npy": _read_npy, ".json": _read_json, ".csv": _read_csv, ".txt": _read_csv}
    try:
        require_regular(path)
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"{byte_size(path.stat().st_size)} is too large")
        rows = readers.get(path.suffix.lower(), _read_pickle)(path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such class order") from None
    except DataError:
        raise
    except Exception as error:  # json, csv and numpy raise many exception types for a damaged file
        reason = why(error)[:200]
        raise DataError(f"{path}: not a class order (.npy, .csv, .json or the reference's pickle): {reason}") from None
    if rows.ndim != 2 or not np.issubdtype(rows.dtype, np.integer) or not rows.size:
        raise DataError(f"{path}: shape {rows.shape} of {rows.dtype}, expected whole numbers (seeds, classes)")
    if rows.size > MAX_NUMBERS:
        raise DataError(f"{path}: {rows.size} numbers, more than any class order holds")
    return ClassOrder(path, rows.astype(np.int64))


def _read_npy(path: Path) -> np.ndarray:
    with warnings.catch_warnings(action="ignore"):  # errors of Python and numpy for odd characters in a header
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))


def _read_json(path: Path) -> np.ndarray:
    return _table(json.loads(read_small(path, MAX_BYTES)))


def _read_csv(path: Path) -> np.ndarray:
    """Read a row per line, without headings; commas, semicolons, tabs or spaces between numbers."""
    text = read_small(path, MAX_BYTES).decode("utf-8-sig")
    for separator in ";\t ":
        text = text.replace(separator, ",")
    lines = [[cell for cell in line if cell] for line in csv.reader(text.splitlines())]
    return _table([[int(cell) for cell in line] for line in lines if line])


def _read_pickle(path: Path) -> np.ndarray:
    """Read an array, or a list of arrays or of lists of numbers."""
    raw = safe_pickle.load(path)
    if isinstance(raw, safe_pickle.StoredArray):
        return raw.whole()
    if not isinstance(raw, list | tuple):
        raise ValueError("holds no table")
    return _table([row.whole().tolist() if isinstance(row, safe_pickle.StoredArray) else row for row in raw])


def _table(raw: Any) -> np.ndarray:
    """Convert rows of whole numbers to an array; refuses other values, which numpy might convert."""
    if not isinstance(raw, list | tuple) or sum(len(row) for row in raw if isinstance(row, list | tuple)) > MAX_NUMBERS:
        raise ValueError("expected whole numbers (seeds, classes)")
    for row in raw:
        if not isinstance(row, list | tuple) or not all(type(number) is int for number in row):
            raise ValueError("expected whole numbers (seeds, classes)")
        if len(row) != len(raw[0]):
            raise ValueError(f"rows of {len(raw[0])} and of {len(row)} classes")
    return np.array(raw, dtype=np.int64)


@dataclass(frozen=True)
class ClassSequence:
    """The tasks' classes, the same for a seed with every method.

    By default each pass over the data set is a new permutation of its classes, from (seed, pass); consecutive
    classes make a task, and classes left over at the end of a pass are skipped. With a `table` (seeds, classes)
    a seed's row is repeated without end: the reference's way, in which the same pairs recur.
    """

    total_classes: int
    num_classes: int
    """Classes per task."""
    table: np.ndarray | None = None

    def classes(self, seed: int, task: int) -> list[int]:
        """Return the classes of a task, as indices into the data set."""
        if self.table is not None:
            row = self.table[seed]
            return [int(row[(task * self.num_classes + k) % len(row)]) for k in range(self.num_classes)]
        this_pass, place = divmod(task, self.total_classes // self.num_classes)
        permutation = streams.order(self.total_classes, seed, Stream.CLASS_ORDER, this_pass)
        return [int(c) for c in permutation[place * self.num_classes : (place + 1) * self.num_classes]]

    @classmethod
    def open(cls, spec: Spec, total_classes: int) -> "ClassSequence":
        """Return the sequence of a spec. Raises DataError if its table cannot be used with `total_classes` classes."""
        if not spec.class_order:
            return cls(total_classes, spec.num_classes)
        order = read_class_order(Path(spec.class_order))
        order.check(total_classes, spec.num_classes)
        if spec.class_order_sha256 and spec.class_order_sha256 != order.sha256:
            raise DataError(f"{order.path}: not the class order that class_order_sha256 asks for; it has been changed")
        return cls(total_classes, spec.num_classes, order.rows)

    def check_seeds(self, seeds: list[int]) -> None:
        """Raise DataError unless every seed has a row."""
        if self.table is not None and max(seeds) >= len(self.table):
            raise DataError(f"class_order: holds {len(self.table)} rows, seed {max(seeds)} has none")
