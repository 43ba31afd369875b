"""Single seeds: a metric of each over its tasks, and how one fared."""

from dataclasses import dataclass

import numpy as np

from lop_engine.analysis.curves import bin_means, bin_table, default_bin
from lop_engine.analysis.groups import Group
from lop_engine.experiment import seen
from lop_engine.runs import RunView


@dataclass(frozen=True)
class SeedTable:
    """A metric's bins of every seed of a group."""

    seeds: np.ndarray
    """Shape (S,), rising."""
    task: np.ndarray
    """Middle of each bin, tasks counted from 1, shape (bins,)."""
    values: np.ndarray
    """Shape (S, bins), in the metric's units; NaN where a seed has no whole bin, or one that is not finite."""
    bin_size: int


@dataclass(frozen=True)
class SeedSummary:
    """How one run fared in one metric, in its units."""

    seed: int
    tasks_done: int
    last: float
    """Last whole bin that is finite."""
    best: float
    dormant: float
    """Dormant proportion in its last bin; NaN where it was not recorded."""

    @property
    def drop(self) -> float:
        """Distance of the last bin from the best: what was lost since then."""
        return abs(self.best - self.last)


def seed_table(group: Group, metric: str, bin_size: int | None = None) -> SeedTable:
    """Bin `metric` of every seed; a seed that has not recorded it is a row of NaN."""
    bin_size = bin_size or default_bin(group.num_tasks)
    series = [run.series.get(metric, np.empty(0)) for run in group.runs]
    task, table = bin_table(series, bin_size, group.num_tasks)
    seeds = np.array([run.seed for run in group.runs], dtype=int)
    return SeedTable(seeds, task, np.where(np.isfinite(table), table, np.nan), bin_size)


def summarise_seed(run: RunView, metric: str, bin_size: int | None = None) -> SeedSummary | None:
    """Last bin, best bin and what lies between; None before a first bin is whole and finite."""
    bin_size = bin_size or default_bin(run.num_tasks)
    bins = _finite_bins(run, metric, bin_size)
    if not len(bins):
        return None
    dormant = _finite_bins(run, "dormant_proportion", bin_size)
    return SeedSummary(
        run.seed,
        len(run.series[metric]),
        float(bins[-1]),
        float(bins.max() if seen.metric(metric).better == "higher" else bins.min()),
        float(dormant[-1]) if len(dormant) else float("nan"),
    )


def _finite_bins(run: RunView, metric: str, bin_size: int) -> np.ndarray:
    bins = bin_means(run.series.get(metric, np.empty(0)), bin_size, run.num_tasks)
    return bins[np.isfinite(bins)]
