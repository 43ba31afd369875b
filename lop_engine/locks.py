"""One writer a run directory."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from lop_engine.errors import LaunchError
from lop_engine.rundir import FileClock, RunDir, observe
from lop_engine.scheduler import own_job

#: Exit statuses of a worker: it failed and may be tried again; what it was given cannot be trained; another one
#: trains its runs; its training step cannot be captured as a CUDA graph; its seeds do not fit into memory.
FAILED, REFUSED, LOCKED, NO_CUDA_GRAPH, OUT_OF_MEMORY = 1, 2, 3, 4, 5

#: What a file system without locks says (Lustre mounted so; NFS without its lock service).
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


class LockedError(LaunchError):
    """Another process trains this run."""


@contextmanager
def hold(run_dir: RunDir) -> Iterator[None]:
    """Hold a run's lock. The system drops it with the process, so a dead worker leaves none behind.

    Not every shared file system has locks, and some keep them within one host. So the status counts as well: a run that
    a live worker trains is held, wherever that is; and a worker looks at its status as long as it trains
    (`RunFiles.beat`).

    Raises:
        LockedError: another process holds it; says which.
    """
    lock = FileLock(run_dir.lock, fallback_to_soft=False)  # a soft lock outlives a worker that was killed
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise _locked(run_dir) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    try:
        if _is_trained(run_dir):
            raise _locked(run_dir)
        yield
    finally:
        lock.release()


def _is_trained(run_dir: RunDir) -> bool:
    """Whether the status tells of a worker that lives; this job's own turn before this one is over."""
    status = run_dir.read_status()
    if status.state != "running" or (status.job and status.job == own_job()):
        return False
    return observe(run_dir, status, FileClock(run_dir.path)) == "running"


def _locked(run_dir: RunDir) -> LockedError:
    holder = run_dir.read_status().holder
    return LockedError(f"{run_dir.name}: already trained by {holder}; stop that one first (lop stop {run_dir.name})")
