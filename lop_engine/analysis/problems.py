"""Runs of several problems in one directory: a view shows one problem at a time."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from lop_engine.experiment import seen
from lop_engine.experiment.components import Problem
from lop_engine.experiment.reference import DEFAULT
from lop_engine.runs.reading import RunView


@dataclass(frozen=True)
class OneProblem:
    """The runs of one problem, and what there is of others."""

    problem: Problem
    runs: tuple[RunView, ...]
    others: tuple[tuple[str, int], ...]
    """Name and number of runs of each other problem, in the order of the first run of each after this problem's."""

    @property
    def recorded(self) -> list[str]:
        """The metrics that some of the runs recorded: those that are described, in their order, then the others."""
        names = list(dict.fromkeys(name for run in self.runs for name in run.series))
        described = [name for name in seen.metric_names() if name in names]
        return list(dict.fromkeys([*described, *names]))

    @property
    def headline(self) -> str:
        """The problem's; of a problem that is not described, the first metric that was recorded, or empty."""
        return self.problem.headline or next(iter(self.recorded), "")

    @property
    def charts(self) -> list[str]:
        """The metrics to show, in order: what the problem shows first, or its headline; then all that were recorded."""
        first = [*self.problem.charts] or [self.headline]
        return [name for name in dict.fromkeys([*first, *self.recorded]) if name]

    @property
    def metrics(self) -> list[str]:
        """The problem's metrics that some of the runs recorded, in its order; of an unknown problem, all recorded."""
        recorded = self.recorded
        return [name for name in self.problem.metrics if name in recorded] or recorded

    @property
    def note(self) -> str:
        """How to see the others: one line; empty if there are none."""
        if not self.others:
            return ""
        shown = f"{self.problem.title} alone ({_runs(len(self.runs))})"
        theirs = ", ".join(
            f'--where "{only(name)}" for {seen.problem(name).title} ({_runs(number)})' for name, number in self.others
        )
        return f"showing {shown}; {theirs}"


def one_problem(runs: Sequence[RunView], name: str | None = None) -> OneProblem:
    """The runs of one problem: by default, of the one with the most runs, and among equals the first.

    A run whose run.json cannot be read counts to the problem of its setting; if that is unknown too, to the one shown.

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
    return OneProblem(seen.problem(chosen), shown, others)


def by_problem(runs: Sequence[RunView]) -> list[OneProblem]:
    """The runs of each problem in turn, for listings: that with the most runs first, then in the runs' order."""
    first, of_runs = one_problem(runs), _problem_names(runs)
    others = {
        name: tuple(run for run, one in zip(runs, of_runs, strict=True) if one == name) for name, _ in first.others
    }
    return [first, *(OneProblem(seen.problem(name), its_runs, ()) for name, its_runs in others.items())]


def _problem_names(runs: Sequence[RunView]) -> list[str | None]:
    """The name of each run's problem; None if neither its run.json nor one of its setting can be read."""
    if all(run.spec for run in runs):
        return [run.problem_name for run in runs]
    of_setting = {(run.experiment, run.setting): run.problem_name for run in runs if run.spec}
    return [run.problem_name if run.spec else of_setting.get((run.experiment, run.setting)) for run in runs]


def only(problem: str) -> str:
    """The filter that lets through the runs of a problem, given its name; ``?`` for what has a meaning in filters."""
    return "problem:" + re.sub(r"[^\w.+-]", "?", problem)


def _runs(number: int) -> str:
    return f"{number} run{'' if number == 1 else 's'}"
