"""Checks whether a run's worker is alive: by its process on this host, elsewhere by the age of its status file."""

import math
import os
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from lop_engine.processes import start_of
from lop_engine.runs.directory import RunDir
from lop_engine.runs.records import RunStatus, State

#: A heartbeat this late counts as missing: file servers show changes with a delay.
OVERDUE_S = 120


class FileClock:
    """The clock of the time stamps under a directory: a file server's own, where hosts' clocks may differ."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._offset_s: float | None = None
        self._looked_at = 0.0

    def now(self) -> float:
        """Return Unix seconds; from this host's clock if nothing can be written."""
        if self._offset_s is None or time.monotonic() - self._looked_at > 60:
            self._looked_at = time.monotonic()
            self._offset_s = self._stamp() - self._looked_at
        return time.monotonic() + self._offset_s

    def age_s(self, path: Path) -> float:
        """Return seconds since a file was written; infinite if it is missing."""
        try:
            return self.now() - path.stat().st_mtime
        except OSError:
            return math.inf

    def _stamp(self) -> float:
        try:
            with tempfile.NamedTemporaryFile(dir=self._directory, prefix=".clock.") as file:
                return os.fstat(file.fileno()).st_mtime
        except OSError:
            return time.time()


def is_alive(status: RunStatus) -> bool:
    """Whether a run's worker on this host is alive, and its number was not given to another process."""
    if status.pid is None:
        return False
    start = start_of(status.pid)
    if start is None or status.pid_start:
        return start is not None and start == status.pid_start
    return _is_alive_by_wall_time(status)


def _is_alive_by_wall_time(status: RunStatus) -> bool:
    """The same for a status without `pid_start`; wrong if the clock has been set since."""
    import psutil

    try:
        created_at = psutil.Process(status.pid).create_time()
        return abs(created_at - (status.pid_started_at or 0)) < 2
    except (psutil.Error, ValueError, OverflowError, TypeError):
        return False


def observe(
    run_dir: RunDir, status: RunStatus, clock: FileClock, is_trained: Callable[[RunStatus], bool] = is_alive
) -> State:
    """Return the state: a `running` run whose worker is gone is `lost`.

    On the worker's host, its process is checked (pid and start time, because pids are reused). Elsewhere the age of
    the status file decides, by the clock of its time stamp.

    Args:
        is_trained: whether a worker on this host lives; readers of many runs pass a cached function.
    """
    if status.state != "running":
        return status.state
    if status.host == socket.gethostname():
        return "running" if is_trained(status) else "lost"
    overdue_s = clock.age_s(run_dir.status_json) - status.heartbeat_every_s
    return "lost" if overdue_s > OVERDUE_S else "running"
