"""Reads the current state of every run under a directory, for watch, plot and status.

`RunsReader` keeps its position in each record file, so a refresh reads only what is new.
"""

import gc
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields, replace
from functools import cache
from itertools import chain
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from lop_engine.errors import DamagedError, StoreError, sentence
from lop_engine.experiment import lookup
from lop_engine.runs.directory import Code, RunDir, code_of, find_runs
from lop_engine.runs.jobs import Scheduler, judge, scheduler
from lop_engine.runs.liveness import FileClock, is_alive, observe
from lop_engine.runs.records import RunStatus, State
from lop_engine.runs.store import TableTail, read_some
from lop_engine.runs.views import RunView, Series, Snapshot

LOOK_AT_JOBS_EVERY_S = 15.0
MANY_BYTES = 100 * 2**20
"""Records of this size take about a second to read."""
WATCHING_SHARE = 0.05
"""Share of a core that a command may use to poll thousands of runs."""
LONGEST_PAUSE_S = 5.0


class RunsReader:
    """Reads a runs directory repeatedly, each time only what is new.

    Runs of cluster jobs are on a file server and have a heartbeat every 15 seconds, so they are not read more often.

    Args:
        carries: how means treat runs that a rule ended, see `RunView.carries`.
    """

    def __init__(self, runs_dir: Path, carries: bool = True) -> None:
        self.runs_dir, self._carries = runs_dir, carries
        self._runs: dict[RunDir, _RunReader] = {}
        self._walked_at = float("-inf")
        self._clock = FileClock(runs_dir)
        self._scheduler = cache(scheduler)

    def read(self) -> Snapshot:
        """Return the current state of all runs. An unreadable run is included, with its problem."""
        has_jobs = any(reader.is_of_a_job for reader in self._runs.values())
        if not has_jobs or time.monotonic() - self._walked_at > LOOK_AT_JOBS_EVERY_S:
            self._walked_at = time.monotonic()
            run_dirs = find_runs(self.runs_dir)
            self._runs = {
                run_dir: self._runs.get(run_dir) or _RunReader(run_dir, self._carries) for run_dir in run_dirs
            }
        look = _Look(self._clock, self._scheduler)
        with without_garbage_collection():
            views = tuple(reader.read(look) for reader in self._runs.values())
        return Snapshot(self.runs_dir, views, self.runs_dir.is_dir())

    def read_ends(self) -> Snapshot | None:
        """Return the same with only the last tasks of long records, the others NaN, in a fraction of the time.

        None if that would save too little.
        """
        readers = [_RunReader(run_dir, self._carries) for run_dir in find_runs(self.runs_dir)]
        if sum(reader.num_bytes for reader in readers) < MANY_BYTES:
            return None
        look = _Look(self._clock, self._scheduler)
        with without_garbage_collection():
            views = tuple(reader.read_end(look) for reader in readers)
        return Snapshot(self.runs_dir, views, self.runs_dir.is_dir(), has_ends_only=True)


def pause_after(cpu_s: float, least_s: float) -> float:
    """Return seconds to wait until the next reading, so that reading keeps to its share of a core.

    Args:
        cpu_s: processor time of the last reading and of its processing.
        least_s: the pause if there are few runs.
    """
    return max(least_s, min(cpu_s / WATCHING_SHARE, LONGEST_PAUSE_S))


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Pause Python's garbage collector while many objects without cycles are created: it would scan them often."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def read_run(run_dir: RunDir, clock: FileClock) -> RunView:
    """Return one run in its current state."""
    return _RunReader(run_dir).read(_Look(clock, scheduler))


def read_without_records(run_dir: RunDir) -> RunView:
    """Return one run from its run.json alone, as if it were queued. Raises StoreError, OSError."""
    config = run_dir.read_config()
    spec = config.get("spec")
    return RunView(run_dir, spec if isinstance(spec, dict) else {}, RunStatus(), "queued", {}, code=code_of(config))


class _RunReader:
    """Follows one run."""

    def __init__(self, run_dir: RunDir, carries: bool = True) -> None:
        self.dir, self._carries = run_dir, carries
        self._paths = run_dir.run_json, run_dir.status_json
        self._stamps: list[tuple[int, ...] | None] = [None, None]
        self._is_ours = True
        self._spec: dict[str, Any] = {}
        self._components: dict[str, Any] = {}
        self._code: Code = ()
        self._status = RunStatus()
        self._tail = TableTail(run_dir.tasks_json)
        self._restarts = 0
        self._columns = _Columns()
        self._series, self._seconds = self._columns.views()
        self._last: RunView | None = None
        self._looked_at = 0.0

    @property
    def is_of_a_job(self) -> bool:
        return self._status.is_submitted

    def read(self, look: "_Look") -> RunView:
        """Return the current run; the same object as before if nothing has changed, or if that is recent enough."""
        now = time.monotonic()
        if self._last is None or not self.is_of_a_job or now - self._looked_at > LOOK_AT_JOBS_EVERY_S:
            view, self._looked_at = self._read(look), now
            if self._last is None or not _is_same(view, self._last):
                self._last = view
        return self._last

    @property
    def num_bytes(self) -> int:
        """Size of the record of tasks; 0 if unknown."""
        try:
            return self.dir.tasks_json.stat().st_size
        except OSError:
            return 0

    def read_end(self, look: "_Look") -> RunView:
        """Return the run with the tasks that its final values need, the others NaN; complete if that is impossible."""
        try:
            self._read_spec_and_status()
            parts = read_some(self.dir.tasks_json, self._last_tenth())
            columns = _Columns(least_size=parts[-1][0] + 1 if parts else 0)
            for start, documents in parts:
                columns.skip_to(start)
                columns.extend(documents, self._metrics())
        except (StoreError, OSError, TypeError, ValueError):
            return self.read(look)
        if not columns.num_tasks:
            return self.read(look)
        state, job_note = look.judge(self.dir, self._status, self._is_ours)
        series, seconds = columns.views()
        view = self._view(self._status, state, job_note=job_note)
        return replace(view, series=series, seconds=seconds, nulls=columns.nulls)

    def _last_tenth(self) -> range:
        """Return the last complete tenth of all tasks, or before the first, the finished tasks; tasks count from 0."""
        done, num_tasks = self._status.tasks_done, self._spec.get("num_tasks", 0)
        tenth = (10 * done + 9) // num_tasks if 0 < done <= num_tasks else 0
        return range((tenth - 1) * num_tasks // 10, tenth * num_tasks // 10) if tenth else range(done)

    def _read(self, look: "_Look") -> RunView:
        try:
            self._read_spec_and_status()
            new = self._tail.read_new()
        except FileNotFoundError:
            return self._view(RunStatus(), "lost", "the run directory is going away")
        except DamagedError as error:
            return self._unreadable(f"{error}; lop doctor --repair keeps its whole documents", look)
        except (StoreError, OSError) as error:
            return self._unreadable(sentence(error) if isinstance(error, OSError) else str(error), look)
        if self._tail.restarts != self._restarts:
            self._restarts, self._columns = self._tail.restarts, _Columns()
            self._series, self._seconds = self._columns.views()
        try:
            if new:
                self._columns.extend(new, self._metrics())
                self._series, self._seconds = self._columns.views()
        except (TypeError, ValueError):
            self._tail, self._restarts, self._columns = TableTail(self.dir.tasks_json), 0, _Columns()
            return self._view(self._status, "failed", f"{self.dir.tasks_json}: a metric or a time is not a number")
        state, job_note = look.judge(self.dir, self._status, self._is_ours)
        return self._view(self._status, state, job_note=job_note)

    def _view(
        self, status: RunStatus, state: State, problem: str | None = None, job_note: str | None = None
    ) -> RunView:
        columns = self._columns.nulls, self._components, self._code, self._carries
        return RunView(self.dir, self._spec, status, state, self._series, problem, self._seconds, job_note, *columns)

    def _metrics(self) -> list[str]:
        """Return the metrics that the records may contain: all known ones, and those in the spec."""
        named = self._spec.get("metrics")
        own = [name for name in named if isinstance(name, str)] if isinstance(named, list) else []
        return list(dict.fromkeys([*lookup.metric_names(), *own]))

    def _unreadable(self, problem: str, look: "_Look") -> RunView:
        """Return a run whose files cannot be read; a worker may still train it, so it can be stopped."""
        with suppress(StoreError, OSError):
            status = self.dir.read_status()
            if look.state(self.dir, status) == "running":
                return self._view(status, "running", problem)
        return self._view(RunStatus(state="failed"), "failed", problem)

    def _read_spec_and_status(self) -> None:
        """Read run.json and status.json if they have changed. Raises FileNotFoundError or StoreError."""
        stamps = [_stamp(path) for path in self._paths]
        if stamps[0] != self._stamps[0]:
            config = self.dir.read_config()
            spec, components = config.get("spec"), config.get("components")
            if not isinstance(spec, dict) or not isinstance(spec.get("num_tasks", 0), int):
                raise StoreError(f"{self.dir.run_json}: holds no spec")
            if spec.get("num_tasks", 0) < 0:
                raise StoreError(f"{self.dir.run_json}: num_tasks is {spec['num_tasks']}; should be 1 or more")
            self._spec, self._stamps[0] = spec, stamps[0]
            self._components = components if isinstance(components, dict) else {}
            self._code = code_of(config)
            lookup.remember(components, spec)
        if stamps[1] != self._stamps[1]:
            self._status, self._stamps[1] = self.dir.read_status(), stamps[1]
            self._is_ours = stamps[1][-1:] == (os.getuid(),)


_PARTS_OF_A_VIEW = attrgetter(*(field.name for field in fields(RunView)))


def _is_same(one: RunView, other: RunView) -> bool:
    """Whether nothing has changed: files that have not changed leave the objects read from them as they are."""
    pairs = zip(_PARTS_OF_A_VIEW(one), _PARTS_OF_A_VIEW(other), strict=True)
    return all(a is b or (isinstance(a, str | RunStatus) and a == b) for a, b in pairs)


def _stamp(path: Path) -> tuple[int, ...]:
    """Return a stamp that changes when a file is replaced; empty if it cannot be read."""
    try:
        stat = path.stat()
    except OSError:
        return ()
    # Inode numbers alone are soon reused; the owner comes last.
    return stat.st_ino, stat.st_mtime_ns, stat.st_size, stat.st_uid


class _Look:
    """One reading of all runs: asks only once whether a worker of several runs is alive."""

    def __init__(self, clock: FileClock, scheduler: Callable[[], Scheduler]) -> None:
        self._clock, self._scheduler = clock, scheduler
        self._alive: dict[tuple[object, ...], bool] = {}

    def judge(self, run_dir: RunDir, status: RunStatus, is_ours: bool) -> tuple[State, str | None]:
        """Return the state, and the scheduler's note, which is only requested for the user's own jobs."""
        state = self.state(run_dir, status)
        if not is_ours or not status.job:
            return state, None
        return judge(state, status, self._scheduler(), self._clock.age_s(run_dir.status_json))

    def state(self, run_dir: RunDir, status: RunStatus) -> State:
        return observe(run_dir, status, self._clock, self._is_alive)

    def _is_alive(self, status: RunStatus) -> bool:
        if status.worker not in self._alive:
            self._alive[status.worker] = is_alive(status)
        return self._alive[status.worker]


@dataclass
class _Columns:
    """Growing arrays, one per recorded metric, even if it is never finite; and one of the seconds."""

    num_tasks: int = 0
    least_size: int = 64
    """Tasks for which a new array has room."""
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    nulls: dict[str, np.ndarray] = field(default_factory=dict)
    """Where a metric is null; only metrics that are null somewhere."""

    def skip_to(self, num_tasks: int) -> None:
        """Leave tasks out: their values are NaN."""
        gap = np.zeros(num_tasks - self.num_tasks, bool)
        self.nulls = {name: np.append(is_null, gap) for name, is_null in self.nulls.items()}
        self.num_tasks = num_tasks

    def extend(self, documents: list[dict[str, Any]], metrics: Sequence[str]) -> None:
        start, end = self.num_tasks, self.num_tasks + len(documents)
        recorded: set[str] = set().union(*documents)
        names = [name for name in (*metrics, "seconds") if name in recorded]
        new = dict(zip(names, _numbers(documents, names), strict=True))
        for name in new:
            if name not in self.arrays:
                self.arrays[name] = np.full(max(self.least_size, end), np.nan)
        for name, array in self.arrays.items():
            if end > len(array):
                self.arrays[name] = np.full(end + end // 8 + 64, np.nan)
                self.arrays[name][: len(array)] = array
            self.arrays[name][start:end] = new.get(name, np.nan)
        self._note_nulls(documents, [name for name, values in new.items() if np.isnan(values).any()], start)
        self.num_tasks = end

    def _note_nulls(self, documents: list[dict[str, Any]], names: Sequence[str], start: int) -> None:
        """Distinguish null from missing values; arrays returned earlier do not change."""
        new = {name: np.array([document.get(name, 0) is None for document in documents]) for name in names}
        known = [*self.nulls, *(name for name, is_null in new.items() if is_null.any() and name not in self.nulls)]
        nothing = np.zeros(len(documents), bool)
        self.nulls = {
            name: np.concatenate([self.nulls.get(name, np.zeros(start, bool)), new.get(name, nothing)])
            for name in known
        }

    def views(self) -> tuple[Series, np.ndarray]:
        """Return series and seconds, read-only: the arrays behind them may grow, but their content does not change."""
        views = {name: array[: self.num_tasks] for name, array in self.arrays.items()}
        seconds = views.pop("seconds", np.full(self.num_tasks, np.nan))
        for view in (*views.values(), seconds):
            view.flags.writeable = False
        return views, seconds


def _numbers(documents: list[dict[str, Any]], names: Sequence[str]) -> np.ndarray:
    """Return values by name, (names, documents); NaN for null and missing ones. Raises TypeError or ValueError."""
    try:
        if len(names) > 1:  # with one name an itemgetter returns no row
            rows = map(itemgetter(*names), documents)
            flat = np.fromiter(chain.from_iterable(rows), float, len(names) * len(documents))
            return flat.reshape(-1, len(names)).T
    except (KeyError, TypeError):
        pass  # some are null or missing: the slower way, in twice the time
    return np.array([[document.get(name) for document in documents] for name in names], dtype=float)
