"""A run at one moment, and all runs of a directory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lop_engine.experiment import lookup
from lop_engine.experiment.parts import method_name
from lop_engine.experiment.reference import DEFAULT
from lop_engine.experiment.stored import stored_spec
from lop_engine.runs.directory import Code, RunDir
from lop_engine.runs.records import ENDED, RunStatus, State


def missing_tasks(path: Path, recorded: int, done: int) -> str | None:
    """Return a warning if an ended run's records have fewer finished tasks than its status says; else None."""
    if recorded >= done:
        return None
    return f"{path.name} holds {recorded} of {_count(done, 'finished task')}; restore it from a backup"


def not_finite(series: Mapping[str, np.ndarray], nulls: Mapping[str, np.ndarray]) -> list[str]:
    """Return warnings such as ``curvature not finite from task 3``, or the number of tasks if finite values follow.

    Args:
        series: by metric, its value in each task; NaN if null or not recorded.
        nulls: by metric, whether it was recorded in each task and not finite; at least as long as the series.
    """
    by_text: dict[str, list[str]] = {}
    for metric, values in series.items():
        if metric in nulls and (text := _not_finite(values, nulls[metric][: len(values)])):
            by_text.setdefault(text, []).append(metric.replace("_", " "))
    return [f"{_listed(metrics)} {text}" for text, metrics in by_text.items()]


def _not_finite(values: np.ndarray, is_null: np.ndarray) -> str:
    places = np.flatnonzero(is_null)
    if not len(places):
        return ""
    first = int(places[0])
    finite = np.isfinite(values)
    if not finite[first:].any():
        return f"not finite from task {first + 1}"
    num_recorded = int(finite.sum()) + len(places)
    return f"not finite in {len(places)} of {_count(num_recorded, 'task')}, first in task {first + 1}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


LARGEST_LOSS = 1e6
"""A run with a larger loss has diverged, although the loss is finite: it is flagged, and the rule `diverged` ends it.

A loss is a metric of which lower values are better. Cross-entropy at chance is log(classes), below 12; targets of
regressions are of the order of 1."""


def is_loss(metric: str) -> bool:
    """Return whether lower values of a metric are better."""
    return lookup.metric(metric).better == "lower"


def is_too_large(metric: str, values: np.ndarray) -> np.ndarray:
    """Return where a loss is above `LARGEST_LOSS`, shape as of `values`; all false for other metrics."""
    if not is_loss(metric):
        return np.zeros(values.shape, bool)
    with np.errstate(invalid="ignore"):
        return np.isfinite(values) & (values > LARGEST_LOSS)


def too_large(series: Mapping[str, np.ndarray]) -> list[str]:
    """Return warnings such as ``train loss above 1e+06 in 12 of 40 tasks, first in task 29``."""
    warnings = []
    for metric, values in series.items():
        if not is_loss(metric):
            continue
        places = np.flatnonzero(is_too_large(metric, values))
        if len(places):
            where = f"in {len(places)} of {_count(len(values), 'task')}, first in task {places[0] + 1}"
            warnings.append(f"{metric.replace('_', ' ')} above {LARGEST_LOSS:g} {where}")
    return warnings


_LONGEST_TASK = 10**12
"""In examples: no stream is longer."""


Series = Mapping[str, np.ndarray]
"""By metric, its value at the end of each task, float64; NaN if null."""


@dataclass(frozen=True, eq=False)
class RunView:
    """One run at one moment. Its arrays do not change."""

    dir: RunDir
    spec: Mapping[str, Any]
    """The spec in run.json; empty if that cannot be read."""
    status: RunStatus
    state: State
    series: Series
    problem: str | None = None
    """Why the run cannot be read (its state is then `failed`)."""
    seconds: np.ndarray = field(default_factory=lambda: np.empty(0))
    """Wall time of each task in seconds, (tasks,) like a metric's values; NaN if unknown."""
    job_note: str | None = None
    """News of the run's job from the scheduler: why it waits, how it ended."""
    nulls: Mapping[str, np.ndarray] = field(default_factory=dict)
    """By metric, whether each task recorded a value that is not finite; only metrics with such a task."""
    components: Mapping[str, Any] = field(default_factory=dict)
    """The entry ``components`` of run.json, see `lookup.for_run_json`; empty for older versions."""
    code: Code = ()
    """What the numbers depend on, see `rundir.code_of`."""
    carries: bool = True
    """Whether later means include the last values of a run that a rule ended; else they leave the run out."""

    @property
    def experiment(self) -> str:
        return self.dir.experiment

    @property
    def setting(self) -> str:
        return self.dir.setting

    @property
    def seed(self) -> int:
        return self.dir.seed

    @cached_property
    def method(self) -> str:
        """Return the name of the run's method; "" if run.json cannot be read."""
        return str(_name(self.components, "method") or method_name(self.spec) or "")

    @cached_property
    def problem_name(self) -> str:
        """Return the name of the problem."""
        return str(_name(self.components, "problem") or self.spec.get("problem") or DEFAULT)

    @property
    def x_per_task(self) -> int:
        """Return the length of a task in the unit of the problem's x axis."""
        length = self.components.get("x_per_task", 1)
        return length if isinstance(length, int) and 0 < length < _LONGEST_TASK else 1

    @cached_property
    def steps_per_task(self) -> int:
        """Return the number of updates in a task; 0 if the number of its examples is unknown."""
        spec = None if "steps_per_task" in self.components else stored_spec(self.spec)
        steps = spec.steps_per_task if spec else self.components.get("steps_per_task")
        return steps if isinstance(steps, int) and steps > 0 else 0

    @property
    def num_tasks(self) -> int:
        return int(self.spec.get("num_tasks", 0))

    @property
    def tasks_recorded(self) -> int:
        """Return the number of finished tasks with records."""
        return max([len(self.seconds), *map(len, self.series.values())])

    @cached_property
    def missing_records(self) -> str | None:
        """Return why the records of an ended run are incomplete: they have fewer tasks than its status says."""
        if self.problem or self.state not in ENDED:
            return None
        return missing_tasks(self.dir.tasks_json, self.tasks_recorded, self.status.tasks_done)

    @cached_property
    def flags(self) -> tuple[str, ...]:
        """Return warnings about readable records; none for a diverged run, because its state says so."""
        spoilt = [] if self.state == "diverged" else not_finite(self.series, self.nulls)
        spoilt += too_large(self.series)
        return tuple([self.missing_records, *spoilt] if self.missing_records else spoilt)

    @property
    def is_ended_by_rule(self) -> bool:
        return self.state == "ended-by-rule"

    @property
    def tasks_done(self) -> int:
        """Return the number of finished tasks: from the records, or from the status if that is ahead."""
        return max(self.status.tasks_done, self.tasks_recorded)

    @property
    def progress(self) -> float:
        """Return the finished share of the run, 0 .. 1."""
        if self.state == "finished":
            return 1.0
        return max(self.status.progress, self.tasks_recorded / self.num_tasks if self.num_tasks else 0.0)


@dataclass(frozen=True)
class Snapshot:
    """All runs under `runs_dir` and `others`, sorted by experiment, setting, seed."""

    runs_dir: Path
    runs: tuple[RunView, ...] = ()
    directory_exists: bool = True
    others: tuple[Path, ...] = ()
    """Further directories that were read too (`several`)."""
    has_ends_only: bool = False
    """Whether only the last tasks of long records were read; the others are NaN."""

    @property
    def place(self) -> str:
        """Return the directories, for messages."""
        return place_of((self.runs_dir, *self.others))


def place_of(runs_dirs: Sequence[Path]) -> str:
    """Join directories for messages and JSON: ``runs``; ``runs, cluster/runs``."""
    return ", ".join(map(str, runs_dirs))


def _name(components: Mapping[str, Any], kind: str) -> object:
    one = components.get(kind)
    name = one.get("name") if isinstance(one, dict) else None
    return name if isinstance(name, str) else None
