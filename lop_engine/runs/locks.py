"""One writer per run directory: a process holds the run's lock while it prepares, trains, repairs or removes it."""

import errno
import fcntl
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from lop_engine.errors import LaunchError, StoreError, why
from lop_engine.processes import Process, this_process
from lop_engine.runs.directory import RunDir
from lop_engine.runs.jobs import own_job
from lop_engine.runs.liveness import FileClock, observe
from lop_engine.runs.records import RunStatus

#: Exit statuses of a worker: it failed and may be tried again; what it was given cannot be trained; another one
#: trains its runs; its training step cannot be captured as a CUDA graph; its seeds do not fit into memory.
FAILED, REFUSED, LOCKED, NO_CUDA_GRAPH, OUT_OF_MEMORY = 1, 2, 3, 4, 5

#: Commands hold a lock for milliseconds, `lop doctor --repair` for seconds. Workers hold it while they train; their
#: status shows that.
PATIENCE_S = 10.0
_PAUSE_S = 0.02

#: What a file system without locks says (Lustre mounted so; NFS without its lock service).
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


class LockedError(LaunchError):
    """Another process has this run."""


@contextmanager
def hold(run_dir: RunDir, patience_s: float = PATIENCE_S) -> Iterator[None]:
    """Hold a run's lock; the run itself need not exist. The system drops the lock with the process.

    The lock file, and directories that would be empty, are removed with the run.

    The run may have changed since it was last read: read it again under the lock.

    Not every shared file system has locks, and some keep them within one host. So the status counts as well: a run that
    a live worker trains is held, wherever that is; and a worker looks at its status as long as it trains
    (`RunFiles.beat`).

    Args:
        patience_s: how long to wait for a command that holds it. It never waits for a worker.
    Raises:
        LockedError: another process has the run; says which.
        LaunchError: the lock cannot be taken for another reason.
    """
    with ExitStack() as held:
        _take(run_dir, patience_s, held)
        yield


@contextmanager
def hold_together(run_dirs: Sequence[RunDir]) -> Iterator[Callable[[RunDir], None]]:
    """Hold the locks of a stack's runs, as `hold` does, with one open file for all of them.

    The lock files become names (hard links) of the first run's lock file, so that one lock keeps others out of every
    run. The next process that takes one of these locks gives the run a lock file of its own again. Where the file
    system refuses a link, that run's lock file stays open.

    Yields a function that gives back the lock of one of the runs before the others. If the file system refuses, that
    lock is kept with the others.

    Raises:
        LockedError, LaunchError: as `hold`; no lock is kept.
    """
    with ExitStack() as held:
        shared: tuple[RunDir, int] | None = None
        for run_dir in run_dirs:
            fd = _take(run_dir, PATIENCE_S, held, shared)
            if shared is None and fd is not None:
                shared = run_dir, fd
        yield _let_go


def is_free(run_dir: RunDir) -> bool:
    """Whether a run's lock is free now; False where the file system has no locks."""
    try:
        fd = acquire(run_dir, time.monotonic())
    except LaunchError:
        return False
    if fd is not None:
        os.close(fd)
    return fd is not None


def other_launcher(status: RunStatus) -> Process | None:
    """The other live process that has queued this run; None if this process has, or none.

    For a job's run on another host the scheduler says whether it will be trained (`jobs.has_job`): there the
    process counts as gone.
    """
    launcher = status.launcher
    if status.state != "queued" or launcher is None or launcher.token == this_process().token:
        return None
    if status.job and not launcher.is_here:
        return None
    return launcher if launcher.may_be_alive else None


def try_lock(path: Path) -> int | None:
    """Lock a file, which is made if it is missing; return its descriptor, or None if another process has the lock.

    Closing the descriptor in every process that inherited it releases the lock. Raises OSError.
    """
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_named(fd, path):
                return fd
        except BlockingIOError:
            os.close(fd)
            return None
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # the last holder removed or replaced this file: lock the file that has its name now


def _is_named(fd: int, path: Path) -> bool:
    """Whether an open file still has the name `path`."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


def _take(run_dir: RunDir, patience_s: float, held: ExitStack, shared: tuple[RunDir, int] | None = None) -> int | None:
    """Take a run's lock until `held` closes, see `hold`.

    Args:
        shared: a run whose lock this process holds, and its descriptor; the two locks become one if that is possible.
    Returns:
        The descriptor of the lock; None if it is that of `shared`, or where the file system has no locks.
    """
    fd = acquire(run_dir, time.monotonic() + patience_s)
    if fd is not None and shared and join(run_dir, *shared):
        os.close(fd)
        held.callback(_give_back, run_dir, shared[1], False)
        fd = None
    else:
        held.callback(_give_back, run_dir, fd, True)
    if _is_trained(run_dir):
        raise trained_error(run_dir, run_dir.read_status())
    return fd


def _give_back(run_dir: RunDir, fd: int | None, closes: bool) -> None:
    if not run_dir.path.exists() and (fd is None or _is_named(fd, run_dir.lock)):
        _remove_lock(run_dir)
    if fd is not None and closes:
        os.close(fd)


def _let_go(run_dir: RunDir) -> None:
    """Give a run whose lock this process holds another lock file, which is free."""
    new = _new_lock(run_dir)
    with suppress(OSError):
        new.unlink(missing_ok=True)
        new.touch()
        os.replace(new, run_dir.lock)


def acquire(run_dir: RunDir, deadline: float) -> int | None:
    """The descriptor of the lock; None where the file system has no locks. Raises as `hold`."""
    while True:
        try:
            run_dir.lock.parent.mkdir(parents=True, exist_ok=True)
            fd = try_lock(run_dir.lock)
        except FileNotFoundError:  # `lop rm` has removed the empty directory meanwhile: make it again
            fd = None
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return None
            raise LaunchError(f"{run_dir.lock}: cannot be locked: {why(error)}") from None
        if fd is not None:
            fd = _separate(run_dir, fd)
            _sign(fd)
            return fd
        if _is_trained(run_dir):
            raise trained_error(run_dir, run_dir.read_status())
        if time.monotonic() > deadline:
            raise LockedError(f"{run_dir.name}: another lop command is changing it ({_signature(run_dir)}); try again")
        time.sleep(_PAUSE_S)


def join(run_dir: RunDir, other: RunDir, other_fd: int) -> bool:
    """Replace a run's lock file by a name of another's, whose lock is held; return False if that is not possible.

    The run's own lock must be held. Who waits for it then waits for the other lock, see `_is_named`.
    """
    new = _new_lock(run_dir)
    try:
        new.unlink(missing_ok=True)
        os.link(other.lock, new)
        if not _is_named(other_fd, new):  # somebody removed the other lock file by hand
            return False
        os.replace(new, run_dir.lock)
        return True
    except OSError:  # no hard links here, or too many; another file system; a full disk
        return False
    finally:
        with suppress(OSError):
            new.unlink(missing_ok=True)


def _separate(run_dir: RunDir, fd: int) -> int:
    """Give a run whose lock file has names of other runs, too, one of its own; return the descriptor of its lock."""
    if os.fstat(fd).st_nlink == 1:
        return fd
    new = _new_lock(run_dir)
    try:
        new.unlink(missing_ok=True)
        own = try_lock(new)
    except OSError:  # a full disk: the shared one will do, commands hold it for moments
        return fd
    if own is None:
        return fd
    try:
        os.replace(new, run_dir.lock)
    except OSError:
        os.close(own)
        return fd
    os.close(fd)
    return own


def _new_lock(run_dir: RunDir) -> Path:
    """Where the holder of a run's lock makes another lock file for it."""
    return run_dir.lock.with_name(f"{run_dir.lock.name}.new")


def _remove_lock(run_dir: RunDir) -> None:
    """Remove the lock of a removed run, and the directories that this leaves empty."""
    with suppress(OSError):  # the last of them is not empty
        _new_lock(run_dir).unlink(missing_ok=True)
        run_dir.lock.unlink()
        for directory in list(run_dir.path.parents)[:2]:
            directory.rmdir()


def _sign(fd: int) -> None:
    """Write who holds the lock into the lock file, for people to read."""
    with suppress(OSError):  # a full disk
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{this_process()}\n".encode(), 0)


def _signature(run_dir: RunDir) -> str:
    with suppress(OSError):
        return run_dir.lock.read_bytes()[:200].decode(errors="replace").strip() or "unknown process"
    return "unknown process"


def _is_trained(run_dir: RunDir) -> bool:
    """Whether the status tells of a worker that lives.

    A job that is started again on another node may take up its own run at once: its turn before is over.
    """
    try:
        status = run_dir.read_status()
    except StoreError:  # damaged: a live worker would have rewritten it
        return False
    is_own_turn_elsewhere = status.job and status.job == own_job() and status.host != socket.gethostname()
    if status.state != "running" or is_own_turn_elsewhere:
        return False
    return observe(run_dir, status, FileClock(run_dir.path)) == "running"


def trained_error(run_dir: RunDir, status: RunStatus) -> LockedError:
    """Error that says who trains a run, and what to do."""
    return LockedError(
        f"{run_dir.name}: is being trained now by {status.holder}; follow it with lop watch, or stop it with "
        f"lop stop {run_dir.name}"
    )
