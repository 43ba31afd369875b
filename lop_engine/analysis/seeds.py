"""Single seeds: curves of a metric, summaries, and paired differences of two groups.

The same seed sees the same tasks in the same order, so differences are paired.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lop_engine.analysis.curves import bin_table, default_bin
from lop_engine.analysis.groups import Group
from lop_engine.analysis.statistics import t_quantile
from lop_engine.analysis.windows import final_value, summarise
from lop_engine.runs.views import RunView, is_loss, is_too_large


@dataclass(frozen=True)
class SeedTable:
    """A metric's bins for every seed of a group."""

    seeds: np.ndarray
    """Shape (S,), rising."""
    task: np.ndarray
    """Middle of each bin, tasks counted from 1, shape (bins,)."""
    values: np.ndarray
    """Shape (S, bins), in the metric's units; NaN where a seed has no complete and finite bin."""
    bin_size: int


@dataclass(frozen=True)
class SeedSummary:
    """A run's summary of one metric, in its units."""

    seed: int
    tasks_done: int
    last: float
    """Mean over the last tenth of its tasks, see `tenths`."""
    best: float
    """Mean over the best tenth."""
    dormant: float
    """Dormant proportion over the last tenth; NaN if not recorded."""

    @property
    def drop(self) -> float:
        """Return how much worse the last tenth is than the best."""
        return abs(self.best - self.last)


def seed_table(group: Group, metric: str, bin_size: int | None = None) -> SeedTable:
    """Bin `metric` for every seed; a seed that has not recorded it is a row of NaN."""
    bin_size = bin_size or default_bin(group.num_tasks)
    series = [run.series.get(metric, np.empty(0)) for run in group.runs]
    task, table = bin_table(series, bin_size, group.num_tasks)
    seeds = np.array([run.seed for run in group.runs], dtype=int)
    return SeedTable(seeds, task, np.where(np.isfinite(table), table, np.nan), bin_size)


def summarise_seed(run: RunView, metric: str) -> SeedSummary | None:
    """Return a run's last and best tenth; None without a finite value."""
    summary = summarise(Group(run.experiment, run.setting, (run,)), metric)
    if summary is None:
        return None
    dormant = final_value(run, "dormant_proportion")
    done = len(run.series[metric])
    return SeedSummary(run.seed, done, summary.last, summary.best, float("nan") if dormant is None else dormant)


def breaks(run: RunView, metric: str) -> np.ndarray:
    """Return tasks to mark, counted from 1, rising, shape (marks,).

    These are the first tasks of each stretch in which a metric is not finite, or a loss too large
    (`views.is_too_large`); and the task in which the run diverged.
    """
    values = run.series.get(metric, np.empty(0))
    may_be_bad = metric in run.nulls or run.state == "diverged" or is_loss(metric)
    if not may_be_bad or (run.series and metric not in run.series):
        return np.empty(0, int)
    bad = is_too_large(metric, values)
    if metric in run.nulls:
        bad |= run.nulls[metric][: len(values)]
    if run.state == "diverged" and not bad[-1:].any():  # within a task whose end has no record
        bad = np.append(bad, True)
    return np.flatnonzero(bad & ~np.concatenate([[False], bad[:-1]])) + 1


@dataclass(frozen=True)
class Difference:
    """A metric's bins of one group minus those of another, with a point for each bin that at least one pair has.

    All arrays have shape (points,); values in the metric's units. Intervals are for single bins.
    """

    task: np.ndarray
    """Middle of the bin, tasks counted from 1."""
    mean: np.ndarray
    """Mean over pairs of b - a."""
    standard_error: np.ndarray
    """Sample standard deviation over pairs / sqrt(number of pairs); NaN for one pair."""
    low: np.ndarray
    """Lower limit of the 95 % interval by Student's t; NaN for one pair."""
    high: np.ndarray
    num_pairs: np.ndarray
    bin_size: int
    pairs: tuple[int, ...]
    """Seeds that both groups have."""
    only_a: tuple[int, ...]
    only_b: tuple[int, ...]
    values: np.ndarray
    """b - a for each pair, shape (pairs, points), in the order of `pairs`; NaN where either seed lacks the bin."""

    @property
    def parts_at(self) -> float | None:
        """Return the first task (a bin's middle) from which on every interval excludes zero, always on the same side.

        Bins of a single pair have no interval and are ignored. None if the groups do not part for good.
        """
        has_interval = self.num_pairs > 1
        side = (self.low[has_interval] > 0).astype(int) - (self.high[has_interval] < 0)
        if not len(side) or not side[-1]:
            return None
        others = np.flatnonzero(side != side[-1])
        return float(self.task[has_interval][others[-1] + 1 if len(others) else 0])

    @property
    def last(self) -> tuple[float, float, float]:
        """Return mean, low and high of the last bin; NaN if missing."""
        if not len(self.mean):
            return float("nan"), float("nan"), float("nan")
        return float(self.mean[-1]), float(self.low[-1]), float(self.high[-1])


def compare(a: Group, b: Group, metric: str, bin_size: int | None = None) -> Difference:
    """Subtract `a` from `b`, seed by seed, in each bin that both have completed with a finite value.

    Groups of different length are compared over the tasks of the shorter one.
    """
    runs_a, runs_b = ({run.seed: run for run in group.runs} for group in (a, b))
    pairs = tuple(sorted(runs_a.keys() & runs_b.keys()))
    num_tasks = min(a.num_tasks, b.num_tasks)
    bin_size = bin_size or default_bin(num_tasks)
    series_a, series_b = (
        [group.values(runs[seed], metric) for seed in pairs] for group, runs in ((a, runs_a), (b, runs_b))
    )
    task, difference = _differences(series_a, series_b, bin_size, num_tasks)
    present = np.isfinite(difference)
    num_pairs = present.sum(0)
    shown = num_pairs > 0
    task, difference, present, num_pairs = task[shown], difference[:, shown], present[:, shown], num_pairs[shown]
    mean = np.where(present, difference, 0).sum(0) / num_pairs
    squares = (np.where(present, difference - mean, 0) ** 2).sum(0)
    degrees = np.where(num_pairs > 1, num_pairs - 1, np.nan)  # one pair has no spread
    error = np.sqrt(squares / degrees / num_pairs)
    reach = t_quantile(degrees) * error
    only_a, only_b = (tuple(sorted(one.keys() - set(pairs))) for one in (runs_a, runs_b))
    low, high = mean - reach, mean + reach
    return Difference(task, mean, error, low, high, num_pairs, bin_size, pairs, only_a, only_b, difference)


def _differences(
    series_a: Sequence[np.ndarray], series_b: Sequence[np.ndarray], bin_size: int, num_tasks: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the middle of each bin, shape (bins,), and b - a, shape (pairs, bins), NaN where either is missing."""
    task, table = bin_table([one[:num_tasks] for one in (*series_a, *series_b)], bin_size, num_tasks)
    table = np.where(np.isfinite(table), table, np.nan)
    return task, table[len(series_a) :] - table[: len(series_a)]
