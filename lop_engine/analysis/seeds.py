"""Single seeds: a metric of each over its tasks, and how one fared."""

from dataclasses import dataclass

import numpy as np

from lop_engine.analysis.curves import bin_table, default_bin
from lop_engine.analysis.groups import Group
from lop_engine.analysis.tenths import final_value, summarise
from lop_engine.runs.reading import RunView


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
    """Over the last tenth of its tasks, see `tenths`."""
    best: float
    """Over the best tenth."""
    dormant: float
    """Dormant proportion over the last tenth; NaN where it was not recorded."""

    @property
    def drop(self) -> float:
        """Distance of the last tenth from the best: what was lost since then."""
        return abs(self.best - self.last)


def seed_table(group: Group, metric: str, bin_size: int | None = None) -> SeedTable:
    """Bin `metric` of every seed; a seed that has not recorded it is a row of NaN."""
    bin_size = bin_size or default_bin(group.num_tasks)
    series = [run.series.get(metric, np.empty(0)) for run in group.runs]
    task, table = bin_table(series, bin_size, group.num_tasks)
    seeds = np.array([run.seed for run in group.runs], dtype=int)
    return SeedTable(seeds, task, np.where(np.isfinite(table), table, np.nan), bin_size)


def summarise_seed(run: RunView, metric: str) -> SeedSummary | None:
    """Last and best tenth of one run, and what lies between; None without a finite value."""
    summary = summarise(Group(run.experiment, run.setting, (run,)), metric)
    if summary is None:
        return None
    dormant = final_value(run, "dormant_proportion")
    done = len(run.series[metric])
    return SeedSummary(run.seed, done, summary.last, summary.best, float("nan") if dormant is None else dormant)
