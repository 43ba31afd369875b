"""Locks of run directories: a process holds a run's lock while it prepares, trains, repairs or removes the run."""

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

#: Exit statuses of a worker: it failed and may be tried again; it refuses its runs; another worker
#: trains its runs; creating a CUDA graph failed; its seeds do not fit into memory.
FAILED, REFUSED, LOCKED, NO_CUDA_GRAPH, OUT_OF_MEMORY = 1, 2, 3, 4, 5

#: Commands hold a lock for milliseconds, `lop doctor --repair` for seconds. Workers hold it while they train, which
#: their status shows.
PATIENCE_S = 10.0
_PAUSE_S = 0.02

#: Errors of a file system without locks (Lustre without them; NFS without its lock service).
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


class LockedError(LaunchError):
    """Another process holds this run."""


@contextmanager
def hold(run_dir: RunDir, patience_s: float = PATIENCE_S) -> Iterator[None]:
    """Hold a run's lock; the run itself need not exist. The system releases the lock when the process ends.

    The lock file, and directories that become empty, are removed with the run.

    The run may have changed since it was last read, so read it again under the lock.

    Not every shared file system has locks, and some locks only work within one host. So the status counts as well: a
    run that a live worker trains is held, wherever that is; and a worker checks its status while it trains
    (`RunFiles.beat`).

    Args:
        patience_s: how long to wait for a command that holds the lock. It never waits for a worker.
    Raises:
        LockedError: another process holds the run; names it.
        LaunchError: the lock cannot be taken for another reason.
    """
    with ExitStack() as held:
        _take(run_dir, patience_s, held)
        yield


@contextmanager
def hold_together(run_dirs: Sequence[RunDir]) -> Iterator[Callable[[RunDir], None]]:
    """Hold the locks of a stack's runs like `hold`, with one open file for all of them.

    The lock files become hard links of the first run's lock file, so one lock protects every run. The next process
    that locks one of these runs gives it a separate lock file again. If the file
    system refuses a link, that run's lock file stays open.

    Yields a function that releases the lock of one run before the others. If the file system refuses this, the
    lock is kept with the others.

    Raises:
        LockedError, LaunchError: like `hold`; no lock is kept.
    """
    with ExitStack() as held:
        shared: tuple[RunDir, int] | None = None
        for run_dir in run_dirs:
            fd = _take(run_dir, PATIENCE_S, held, shared)
            if shared is None and fd is not None:
                shared = run_dir, fd
        yield _let_go


def is_free(run_dir: RunDir) -> bool:
    """Whether a run's lock is free now; False if the file system has no locks."""
    try:
        fd = acquire(run_dir, time.monotonic())
    except LaunchError:
        return False
    if fd is not None:
        os.close(fd)
    return fd is not None


def other_launcher(status: RunStatus) -> Process | None:
    """Return another live process that has queued this run; None if there is none.

    For a job's run on another host the scheduler knows whether it will be trained (`jobs.has_job`); the
    process is then considered gone.
    """
    launcher = status.launcher
    if status.state != "queued" or launcher is None or launcher.token == this_process().token:
        return None
    if status.job and not launcher.is_here:
        return None
    return launcher if launcher.may_be_alive else None


def try_lock(path: Path) -> int | None:
    """Lock a file, creating it if necessary; return its descriptor, or None if another process has the lock.

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
        os.close(fd)  # the last holder removed or replaced this file: lock the file that now has its name


def _is_named(fd: int, path: Path) -> bool:
    """Whether an open file still has the name `path`."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


def _take(run_dir: RunDir, patience_s: float, held: ExitStack, shared: tuple[RunDir, int] | None = None) -> int | None:
    """Acquire a run's lock until `held` closes, see `hold`.

    Args:
        shared: a run whose lock this process holds, and its descriptor; the two locks are joined if possible.
    Returns:
        The descriptor of the lock; None if it is that of `shared`, or if the file system has no locks.
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
    """Replace the lock file of a run whose lock this process holds by a new one, which is free."""
    new = _new_lock(run_dir)
    with suppress(OSError):
        new.unlink(missing_ok=True)
        new.touch()
        os.replace(new, run_dir.lock)


def acquire(run_dir: RunDir, deadline: float) -> int | None:
    """Return the descriptor of the lock; None if the file system has no locks. Raises like `hold`."""
    while True:
        try:
            run_dir.lock.parent.mkdir(parents=True, exist_ok=True)
            fd = try_lock(run_dir.lock)
        except FileNotFoundError:  # `lop rm` has removed the empty directory in the meantime: create it again
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
    """Replace a run's lock file by a hard link to another's, whose lock is held; return False if that is impossible.

    The run's own lock must be held. Processes waiting for it then wait for the other lock, see `_is_named`.
    """
    new = _new_lock(run_dir)
    try:
        new.unlink(missing_ok=True)
        os.link(other.lock, new)
        if not _is_named(other_fd, new):  # the other lock file was removed by hand
            return False
        os.replace(new, run_dir.lock)
        return True
    except OSError:  # no hard links here, or too many; another file system; a full disk
        return False
    finally:
        with suppress(OSError):
            new.unlink(missing_ok=True)


def _separate(run_dir: RunDir, fd: int) -> int:
    """Give a run whose lock file is shared with other runs a separate one; return the descriptor of its lock."""
    if os.fstat(fd).st_nlink == 1:
        return fd
    new = _new_lock(run_dir)
    try:
        new.unlink(missing_ok=True)
        own = try_lock(new)
    except OSError:  # a full disk: keep the shared one, commands hold it briefly
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
    """Return the temporary path at which a run's holder creates another lock file."""
    return run_dir.lock.with_name(f"{run_dir.lock.name}.new")


def _remove_lock(run_dir: RunDir) -> None:
    """Remove the lock file of a removed run, and directories that become empty."""
    with suppress(OSError):  # the last of them is not empty
        _new_lock(run_dir).unlink(missing_ok=True)
        run_dir.lock.unlink()
        for directory in list(run_dir.path.parents)[:2]:
            directory.rmdir()


def _sign(fd: int) -> None:
    """Write the lock's holder into the lock file, for people to read."""
    with suppress(OSError):  # a full disk
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{this_process()}\n".encode(), 0)


def _signature(run_dir: RunDir) -> str:
    with suppress(OSError):
        return run_dir.lock.read_bytes()[:200].decode(errors="replace").strip() or "unknown process"
    return "unknown process"


def _is_trained(run_dir: RunDir) -> bool:
    """Whether the status names a live worker.

    A job that was restarted on another node may resume its own run at once, because its previous worker has ended.
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
    """Return the error that names who trains a run, and what to do."""
    return LockedError(
        f"{run_dir.name}: is being trained now by {status.holder}; follow it with lop watch, or stop it with "
        f"lop stop {run_dir.name}"
    )
