"""A metric of each seed over a window of tasks."""

from dataclasses import dataclass

import numpy as np

from lop_engine.analysis.groups import Group


@dataclass(frozen=True)
class Window:
    """Tasks `first` to `last`, both of them in it, counted from 1."""

    first: int
    last: int

    def __str__(self) -> str:
        return f"tasks {self.first}-{self.last}"


def window_means(group: Group, metric: str, window: Window) -> dict[int, float]:
    """By seed, the mean of `metric` over the window's tasks; only of seeds that have all of them, finite."""
    found = {}
    for run in group.runs:
        values = run.series.get(metric, np.empty(0))[window.first - 1 : window.last]
        if len(values) == window.last - window.first + 1 and np.isfinite(values).all():
            found[run.seed] = float(values.mean())
    return found
