"""Inside one task: a metric over its epochs, mean over seeds."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lop_engine.analysis.curves import Curve, average
from lop_engine.analysis.groups import Group
from lop_engine.runs.store import read_task


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
