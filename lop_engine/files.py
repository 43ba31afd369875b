"""Writes files atomically, and reads only regular files."""

import errno
import hashlib
import os
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar

from lop_engine.errors import UserError
from lop_engine.processes import open_files_limit
from lop_engine.text import byte_size

T = TypeVar("T")

MOST_AT_ONCE = 16
"""Number of calls that wait for the disk at the same time."""


@contextmanager
def replacing(path: Path, durable: bool = False, keep_old_as: Path | None = None) -> Iterator[BinaryIO]:
    """Write `path` atomically: a reader sees the old file or the new one, never a part.

    Args:
        durable: sync the content before the file is renamed, and the name before this returns, so that the file is
            complete after a power failure too.
        keep_old_as: a name for the replaced file. For a moment neither file is called `path`.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        if keep_old_as and path.exists():
            os.replace(path, keep_old_as)
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in (None, str(temporary)):
            name_file(error, path)
        raise
    if durable:
        sync_directory(path.parent)


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """Write a file that the user named, atomically. Creates missing directories, and follows links.

    Raises:
        UserError: `path` is a link to a file of another kind, such as a run's records.
        OSError: an error that names `path`, whichever file caused it.
    """
    target = Path(os.path.realpath(path))
    if target.suffix.lower() != path.suffix.lower():
        raise UserError(f"{path}: a link to {target}, which is not a {path.suffix} file; name another file")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with replacing(target) as file:
            yield file
    except OSError as error:
        name_file(error, path)
        raise


def together(write: Callable[[T], object], items: Iterable[T]) -> list[tuple[T, Exception]]:
    """Call `write(item)` for every item in up to 16 threads: waiting for a disk together takes little longer than once.

    The calling thread makes the items one after another, a few ahead. Returns when all calls have ended.

    Returns:
        The items whose call failed, with the error.
    """
    failed = []
    waiting: deque[tuple[T, Future[object]]] = deque()

    def finish_first() -> None:
        item, future = waiting.popleft()
        if isinstance(error := future.exception(), Exception):
            failed.append((item, error))

    num_threads = max(1, min(MOST_AT_ONCE, open_files_limit() // 8))
    with ThreadPoolExecutor(num_threads, "disk") as pool:
        for item in items:
            if len(waiting) == 2 * num_threads:
                finish_first()
            waiting.append((item, pool.submit(write, item)))
        while waiting:
            finish_first()
    return failed


def name_file(error: OSError, path: Path) -> None:
    """Make an OSError name only `path`. Setting the second name to None would print `` -> None``."""
    error.filename = str(path)
    del error.filename2


def resolved(path: Path) -> Path:
    """Return the absolute path without links. Of links in a circle, `Path.resolve` raises RuntimeError before 3.13."""
    return Path(os.path.realpath(path))


def require_regular(path: Path) -> None:
    """Raise OSError unless `path` is a file: a pipe would keep its reader waiting, a device never ends."""
    _refuse_irregular(os.stat(path).st_mode, path)


def open_regular(path: Path) -> int:
    """Open a file for reading and return its descriptor. Raises OSError, also if it is not a regular file."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # do not wait for the writer of a pipe
    try:
        _refuse_irregular(os.fstat(fd).st_mode, path)
    except OSError:
        os.close(fd)
        raise
    return fd


def open_to_read(path: Path) -> BinaryIO:
    """Open a file for reading, see `open_regular`."""
    return os.fdopen(open_regular(path), "rb")


def _refuse_irregular(mode: int, path: Path) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))


def read_small(path: Path, most_bytes: int) -> bytes:
    """Return the content of a file of at most `most_bytes`. Raises OSError."""
    require_regular(path)
    with open_to_read(path) as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise OSError(errno.EFBIG, f"larger than {byte_size(most_bytes)}", str(path))
    return content


def overwrite(path: Path, content: bytes) -> None:
    """Overwrite a file in place, which needs no space on a full disk. Raises OSError."""
    with open(path, "r+b") as file:
        file.write(content.ljust(os.fstat(file.fileno()).st_size))
        file.truncate()


def sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def source_checksum(content: bytes) -> str:
    """Return the SHA-256 of a source file, independent of line endings, which Python ignores."""
    return hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest()
