"""Groups runs by setting and by problem: views show one problem at a time."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import numpy as np

from lop_engine.analysis.curves import Curve, average, default_bin
from lop_engine.experiment import lookup
from lop_engine.experiment.components import Problem
from lop_engine.experiment.reference import DEFAULT
from lop_engine.runs.records import ENDED
from lop_engine.runs.views import RunView

LONGEST_S = 1e8
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
        """Return a run to read common facts from: the first whose run.json could be read."""
        return next((run for run in self.runs if run.spec), self.runs[0] if self.runs else None)

    @property
    def method(self) -> str:
        """Return the name of the runs' method."""
        return self.example.method if self.example else ""

    @property
    def problem(self) -> Problem:
        """Return the runs' problem."""
        return lookup.problem(self.example.problem_name if self.example else DEFAULT)

    @property
    def x_per_task(self) -> int:
        """Return the length of a task on the x axis, in `problem.x_unit`: 1 if that is tasks."""
        return self.example.x_per_task if self.example and self.problem.x_unit != "tasks" else 1

    @property
    def num_tasks(self) -> int:
        return max((run.num_tasks for run in self.runs), default=0)

    @property
    def steps_per_task(self) -> int | None:
        """Return the updates of a task: epochs times batches per epoch, including a short last one; 3,000 in the paper.

        None if no run records the number of examples.
        """
        return next((run.steps_per_task for run in self.runs if run.steps_per_task), None)

    @cached_property
    def carried_to(self) -> int:
        """Return the task up to which means use the last values of seeds that a rule ended.

        This is the last task of the furthest other seed; the last task once all seeds have ended. So a mean has the
        same seeds at every task although a rule ended one.
        """
        if all(run.state in ENDED for run in self.runs):
            return self.num_tasks
        return max(run.tasks_recorded for run in self.runs if not run.is_ended_by_rule)

    def values(self, run: RunView, metric: str) -> np.ndarray:
        """Return a run's values as used in means, shape (tasks,); empty if it recorded none."""
        values = run.series.get(metric, np.empty(0))
        missing = self.carried_to - len(values) if run.is_ended_by_rule and run.carries and len(values) else 0
        return np.append(values, np.full(missing, values[-1])) if missing > 0 else values

    def curve(self, metric: str, bin_size: int | None = None) -> Curve:
        """Return mean and standard error over the seeds' bins of `metric`."""
        series = [self.values(run, metric) for run in self.runs if metric in run.series]
        return average(series, bin_size or default_bin(self.num_tasks), self.num_tasks)

    def elapsed_hours(self) -> np.ndarray:
        """Return hours of wall time after 0, 1, ... tasks, shape (tasks + 1,), as far as the furthest seed.

        A task takes the mean over the seeds with a known time; a task without any the mean of the
        other tasks; all are zero if nothing is known. So it never decreases, even if seeds end early.
        """
        num_tasks = max((len(run.seconds) for run in self.runs), default=0)
        table = np.full((len(self.runs), num_tasks), np.nan)
        for row, run in zip(table, self.runs, strict=True):
            row[: len(run.seconds)] = run.seconds
        known = (table >= 0) & (table < LONGEST_S)
        count = known.sum(0)
        seconds = np.where(known, table, 0).sum(0) / np.maximum(count, 1)
        if count.any():
            seconds[count == 0] = seconds[count > 0].mean()
        return np.concatenate([[0.0], np.cumsum(seconds)]) / 3600


def group_runs(runs: Iterable[RunView]) -> list[Group]:
    """Group runs by experiment and setting, sorted by name; seeds in order."""
    ordered = sorted(runs, key=lambda run: (run.experiment, run.setting, run.seed))
    grouped = groupby(ordered, key=lambda run: (run.experiment, run.setting))
    return [Group(experiment, setting, tuple(members)) for (experiment, setting), members in grouped]


@dataclass(frozen=True)
class OneProblem:
    """The runs of one problem, and a summary of others."""

    problem: Problem
    runs: tuple[RunView, ...]
    others: tuple[tuple[str, int], ...]
    """Name and number of runs of each other problem, in the order of their first runs after this problem's."""

    @property
    def recorded(self) -> list[str]:
        """Return the metrics that some of the runs recorded: those that are described, in order, then the others."""
        names = list(dict.fromkeys(name for run in self.runs for name in run.series))
        described = [name for name in lookup.metric_names() if name in names]
        return list(dict.fromkeys([*described, *names]))

    @property
    def headline(self) -> str:
        """Return the problem's headline; for an unknown problem, the first recorded metric, or ""."""
        return self.problem.headline or next(iter(self.recorded), "")

    @property
    def charts(self) -> list[str]:
        """Return the metrics to show, in order: the problem's charts or headline; then all recorded ones."""
        first = [*self.problem.charts] or [self.headline]
        return [name for name in dict.fromkeys([*first, *self.recorded]) if name]

    @property
    def metrics(self) -> list[str]:
        """Return the problem's metrics that some runs recorded, in order; for an unknown problem, all recorded ones."""
        recorded = self.recorded
        return [name for name in self.problem.metrics if name in recorded] or recorded

    @property
    def note(self) -> str:
        """Return a line on how to see the other problems; "" if there are none."""
        if not self.others:
            return ""
        shown = f"{self.problem.title} alone ({_runs(len(self.runs))})"
        theirs = ", ".join(
            f'--where "{only(name)}" for {lookup.problem(name).title} ({_runs(number)})' for name, number in self.others
        )
        return f"showing {shown}; {theirs}"


def one_problem(runs: Sequence[RunView], name: str | None = None) -> OneProblem:
    """Return the runs of one problem: by default, of the one with the most runs; in a tie the first.

    A run with an unreadable run.json belongs to the problem of its setting; if that is unknown too, to the one shown.

    Args:
        name: the problem to show, if any run has it.
    """
    of_runs = _problem_names(runs)
    counted = Counter(one for one in of_runs if one is not None)
    most = next((one for one, _ in counted.most_common(1)), DEFAULT)
    chosen = name if name and name in counted else most
    names = list(counted)
    after = names.index(chosen) + 1 if chosen in names else 0
    others = tuple((other, counted[other]) for other in [*names[after:], *names[:after]] if other != chosen)
    shown = tuple(run for run, one in zip(runs, of_runs, strict=True) if one in (chosen, None))
    return OneProblem(lookup.problem(chosen), shown, others)


def by_problem(runs: Sequence[RunView]) -> list[OneProblem]:
    """Yield the runs of each problem, for listings: the one with the most runs first, then in the runs' order."""
    first, of_runs = one_problem(runs), _problem_names(runs)
    others = {
        name: tuple(run for run, one in zip(runs, of_runs, strict=True) if one == name) for name, _ in first.others
    }
    return [first, *(OneProblem(lookup.problem(name), its_runs, ()) for name, its_runs in others.items())]


def _problem_names(runs: Sequence[RunView]) -> list[str | None]:
    """Return the name of each run's problem; None if neither its run.json nor one of its setting can be read."""
    if all(run.spec for run in runs):
        return [run.problem_name for run in runs]
    of_setting = {(run.experiment, run.setting): run.problem_name for run in runs if run.spec}
    return [run.problem_name if run.spec else of_setting.get((run.experiment, run.setting)) for run in runs]


def only(problem: str) -> str:
    """Return the filter for the runs of a problem; ``?`` replaces characters special in filters."""
    return "problem:" + re.sub(r"[^\w.+-]", "?", problem)


def _runs(number: int) -> str:
    return f"{number} run{'' if number == 1 else 's'}"
