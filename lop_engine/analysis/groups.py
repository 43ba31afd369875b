"""The seeds of one setting as one: what a line in a chart and a row in a table stand for."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from lop_engine.analysis.curves import Curve, average, default_bin
from lop_engine.experiment import seen
from lop_engine.experiment.components import Problem
from lop_engine.experiment.reference import DEFAULT
from lop_engine.runs.reading import RunView

_LONGEST_S = 1e8
"""Three years: no task takes longer."""


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
    def example(self) -> RunView | None:
        """A run that stands for all in what they have in common: the first whose run.json could be read."""
        return next((run for run in self.runs if run.spec), self.runs[0] if self.runs else None)

    @property
    def method(self) -> str:
        """The name of the method that the runs train."""
        return self.example.method if self.example else ""

    @property
    def problem(self) -> Problem:
        """The problem of the runs."""
        return seen.problem(self.example.problem_name if self.example else DEFAULT)

    @property
    def x_per_task(self) -> int:
        """Length of a task on the x axis, in `problem.x_unit`: 1 if that is tasks."""
        return self.example.x_per_task if self.example and self.problem.x_unit != "tasks" else 1

    @property
    def num_tasks(self) -> int:
        return max((run.num_tasks for run in self.runs), default=0)

    @property
    def steps_per_task(self) -> int | None:
        """Updates of a task: epochs times batches an epoch, the last one perhaps short; the paper's are 3,000.

        None where no run says how many examples there are.
        """
        return next((run.steps_per_task for run in self.runs if run.steps_per_task), None)

    def curve(self, metric: str, bin_size: int | None = None) -> Curve:
        """Mean and standard error over the seeds' bins of `metric`."""
        series = [run.series[metric] for run in self.runs if metric in run.series]
        return average(series, bin_size or default_bin(self.num_tasks), self.num_tasks)

    def elapsed_hours(self) -> np.ndarray:
        """Hours of wall time after 0, 1, ... tasks, shape (tasks + 1,), as far as the furthest seed has got.

        A task takes the mean over the seeds that know how long it took, a task of which none does the mean of the
        others; all are zero where nothing is known. So it never falls, also where seeds end early.
        """
        num_tasks = max((len(run.seconds) for run in self.runs), default=0)
        table = np.full((len(self.runs), num_tasks), np.nan)
        for row, run in zip(table, self.runs, strict=True):
            row[: len(run.seconds)] = run.seconds
        known = (table >= 0) & (table < _LONGEST_S)
        count = known.sum(0)
        seconds = np.where(known, table, 0).sum(0) / np.maximum(count, 1)
        if count.any():
            seconds[count == 0] = seconds[count > 0].mean()
        return np.concatenate([[0.0], np.cumsum(seconds)]) / 3600


def group_runs(runs: Iterable[RunView]) -> list[Group]:
    """Group runs by experiment and setting, in the order of their names; seeds in order."""
    ordered = sorted(runs, key=lambda run: (run.experiment, run.setting, run.seed))
    grouped = groupby(ordered, key=lambda run: (run.experiment, run.setting))
    return [Group(experiment, setting, tuple(members)) for (experiment, setting), members in grouped]
