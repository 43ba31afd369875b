"""Stops runs, wherever their workers are, and removes runs with their records."""

import os
import signal
import socket
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from lop_engine.errors import LaunchError, StoreError
from lop_engine.launch.claims import Claims, refuse_if_queued
from lop_engine.launch.launcher import cluster
from lop_engine.runs.directory import RunDir, find_runs
from lop_engine.runs.liveness import FileClock, is_alive, observe
from lop_engine.runs.locks import hold, is_free
from lop_engine.runs.records import RunStatus
from lop_engine.runs.views import RunView

#: The signal that tells a worker to stop now.
GIVE_UP = signal.SIGALRM

#: A worker may finish its epoch for three seconds, and then writes its checkpoints.
PATIENCE_S = 10.0

#: On another host it first has to notice, at its next heartbeat.
PATIENCE_ELSEWHERE_S = 30.0

#: The note in the status of a run that its worker is to stop at its next heartbeat.
STOP_REQUEST = "its worker has been asked to stop"


@dataclass(frozen=True)
class StopPlan:
    """How to stop some runs."""

    signalled: list[RunDir]
    """Runs whose worker gets a signal, because all of its runs are to stop."""
    leaving: list[RunDir]
    """Runs whose worker trains others too: it reads in their status, at its next heartbeat, that they are to end."""
    dequeued: list[RunDir]
    """Runs that wait for a worker."""
    elsewhere: list[tuple[RunDir, str]]
    """Runs on other hosts, and those hosts."""
    by_status: list[RunDir]
    """Runs of a scheduler's jobs on other hosts: their worker reads their status at every heartbeat."""


def look_at(runs_dir: Path) -> list[RunView]:
    """Return every run with its status and state, without records: enough to stop or resume runs."""
    clock = FileClock(runs_dir)
    views = []
    for run_dir in find_runs(runs_dir):
        with suppress(OSError, StoreError):
            status = run_dir.read_status()
            views.append(RunView(run_dir, {}, status, observe(run_dir, status, clock), {}))
    return views


def plan_stop(views: Iterable[RunView], all_views: Iterable[RunView]) -> StopPlan:
    """Return what `stop_runs` would do; only running and queued runs of `views` matter."""
    views = list(views)
    running = [view for view in views if view.state == "running"]
    named = {view.dir for view in views}
    busy = {
        view.status.worker for view in all_views if view.state == "running" and _is_here(view) and view.dir not in named
    }
    here = [view for view in running if _is_here(view)]
    return StopPlan(
        signalled=[view.dir for view in here if view.status.worker not in busy],
        leaving=[view.dir for view in here if view.status.worker in busy],
        dequeued=[view.dir for view in views if view.state == "queued"],
        elsewhere=[(view.dir, str(view.status.host)) for view in running if not _is_here(view) and not view.status.job],
        by_status=[view.dir for view in running if not _is_here(view) and view.status.job],
    )


def stop_runs(views: Iterable[RunView], all_views: Iterable[RunView], at_once: bool = False) -> StopPlan:
    """Tell the workers of `views` to save and stop (`at_once`: without finishing their epoch); dequeue waiting runs."""
    views, all_views = list(views), list(all_views)
    dequeued = [view.dir for view in views if view.state == "queued" and _dequeue(view.dir)]
    # The others have got a worker in the meantime.
    begun = {view.dir: _look_again(view) for view in views if view.state == "queued" and view.dir not in dequeued}
    views, all_views = ([begun.get(view.dir, view) for view in some] for some in (views, all_views))
    plan = plan_stop(views, all_views)
    signalled = set(plan.signalled)
    workers = {view.status.worker: view.status for view in views if view.dir in signalled}
    for status in workers.values():
        _signal(status, GIVE_UP if at_once else signal.SIGTERM)
    for run_dir in plan.by_status + plan.leaving:
        _mark(run_dir)
    cancel_jobs(idle_jobs(all_views, set(dequeued)))
    return replace(plan, dequeued=dequeued)


def _dequeue(run_dir: RunDir) -> bool:
    """Stop a run that waits for a worker; return False if a worker may have taken it."""
    with suppress(OSError, StoreError, LaunchError), hold(run_dir):
        status = run_dir.read_status()
        if status.state == "queued":
            run_dir.write_status(replace(status, state="stopped", job=None, launcher=None))
        return status.state in ("queued", "stopped")
    return False


def _look_again(view: RunView) -> RunView:
    with suppress(OSError, StoreError):
        status = view.dir.read_status()
        return replace(view, status=status, state=observe(view.dir, status, FileClock(view.dir.path)))
    return view


def _mark(run_dir: RunDir) -> bool:
    """Request a run's end through its status; return whether its worker must still respond."""
    with suppress(OSError, StoreError):
        status = run_dir.read_status()
        if status.state == "running":
            run_dir.write_status(replace(status, state="stopped", note=STOP_REQUEST))
        # A worker that ended the run just before the mark was written has released its lock.
        return status.state == "running" or (status.note == STOP_REQUEST and not is_free(run_dir))
    return True


def _let_go(run_dir: RunDir) -> None:
    """Detach a stopped run from its job, which would otherwise train it when it is started again."""
    with suppress(OSError, StoreError, LaunchError), hold(run_dir):
        status = run_dir.read_status()
        if status.state == "stopped" and status.job:
            run_dir.write_status(replace(status, job=None))


def idle_jobs(views: Iterable[RunView], dequeued: Collection[RunDir]) -> list[str]:
    """Return the user's jobs that have no run left to train once `dequeued` are removed: they need not start."""
    jobs = defaultdict(list)
    for view in views:
        if view.status.job and view.status.is_submitted and view.state in ("running", "queued"):
            jobs[view.status.job].append(view)
    return [job for job, runs in jobs.items() if all(view.dir in dequeued for view in runs)]


def cancel_jobs(jobs: Collection[str]) -> None:
    """Remove jobs from the queue of their cluster; jobs that are already gone are ignored."""
    if jobs:
        cluster().cancel(jobs)


def _is_here(view: RunView) -> bool:
    return view.status.host == socket.gethostname()


def wait_for_status(run_dirs: Iterable[RunDir], patience_s: float = PATIENCE_ELSEWHERE_S) -> list[RunDir]:
    """Wait until workers have ended the runs that `stop_runs` marked in their status; return those that are left.

    A worker that was just writing its status overwrites the mark, which is then set again. A worker that
    ends overwrites it, too.
    """
    marked = list(run_dirs)
    deadline = time.monotonic() + patience_s + max(map(_heartbeat_every_s, marked), default=0)
    left = marked
    while left and time.monotonic() < deadline:
        left = [run_dir for run_dir in left if _mark(run_dir)]
        time.sleep(0.2 if left else 0)
    for run_dir in set(marked) - set(left):
        _let_go(run_dir)
    return left


def _heartbeat_every_s(run_dir: RunDir) -> float:
    with suppress(OSError, StoreError):
        return run_dir.read_status().heartbeat_every_s
    return 0


def wait_until_stopped(run_dirs: Iterable[RunDir], patience_s: float = PATIENCE_S) -> list[RunDir]:
    """Wait until the workers of `run_dirs` are gone; return the runs whose worker is still there."""
    deadline = time.monotonic() + patience_s
    signalled = list(run_dirs)
    left = signalled
    while left and time.monotonic() < deadline:
        left = [run_dir for run_dir in left if _has_worker(run_dir)]
        time.sleep(0.1 if left else 0)
    for run_dir in set(signalled) - set(left):
        _let_go(run_dir)
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


def look_at_removal(run_dirs: Iterable[RunDir]) -> dict[RunDir, str | None]:
    """Return the current identity of each run; None if it cannot be read.

    Raises:
        LaunchError: a run lies behind a symbolic link, or another process has queued it.
    """
    identities = {}
    for run_dir in run_dirs:
        run_dir.refuse_link()
        with suppress(StoreError):
            refuse_if_queued(run_dir, run_dir.read_status())
        identities[run_dir] = _identity(run_dir)
    return identities


def remove_runs(looked_at: Mapping[RunDir, str | None]) -> list[RunDir]:
    """Remove runs that still have the given identities; return them. Runs that are already gone are left out.

    Raises:
        LaunchError: a run is being trained, is queued, or was started over in the meantime. Nothing has been removed.
    """
    there = []
    with Claims() as claims:
        for run_dir in sorted(looked_at):
            with hold(run_dir):
                if run_dir.path.exists():
                    _claim(claims, run_dir, looked_at[run_dir])
                    there.append(run_dir)
        for run_dir in there:
            claims.keep(run_dir)
            with hold(run_dir):
                run_dir.clear()
    return there


def _claim(claims: Claims, run_dir: RunDir, identity: str | None) -> None:
    if _identity(run_dir) != identity:
        raise LaunchError(f"{run_dir.name}: another lop command has started it over meanwhile; not removed")
    with suppress(StoreError):  # a damaged status has no owner
        claims.take(run_dir, run_dir.read_status())


def _identity(run_dir: RunDir) -> str | None:
    try:
        return run_dir.read_id()
    except (OSError, StoreError):  # damaged
        return None
