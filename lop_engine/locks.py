"""One writer a run directory."""

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from lop_engine.errors import LaunchError
from lop_engine.rundir import RunDir

#: Exit statuses of a worker: it failed and may be tried again; what it was given cannot be trained; another one
#: trains its runs.
FAILED, REFUSED, LOCKED = 1, 2, 3


class LockedError(LaunchError):
    """Another process trains this run."""


@contextmanager
def hold(run_dir: RunDir) -> Iterator[None]:
    """Hold a run's lock. The system drops it with the process, so a dead worker leaves none behind.

    Raises:
        LockedError: another process holds it; says which.
    """
    lock = FileLock(run_dir.lock)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        status = run_dir.read_status()
        raise LockedError(
            f"{run_dir.name}: already trained by {status.holder}; stop that one first (lop stop {run_dir.name})"
        ) from None
    try:
        yield
    finally:
        lock.release()
