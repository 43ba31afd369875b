"""Which classes make up which task."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lop_engine import streams
from lop_engine.datasets.class_order import read_class_order
from lop_engine.errors import DataError
from lop_engine.experiment.spec import Spec
from lop_engine.streams import Stream


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
        permutation = streams.order(self.total_classes, seed, Stream.CLASS_ORDER, this_pass)
        return [int(c) for c in permutation[place * self.num_classes : (place + 1) * self.num_classes]]

    @classmethod
    def open(cls, spec: Spec, total_classes: int) -> "ClassSequence":
        """The sequence of a spec. Raises DataError if its table cannot be used with `total_classes` classes."""
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
