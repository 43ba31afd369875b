"""A group's metric over a part of its tasks: a window, all tasks, tenths, or the epochs of one task.

Tenths are "first", "best" and "last" in every table. The final value of a run is its mean over the last tenth
of its tasks. For an unfinished run it is the last complete tenth, and before the first is complete, the tasks
done so far.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from lop_engine.analysis.curves import Curve, average, mean_over_seeds
from lop_engine.analysis.groups import Group
from lop_engine.experiment import lookup
from lop_engine.experiment.components import Metric
from lop_engine.runs.store import read_task
from lop_engine.runs.views import RunView

Over = Literal["first", "best", "last", "whole"]
"""A part of a run: a tenth of its tasks, or all of them up to the last tenth's end."""

OVERS: tuple[Over, ...] = get_args(Over)


@dataclass(frozen=True)
class Window:
    """Tasks `first` to `last`, both included, counted from 1."""

    first: int
    last: int

    @property
    def middle(self) -> float:
        return (self.first + self.last) / 2

    def __str__(self) -> str:
        return f"tasks {self.first}-{self.last}"


def window_means(group: Group, metric: str, window: Window) -> dict[int, float]:
    """Return each seed's mean of `metric` over the window's tasks; only for seeds that have all of them, finite."""
    means = {}
    for run in group.runs:
        values = group.values(run, metric)[window.first - 1 : window.last]
        if len(values) == window.last - window.first + 1 and np.isfinite(values).all():
            means[run.seed] = float(values.mean())
    return means


def mean_level(group: Group, metric: str) -> float:
    """Return the mean over seeds of each seed's mean over finished tasks, in the metric's units; NaN without any."""
    means = [float(series[known].mean()) for series, known in _finite(group, metric) if known.any()]
    return float(np.mean(means)) if means else float("nan")


def is_never_finite(groups: Sequence[Group], metrics: Sequence[str]) -> bool:
    """Whether `groups` have records of some of `metrics`, but no finite value."""
    known = [finite for group in groups for metric in metrics for _, finite in _finite(group, metric) if len(finite)]
    return bool(known) and not any(finite.any() for finite in known)


def _finite(group: Group, metric: str) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(run.series[metric], np.isfinite(run.series[metric])) for run in group.runs if metric in run.series]


def late_task(group: Group) -> int:
    """Return the last task that half of the begun seeds have done, counted from 1; 0 before that."""
    done = sorted((len(run.seconds) for run in group.runs if len(run.seconds)), reverse=True)
    return done[(len(done) - 1) // 2] if done else 0


def epoch_curves(group: Group, task: int, metrics: Sequence[str]) -> list[Curve]:
    """Return mean and standard error of each metric over the seeds, after each recorded epoch of a task.

    Args:
        task: counted from 1.
    Returns:
        A curve per metric, whose `task` is the epoch, counted from 1; without points if nothing is recorded.
    Raises:
        StoreError: a run's epochs cannot be read.
    """
    by_seed = [read_task(run.dir.epochs_json, task - 1) for run in group.runs]
    return [_curve([_values(rows, metric) for rows in by_seed]) for metric in metrics]


def _values(rows: Sequence[Mapping[str, Any]], metric: str) -> dict[int, float]:
    """Return values by epoch, counted from 0; without null and non-numbers."""
    by_epoch = {row.get("epoch"): row.get(metric) for row in rows}
    return {
        epoch: value for epoch, value in by_epoch.items() if isinstance(epoch, int) and isinstance(value, int | float)
    }


def _curve(by_seed: Sequence[Mapping[int, float]]) -> Curve:
    """Average over seeds, each epoch over the seeds that recorded it."""
    epochs = sorted(set().union(*by_seed)) if by_seed else []
    series = [np.array([one.get(epoch, np.nan) for epoch in epochs], dtype=float) for one in by_seed]
    curve = average(series, 1, len(epochs))
    number = np.array(epochs, dtype=float)[curve.task.astype(int) - 1] + 1
    return Curve(number, curve.mean, curve.standard_error, curve.num_seeds, 1)


@dataclass(frozen=True)
class Tenths:
    """A metric of each seed in the tenths of a run."""

    seeds: tuple[int, ...]
    ends: np.ndarray
    """The last task of each tenth, shape (tenths,), rising; ten of them, fewer in a run of fewer tasks."""
    values: np.ndarray
    """Means, shape (seeds, tenths), in the metric's units; NaN where a seed has no complete finite tenth."""
    whole: np.ndarray
    """Means over all tasks up to the last tenth shown, shape (seeds,); NaN if a seed lacks one of them."""
    metric: Metric

    @property
    def curve(self) -> Curve:
        """Return mean and standard error over the seeds; tenths without a seed are left out."""
        before = np.concatenate([[0], self.ends[:-1]])
        return mean_over_seeds((before + 1 + self.ends) / 2, self.values, int(np.max(self.ends - before)))

    def by_seed(self, over: Over) -> Mapping[int, float]:
        """Return the values of the seeds that have them all. The best tenth is that of the mean over seeds."""
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
    """A group's summary of one metric: means over seeds of the first, the best and the last tenth of its tasks."""

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
    """Number of seeds in `last`: those that have reached it."""

    @property
    def lost(self) -> float:
        """Return how much worse the last tenth is than the best, in the metric's units; never negative."""
        return abs(self.best - self.last)


def tenths_of(group: Group, metric: str) -> Tenths | None:
    """Return means of `metric` over the tenths of the group's tasks; None while no seed has a finite one."""
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
    return Tenths(tuple(run.seed for run in runs), ends, values, whole, lookup.metric(metric))


def summarise(group: Group, metric: str | None = None) -> Summary | None:
    """Return first, best and last tenth of a group in `metric`, by default its problem's headline.

    None while no seed has a value.
    """
    tenths = tenths_of(group, metric or group.problem.headline)
    if tenths is None:
        return None
    curve, is_higher = tenths.curve, tenths.metric.better == "higher"
    done = [len(run.series[tenths.metric.name]) for run in group.runs if run.seed in tenths.seeds]
    return Summary(
        group,
        tenths.metric,
        len(done),
        min(done),
        float(curve.mean[0]),
        float(curve.mean.max() if is_higher else curve.mean.min()),
        float(curve.mean[-1]),
        float(curve.standard_error[-1]),
        int(curve.num_seeds[-1]),
    )


def final_value(run: RunView, metric: str) -> float | None:
    """Return a run's mean of `metric` over its last tenth, in the metric's units; None without a value."""
    tenths = tenths_of(Group(run.experiment, run.setting, (run,)), metric)
    return float(tenths.curve.mean[-1]) if tenths else None


def last_tenth(num_tasks: int, upto: int) -> tuple[int, int]:
    """Return first and last task, counted from 1, of the last tenth of `num_tasks` that ends by task `upto`.

    Before the first tenth is complete, these are tasks 1 to `upto`.
    """
    ends = _edges(num_tasks)
    place = int(np.searchsorted(ends, upto, "right")) - 1
    if place < 0:
        return 1, upto
    return (int(ends[place - 1]) if place else 0) + 1, int(ends[place])


def _edges(num_tasks: int) -> np.ndarray:
    """Return the last task of each tenth; tenths differ by one task if ten does not divide their number."""
    return np.unique(np.arange(1, 11) * num_tasks // 10)[-min(10, num_tasks) :]


def _ends(series: Sequence[np.ndarray], num_tasks: int) -> np.ndarray:
    """Return the last task of each tenth that some seed has done; before that, the tasks that all seeds have done."""
    ends = _edges(num_tasks)
    ends = ends[ends <= max(map(len, series), default=0)]
    return ends if len(ends) else np.array([min(map(len, series), default=0)])


def _means(series: np.ndarray, ends: np.ndarray) -> list[float]:
    """Return means of one seed between the ends; NaN where a task is missing or not finite."""
    starts = np.concatenate([[0], ends[:-1]])
    with np.errstate(invalid="ignore"):  # inf - inf
        means = [
            float(series[start:end].mean()) if start < end <= len(series) else np.nan
            for start, end in zip(starts, ends, strict=True)
        ]
    return [mean if np.isfinite(mean) else np.nan for mean in means]
