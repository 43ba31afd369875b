"""Which classes make up which task."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lop_engine.errors import DataError
from lop_engine.spec import Spec
from lop_engine.streams import Stream, order


@dataclass(frozen=True)
class ClassSequence:
    """The tasks' classes, the same for a seed under every method.

    By default each pass over the data set is a fresh permutation of its classes, from (seed, pass); consecutive
    classes make a task, and classes left over at the end of a pass sit that pass out. With a `table` (seeds, classes)
    a seed's row is the order, end to end again and again: the reference's way, in which the same pairs come back.
    """

    total_classes: int
    num_classes: int
    """Classes a task."""
    table: np.ndarray | None = None

    def classes(self, seed: int, task: int) -> list[int]:
        """The classes of a task, as indices into the data set."""
        if self.table is not None:
            row = self.table[seed]
            return [int(row[(task * self.num_classes + k) % len(row)]) for k in range(self.num_classes)]
        this_pass, place = divmod(task, self.total_classes // self.num_classes)
        permutation = order(self.total_classes, seed, Stream.CLASS_ORDER, this_pass)
        return [int(c) for c in permutation[place * self.num_classes : (place + 1) * self.num_classes]]

    @classmethod
    def open(cls, spec: Spec, total_classes: int) -> "ClassSequence":
        """The sequence of a spec. Raises DataError if its table cannot be used with `total_classes` classes."""
        if not spec.class_order:
            return cls(total_classes, spec.num_classes)
        return cls(
            total_classes, spec.num_classes, _read_table(Path(spec.class_order), total_classes, spec.num_classes)
        )

    def check_seeds(self, seeds: list[int]) -> None:
        """Raise DataError unless every seed has a row."""
        if self.table is not None and max(seeds) >= len(self.table):
            raise DataError(f"class_order: holds {len(self.table)} rows, seed {max(seeds)} has none")


def _read_table(path: Path, total_classes: int, num_classes: int) -> np.ndarray:
    try:
        raw = np.load(path, allow_pickle=False) if path.suffix == ".npy" else np.array(json.loads(path.read_text()))
    except FileNotFoundError:
        raise DataError(f"{path}: no such class order") from None
    except (OSError, ValueError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a class order in .npy or JSON: {str(error).splitlines()[0]}") from None
    if raw.ndim != 2 or not np.issubdtype(raw.dtype, np.integer) or raw.shape[1] < num_classes or not len(raw):
        raise DataError(f"{path}: shape {raw.shape} of {raw.dtype}, expected whole numbers (seeds, classes)")
    if raw.min() < 0 or raw.max() >= total_classes:
        raise DataError(f"{path}: classes {raw.min()} to {raw.max()}, the images have 0 to {total_classes - 1}")
    places = np.arange(raw.shape[1] * num_classes).reshape(-1, num_classes) % raw.shape[1]
    groups = np.sort(raw[:, places], axis=2)
    repeated = np.argwhere((groups[:, :, 1:] == groups[:, :, :-1]).any(2))
    if len(repeated):
        seed, task = repeated[0]
        raise DataError(f"{path}: row {seed}: task {task} holds the same class twice")
    return raw
