"""Data exchanged between processes: one document per recorded epoch, one per task, and the status of a run.

All three are JSON objects on disk (see `store` and `rundir`); a non-finite metric is null there
and NaN here.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from lop_engine.processes import Process, describe

SIGNIFICANT_DIGITS = 6
"""Metrics are float32: six digits keep all reliable digits and limit a document to about 200 bytes."""

State = Literal["queued", "running", "finished", "stopped", "failed", "diverged", "lost", "ended-by-rule"]
#: `lost` is never written: readers report it for a `running` run whose worker is gone.
ENDED: frozenset[State] = frozenset({"finished", "diverged", "ended-by-rule"})


def rounded(value: float) -> float | None:
    """Round a metric for writing: six significant digits, None if it is not finite."""
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}") if math.isfinite(value) else None


def epoch_document(task: int, epoch: int, metrics: Mapping[str, float]) -> dict[str, Any]:
    """Return a document of table `epochs`: task and epoch count from 0."""
    return {"task": task, "epoch": epoch} | {name: rounded(value) for name, value in metrics.items()}


def task_document(task: int, facts: Mapping[str, Any], seconds: float, metrics: Mapping[str, float]) -> dict[str, Any]:
    """Return a document of table `tasks`: facts such as the classes, wall time, and the last epoch's metrics."""
    return {"task": task, **facts, "seconds": round(seconds, 3)} | {
        name: rounded(value) for name, value in metrics.items()
    }


@dataclass
class RunStatus:
    """The state of a run, as its worker last reported. Times are Unix seconds of the worker's clock."""

    state: State = "queued"
    num_tasks: int = 0
    num_epochs: int = 0
    tasks_done: int = 0
    epochs_done: int = 0
    """Finished epochs of the current task."""
    pid: int | None = None
    pid_started_at: float | None = None
    """Start of the worker by the wall clock, for statuses without `pid_start`."""
    host: str | None = None
    device: str | None = None
    started_at: float | None = None
    heartbeat_at: float | None = None
    heartbeat_every_s: float = 2.0
    epochs_per_s: float | None = None
    """Recent speed: epochs of this run (all of a stack advance together) per second."""
    stack: list[int] = field(default_factory=list)
    """In a status without `log_of`: seeds of this setting in the same worker."""
    error: str | None = None
    note: str | None = None
    """A note for people about a run that continues."""
    job: str | None = None
    """Name of the scheduler's job that trains or will train the run: ``123_4`` in an array."""
    job_options: list[str] | None = None
    """Options with which the run was submitted, ``key=value``; reused when it resumes."""
    pid_start: str | None = None
    """Start of the worker, see `processes.start_of`."""
    launcher: Process | None = None
    """The process that will start the worker of a queued run. While it lives, no other process changes the run."""
    rule: str | None = None
    """The rule that ended the run."""
    rule_task: int | None = None
    """The task after which the rule ended it, counted from 1."""
    log_of: str | None = None
    """The run of this experiment whose directory has the worker's log: ``setting/seed_007``; None for its own."""

    @property
    def is_submitted(self) -> bool:
        """Whether a cluster trains it."""
        return self.job_options is not None

    @property
    def progress(self) -> float:
        """Return the share of the run's epochs that are done, 0 .. 1."""
        total = self.num_tasks * self.num_epochs
        return (self.tasks_done * self.num_epochs + self.epochs_done) / total if total else 0.0

    @property
    def eta_s(self) -> float | None:
        """Return seconds to the end at the recent speed; None if the speed is unknown."""
        if not self.epochs_per_s:
            return None
        return (1 - self.progress) * self.num_tasks * self.num_epochs / self.epochs_per_s

    @property
    def holder(self) -> str:
        """Return the worker, for people: ``process 123 on this-host since 2026-01-31 14:05``."""
        return describe(self.pid, self.host, self.started_at)

    @property
    def worker(self) -> tuple[object, ...]:
        """Return what identifies the worker."""
        return self.host, self.pid, self.pid_start or self.pid_started_at

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
