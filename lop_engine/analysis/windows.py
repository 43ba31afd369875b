"""A group's metric over a part of its tasks: a window of them, all of them, the epochs of one task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lop_engine.analysis.curves import Curve, average
from lop_engine.analysis.groups import Group
from lop_engine.runs.store import read_task


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
        values = group.values(run, metric)[window.first - 1 : window.last]
        if len(values) == window.last - window.first + 1 and np.isfinite(values).all():
            found[run.seed] = float(values.mean())
    return found


def mean_level(group: Group, metric: str) -> float:
    """Mean over seeds of each seed's mean over the tasks it has done, in the metric's units; NaN of none."""
    means = [float(series[known].mean()) for series, known in _finite(group, metric) if known.any()]
    return float(np.mean(means)) if means else float("nan")


def is_never_finite(groups: Sequence[Group], metrics: Sequence[str]) -> bool:
    """Whether `groups` have records of some of `metrics`, but no finite value."""
    known = [finite for group in groups for metric in metrics for _, finite in _finite(group, metric) if len(finite)]
    return bool(known) and not any(finite.any() for finite in known)


def _finite(group: Group, metric: str) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(run.series[metric], np.isfinite(run.series[metric])) for run in group.runs if metric in run.series]


def late_task(group: Group) -> int:
    """The last task that half of the begun seeds have done, counted from 1; 0 before there is one."""
    done = sorted((len(run.seconds) for run in group.runs if len(run.seconds)), reverse=True)
    return done[(len(done) - 1) // 2] if done else 0


def epoch_curves(group: Group, task: int, metrics: Sequence[str]) -> list[Curve]:
    """Mean and standard error of each metric over the seeds, after each recorded epoch of a task.

    Args:
        task: counted from 1.
    Returns:
        A curve a metric, whose `task` is the epoch, counted from 1; without points where nothing is recorded.
    Raises:
        StoreError: a run's epochs cannot be read.
    """
    by_seed = [read_task(run.dir.epochs_json, task - 1) for run in group.runs]
    return [_curve([_values(rows, metric) for rows in by_seed]) for metric in metrics]


def _values(rows: Sequence[Mapping[str, Any]], metric: str) -> dict[int, float]:
    """By epoch, counted from 0; without what is null or no number."""
    found = {row.get("epoch"): row.get(metric) for row in rows}
    return {epoch: value for epoch, value in found.items() if isinstance(epoch, int) and isinstance(value, int | float)}


def _curve(by_seed: Sequence[Mapping[int, float]]) -> Curve:
    """Average over seeds, each epoch over those that recorded it."""
    epochs = sorted(set().union(*by_seed)) if by_seed else []
    series = [np.array([one.get(epoch, np.nan) for epoch in epochs], dtype=float) for one in by_seed]
    curve = average(series, 1, len(epochs))
    number = np.array(epochs, dtype=float)[curve.task.astype(int) - 1] + 1
    return Curve(number, curve.mean, curve.standard_error, curve.num_seeds, 1)
