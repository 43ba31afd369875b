"""THE one aggregation: bins of tasks, mean and band over seeds. numpy only.

watch, plot, status and the summary of `lop run` all come here, so that their numbers agree to the last digit.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from lop_engine.runs import RunView

PAPER_BIN = 50


@dataclass(frozen=True)
class Curve:
    """Mean over seeds of a metric's bins, a point a bin in which at least one seed is whole.

    All arrays have shape (points,).
    """

    task: np.ndarray
    """Middle of the bin, tasks counted from 1."""
    mean: np.ndarray
    standard_error: np.ndarray
    """Population standard deviation over seeds / sqrt(number of seeds)."""
    num_seeds: np.ndarray
    """Seeds that entered the point."""
    bin_size: int

    @property
    def low(self) -> np.ndarray:
        return self.mean - self.standard_error

    @property
    def high(self) -> np.ndarray:
        return self.mean + self.standard_error


@dataclass(frozen=True)
class Group:
    """The seeds of one setting of one experiment: a line in a chart."""

    experiment: str
    setting: str
    runs: tuple[RunView, ...]

    @property
    def label(self) -> str:
        return self.experiment if self.setting == "default" else f"{self.experiment} {self.setting}"

    @property
    def num_tasks(self) -> int:
        return max((run.num_tasks for run in self.runs), default=0)

    def curve(self, metric: str, bin_size: int | None = None) -> Curve:
        """Mean and standard error over the seeds' bins of `metric`."""
        series = [run.series[metric] for run in self.runs if metric in run.series]
        return average(series, bin_size or default_bin(self.num_tasks), self.num_tasks)


@dataclass(frozen=True)
class Summary:
    """How a group fared in one metric: means over seeds, first and last tenth of its tasks, and the best tenth."""

    group: Group
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
        """best - last, in the metric's units."""
        return self.best - self.last


def default_bin(num_tasks: int) -> int:
    """Tasks a bin: the paper's 50, fewer when there are few tasks (some 30 points then)."""
    return max(1, min(PAPER_BIN, num_tasks // 30))


def group_runs(runs: Iterable[RunView]) -> list[Group]:
    """Group runs by experiment and setting, in the order of their names; seeds in order."""
    ordered = sorted(runs, key=lambda run: (run.experiment, run.setting, run.seed))
    grouped = groupby(ordered, key=lambda run: (run.experiment, run.setting))
    return [Group(experiment, setting, tuple(members)) for (experiment, setting), members in grouped]


def bin_means(series: np.ndarray, bin_size: int, num_tasks: int) -> np.ndarray:
    """Means of one seed's whole bins, shape (number of whole bins,).

    The last bin of a run may be shorter than the others. NaN where a bin holds a value that is not finite.
    """
    num_whole = len(series) // bin_size
    means = series[: num_whole * bin_size].reshape(num_whole, bin_size).mean(1)
    if len(series) == num_tasks and num_whole * bin_size < num_tasks:
        means = np.append(means, series[num_whole * bin_size :].mean())
    return means


def average(series: Sequence[np.ndarray], bin_size: int, num_tasks: int) -> Curve:
    """Bin each seed's series, then average over seeds, each bin over the seeds that have it whole and finite."""
    binned = [bin_means(one, bin_size, num_tasks) for one in series]
    num_bins = max((len(one) for one in binned), default=0)
    table = np.full((len(binned), num_bins), np.nan)
    for row, one in zip(table, binned, strict=True):
        row[: len(one)] = one
    present = np.isfinite(table)
    num_seeds = present.sum(0)
    shown = num_seeds > 0
    count = np.maximum(num_seeds, 1)
    mean = np.where(present, table, 0).sum(0) / count
    variance = (np.where(present, table - mean, 0) ** 2).sum(0) / count
    start = np.arange(num_bins) * bin_size
    last_task = max([num_tasks, *map(len, series)])
    middle = (start + 1 + np.minimum(start + bin_size, last_task)) / 2
    return Curve(middle[shown], mean[shown], np.sqrt(variance / count)[shown], num_seeds[shown], bin_size)


def summarise(group: Group, metric: str = "test_accuracy") -> Summary | None:
    """First, best and last tenth of a group's run in `metric`; None before the first tenth is done."""
    series = [run.series[metric] for run in group.runs if metric in run.series and len(run.series[metric])]
    curve = average(series, max(1, group.num_tasks // 10), group.num_tasks)
    if not len(curve.mean):
        return None
    return Summary(
        group,
        len(series),
        min(len(one) for one in series),
        float(curve.mean[0]),
        float(curve.mean.max()),
        float(curve.mean[-1]),
        float(curve.standard_error[-1]),
        int(curve.num_seeds[-1]),
    )
