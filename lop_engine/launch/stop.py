"""Stop runs from outside: whoever launched them."""

import os
import signal
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace

from lop_engine.errors import StoreError
from lop_engine.records import RunStatus
from lop_engine.rundir import RunDir, is_alive
from lop_engine.runs import RunView

#: What a worker takes as: stop now.
GIVE_UP = signal.SIGALRM

#: A worker may end its epoch for three seconds, and then writes its checkpoints.
PATIENCE_S = 10.0


@dataclass(frozen=True)
class Stopped:
    """What became of the wish."""

    asked: list[RunDir]
    """Runs whose worker was told; seeds of one stack stop together, so these may be more than were named."""
    dequeued: list[RunDir]
    """Runs that waited for a worker and will not get one."""
    elsewhere: list[tuple[RunDir, str]]
    """Runs on other hosts, and those hosts."""


def stop_runs(views: Iterable[RunView], all_views: Iterable[RunView], at_once: bool = False) -> Stopped:
    """Tell the workers of `views` to save and stop, `at_once` without ending their epoch; dequeue those that wait."""
    by_worker: dict[tuple[int | None, float | None], list[RunDir]] = {}
    for view in all_views:
        if view.state == "running" and view.status.host == socket.gethostname():
            by_worker.setdefault((view.status.pid, view.status.pid_started_at), []).append(view.dir)
    stopped = Stopped([], [], [])
    for view in views:
        if view.state == "queued":
            with suppress(OSError, StoreError):
                view.dir.write_status(replace(view.status, state="stopped"))
                stopped.dequeued.append(view.dir)
        elif view.state == "running" and view.status.host != socket.gethostname():
            stopped.elsewhere.append((view.dir, str(view.status.host)))
        elif view.state == "running" and view.dir not in stopped.asked:
            _signal(view.status, GIVE_UP if at_once else signal.SIGTERM)
            stopped.asked.extend(by_worker[view.status.pid, view.status.pid_started_at])
    return stopped


def wait_until_stopped(run_dirs: Iterable[RunDir], patience_s: float = PATIENCE_S) -> list[RunDir]:
    """Wait for the workers of `run_dirs` to be gone; return the runs whose worker is still there."""
    deadline = time.monotonic() + patience_s
    left = list(run_dirs)
    while left and time.monotonic() < deadline:
        left = [run_dir for run_dir in left if _has_worker(run_dir)]
        time.sleep(0.1 if left else 0)
    return left


def _has_worker(run_dir: RunDir) -> bool:
    try:
        return is_alive(run_dir.read_status())
    except (OSError, StoreError):
        return False


def _signal(status: RunStatus, number: signal.Signals) -> None:
    if status.pid and is_alive(status):
        with suppress(ProcessLookupError):
            os.kill(status.pid, number)
