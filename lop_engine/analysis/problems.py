"""Runs of several problems in one directory: a view shows one problem at a time."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lop_engine.experiment import seen
from lop_engine.experiment.components import Problem
from lop_engine.experiment.reference import DEFAULT
from lop_engine.runs import RunView


@dataclass(frozen=True)
class OneProblem:
    """The runs of one problem, and what there is of others."""

    problem: Problem
    runs: tuple[RunView, ...]
    others: tuple[tuple[str, int], ...]
    """Name and number of runs of each other problem."""

    @property
    def note(self) -> str:
        """How to see the others: one line; empty if there are none."""
        if not self.others:
            return ""
        shown = f"{self.problem.title} alone ({_runs(len(self.runs))})"
        theirs = ", ".join(
            f'--where "problem:{name}" for {seen.problem(name).title} ({_runs(number)})' for name, number in self.others
        )
        return f"showing {shown}; {theirs}"


def by_problem(runs: Iterable[RunView]) -> list[OneProblem]:
    """The runs of each problem in turn, in the order in which problems first occur."""
    found: dict[str, list[RunView]] = {}
    for run in runs:
        found.setdefault(run.problem_name, []).append(run)
    return [OneProblem(seen.problem(name), tuple(its_runs), ()) for name, its_runs in found.items()]


def default_metrics(problem: Problem, runs: Iterable[RunView]) -> list[str]:
    """The metrics of a problem that some of `runs` recorded, in its order; of an unknown problem, all recorded."""
    recorded = dict.fromkeys(metric for run in runs for metric in run.series)
    return [metric for metric in problem.metrics if metric in recorded] or list(recorded)


def one_problem(runs: Sequence[RunView], name: str | None = None) -> OneProblem:
    """The runs of one problem: by default, of the one with the most runs, and among equals the first.

    Args:
        name: the problem to show, if any run has it.
    """
    counted = Counter(run.problem_name for run in runs)
    most = next((one for one, _ in counted.most_common(1)), DEFAULT)
    chosen = name if name and name in counted else most
    others = tuple((other, number) for other, number in counted.items() if other != chosen)
    return OneProblem(seen.problem(chosen), tuple(run for run in runs if run.problem_name == chosen), others)


def _runs(number: int) -> str:
    return f"{number} run{'' if number == 1 else 's'}"
