"""Tenths of a run: what "first", "best" and "last" mean in every table, and which accuracy is the final one.

The final value of a run is its mean over the last tenth of its tasks. Of a run that is not finished it is the last
tenth that is whole, and before the first is whole, the tasks done so far.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from lop_engine.analysis.curves import Curve, mean_over_seeds
from lop_engine.analysis.groups import Group
from lop_engine.experiment import seen
from lop_engine.experiment.components import Metric
from lop_engine.runs.views import RunView

Over = Literal["first", "best", "last", "whole"]
"""A part of a run: a tenth of its tasks, or all of them up to the last tenth's end."""

OVERS: tuple[Over, ...] = get_args(Over)


@dataclass(frozen=True)
class Tenths:
    """A metric of each seed in the tenths of a run."""

    seeds: tuple[int, ...]
    ends: np.ndarray
    """The last task of each tenth, shape (tenths,), rising; ten of them, fewer in a run of fewer tasks."""
    values: np.ndarray
    """Means, shape (seeds, tenths), in the metric's units; NaN where a seed has no whole tenth that is finite."""
    whole: np.ndarray
    """Means over all tasks up to the last tenth that is shown, shape (seeds,); NaN where a seed lacks one of them."""
    metric: Metric

    @property
    def curve(self) -> Curve:
        """Mean and standard error over the seeds; a tenth that no seed has is left out."""
        before = np.concatenate([[0], self.ends[:-1]])
        return mean_over_seeds((before + 1 + self.ends) / 2, self.values, int(np.max(self.ends - before)))

    def by_seed(self, over: Over) -> Mapping[int, float]:
        """Values of the seeds that have them all. The best tenth is that of the mean over seeds."""
        values = self.whole if over == "whole" else self.values[:, self._place(over)]
        return {seed: float(value) for seed, value in zip(self.seeds, values, strict=True) if np.isfinite(value)}

    def _place(self, over: Over) -> int:
        shown = np.flatnonzero(np.isfinite(self.values).any(0))
        if over != "best":
            return int(shown[0 if over == "first" else -1])
        mean = self.curve.mean
        return int(shown[mean.argmax() if self.metric.better == "higher" else mean.argmin()])


@dataclass(frozen=True)
class Summary:
    """How a group fared in one metric: means over seeds of the first, the best and the last tenth of its tasks."""

    group: Group
    metric: Metric
    num_seeds: int
    tasks_done: int
    """Tasks that every seed has done."""
    first: float
    best: float
    last: float
    last_standard_error: float
    num_seeds_last: int
    """Seeds that `last` is the mean of: those that have got as far."""

    @property
    def lost(self) -> float:
        """How much worse the last tenth is than the best, in the metric's units; never negative."""
        return abs(self.best - self.last)


def tenths_of(group: Group, metric: str) -> Tenths | None:
    """Means of `metric` over the tenths of the group's tasks; None while no seed has a finite one."""
    runs = [run for run in group.runs if np.isfinite(run.series.get(metric, np.empty(0))).any()]
    series = [group.values(run, metric) for run in runs]
    num_tasks = max([group.num_tasks, *map(len, series)], default=0)
    ends = _ends(series, num_tasks)
    values = np.array([_means(one, ends) for one in series]).reshape(len(series), len(ends))
    known = np.flatnonzero(np.isfinite(values).any(0))
    if not len(known):
        return None
    upto = int(ends[known[-1]])
    whole = np.array([_means(one, np.array([upto])) for one in series])[:, 0]
    return Tenths(tuple(run.seed for run in runs), ends, values, whole, seen.metric(metric))


def summarise(group: Group, metric: str | None = None) -> Summary | None:
    """First, best and last tenth of a group's run in `metric`, by default its problem's headline.

    None while no seed has a value.
    """
    found = tenths_of(group, metric or group.problem.headline)
    if found is None:
        return None
    curve, is_higher = found.curve, found.metric.better == "higher"
    done = [len(run.series[found.metric.name]) for run in group.runs if run.seed in found.seeds]
    return Summary(
        group,
        found.metric,
        len(done),
        min(done),
        float(curve.mean[0]),
        float(curve.mean.max() if is_higher else curve.mean.min()),
        float(curve.mean[-1]),
        float(curve.standard_error[-1]),
        int(curve.num_seeds[-1]),
    )


def final_value(run: RunView, metric: str) -> float | None:
    """The mean of one run's `metric` over the last tenth of its tasks, in the metric's units; None without a value."""
    found = tenths_of(Group(run.experiment, run.setting, (run,)), metric)
    return float(found.curve.mean[-1]) if found else None


def last_tenth(num_tasks: int, upto: int) -> tuple[int, int]:
    """First and last task, counted from 1, of the last tenth of `num_tasks` that ends at task `upto` or before.

    Before the first tenth is whole, tasks 1 to `upto`.
    """
    ends = _edges(num_tasks)
    place = int(np.searchsorted(ends, upto, "right")) - 1
    if place < 0:
        return 1, upto
    return (int(ends[place - 1]) if place else 0) + 1, int(ends[place])


def _edges(num_tasks: int) -> np.ndarray:
    """The last task of each tenth; tenths differ by one task where ten does not divide their number."""
    return np.unique(np.arange(1, 11) * num_tasks // 10)[-min(10, num_tasks) :]


def _ends(series: Sequence[np.ndarray], num_tasks: int) -> np.ndarray:
    """The last task of each tenth that some seed has done; before that, the tasks that all seeds have done."""
    ends = _edges(num_tasks)
    ends = ends[ends <= max(map(len, series), default=0)]
    return ends if len(ends) else np.array([min(map(len, series), default=0)])


def _means(series: np.ndarray, ends: np.ndarray) -> list[float]:
    """Means of one seed between the ends; NaN where a task is missing or not finite."""
    starts = np.concatenate([[0], ends[:-1]])
    with np.errstate(invalid="ignore"):  # inf - inf
        means = [
            float(series[start:end].mean()) if start < end <= len(series) else np.nan
            for start, end in zip(starts, ends, strict=True)
        ]
    return [mean if np.isfinite(mean) else np.nan for mean in means]
