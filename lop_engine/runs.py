"""Every run under a directory as it stands now: what watch, plot and status look at.

`RunsReader` keeps its place in each record file, so a refresh reads only what is new.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lop_engine.errors import StoreError
from lop_engine.records import ALL_METRICS, RunStatus, State
from lop_engine.rundir import FileClock, RunDir, find_runs, observe
from lop_engine.store import TableTail

Series = Mapping[str, np.ndarray]
"""By metric: its value at the end of each task, float64; NaN where it is null."""


@dataclass(frozen=True)
class RunView:
    """One run at one moment. Its arrays are never written again."""

    dir: RunDir
    spec: Mapping[str, Any]
    """The spec as run.json holds it; empty if that cannot be read."""
    status: RunStatus
    state: State
    series: Series
    problem: str | None = None
    """Why the run cannot be read (its state then reads `failed`)."""

    @property
    def experiment(self) -> str:
        return self.dir.experiment

    @property
    def setting(self) -> str:
        return self.dir.setting

    @property
    def seed(self) -> int:
        return self.dir.seed

    @property
    def num_tasks(self) -> int:
        return int(self.spec.get("num_tasks", 0))


@dataclass(frozen=True)
class Snapshot:
    """All runs under `runs_dir`, in the order of experiment, setting, seed."""

    runs_dir: Path
    runs: tuple[RunView, ...] = ()
    directory_exists: bool = True


class RunsReader:
    """Reads a runs directory again and again, each time only what is new."""

    def __init__(self, runs_dir: Path) -> None:
        self.runs_dir = runs_dir
        self._runs: dict[RunDir, _RunReader] = {}
        self._clock = FileClock(runs_dir)

    def read(self) -> Snapshot:
        """The state of all runs now. A run that cannot be read is in it, with its problem."""
        found = list(find_runs(self.runs_dir))
        self._runs = {run_dir: self._runs.get(run_dir) or _RunReader(run_dir) for run_dir in found}
        views = tuple(reader.read(self._clock) for reader in self._runs.values())
        return Snapshot(self.runs_dir, views, self.runs_dir.is_dir())


class _RunReader:
    """Follows one run."""

    def __init__(self, run_dir: RunDir) -> None:
        self.dir = run_dir
        self._tail = TableTail(run_dir.tasks_json)
        self._restarts = 0
        self._columns = _Columns()
        self._spec: dict[str, Any] = {}
        self._spec_stamp: tuple[int, ...] = ()
        self._seen: Series = {}

    def read(self, clock: FileClock) -> RunView:
        try:
            self._read_spec()
            status = self.dir.read_status()
            new = self._tail.read_new()
        except FileNotFoundError:
            return RunView(self.dir, self._spec, RunStatus(), "lost", self._seen, "the run directory is going away")
        except (StoreError, OSError) as error:
            return self._unreadable(str(error), clock)
        if self._tail.restarts != self._restarts:
            self._restarts, self._columns = self._tail.restarts, _Columns()
            self._seen = {}
        try:
            if new:
                self._columns.extend(new)
                self._seen = self._columns.series()
        except (TypeError, ValueError):
            self._tail, self._restarts, self._columns = TableTail(self.dir.tasks_json), 0, _Columns()
            problem = f"{self.dir.tasks_json}: a metric is not a number"
            return RunView(self.dir, self._spec, status, "failed", self._seen, problem)
        return RunView(self.dir, self._spec, status, observe(self.dir, status, clock), self._seen)

    def _unreadable(self, problem: str, clock: FileClock) -> RunView:
        """A run whose files cannot be read; it may be trained all the same, and then can be stopped."""
        status, state = RunStatus(state="failed"), "failed"
        with suppress(StoreError, OSError):
            found = self.dir.read_status()
            if observe(self.dir, found, clock) == "running":
                status, state = found, "running"
        return RunView(self.dir, self._spec, status, state, self._seen, problem)  # type: ignore[arg-type]

    def _read_spec(self) -> None:
        stat = self.dir.run_json.stat()
        stamp = (stat.st_ino, stat.st_mtime_ns, stat.st_size)  # inode numbers alone are soon used again
        if stamp != self._spec_stamp:
            spec = self.dir.read_config().get("spec")
            if not isinstance(spec, dict) or not isinstance(spec.get("num_tasks", 0), int):
                raise StoreError(f"{self.dir.run_json}: holds no spec")
            self._spec, self._spec_stamp = spec, stamp


@dataclass
class _Columns:
    """Growing arrays, one a metric."""

    num_tasks: int = 0
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    def extend(self, documents: list[dict[str, Any]]) -> None:
        end = self.num_tasks + len(documents)
        for name in ALL_METRICS:
            values = [document.get(name) for document in documents]
            if name not in self.arrays:
                if all(value is None for value in values):
                    continue
                self.arrays[name] = np.full(max(64, end), np.nan)
            if end > len(self.arrays[name]):
                grown = np.full(2 * end, np.nan)
                grown[: self.num_tasks] = self.arrays[name][: self.num_tasks]
                self.arrays[name] = grown
            self.arrays[name][self.num_tasks : end] = np.array(values, dtype=float)
        self.num_tasks = end

    def series(self) -> Series:
        """Read-only views: what lies behind their end may grow, they do not change."""
        views = {name: array[: self.num_tasks] for name, array in self.arrays.items()}
        for view in views.values():
            view.flags.writeable = False
        return views
