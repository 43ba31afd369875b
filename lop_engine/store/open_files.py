"""Files that a process appends to now and then, of which only the last used stay open."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lop_engine.errors import StoreError
from lop_engine.processes import open_files_limit

MOST_OPEN = 128
"""Record files of 64 runs stay open. Beyond that each append opens its file, which a file server has to answer."""

_lock = threading.RLock()
_open: "dict[OpenFile, int]" = {}
"""Descriptors, the last used one at the end."""


class OpenFile:
    """An existing file for reading and writing, which is opened again when it is needed.

    The process keeps at most `MOST_OPEN` such files open, and a quarter of the files that it may open at all.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._inode: int | None = None
        self._error: OSError | None = None
        with self.descriptor():
            pass

    @contextmanager
    def descriptor(self) -> Iterator[int]:
        """A descriptor to use within the context.

        Raises:
            OSError: the file cannot be opened, or could not be closed when another one was needed.
            StoreError: the file was replaced since it was last used.
        """
        with _lock:
            if self._error:
                raise self._error
            fd = _open.pop(self, None)
            if fd is None:
                fd = self._open()
            _open[self] = fd
            yield fd

    def close(self) -> None:
        """Close the file; the next use opens whatever file has its name then. Raises OSError."""
        with _lock:
            self._inode = None
            fd = _open.pop(self, None)
            if fd is not None:
                os.close(fd)

    def _open(self) -> int:
        while len(_open) >= max(1, min(MOST_OPEN, open_files_limit() // 4)):
            _close_oldest()
        fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        inode = os.fstat(fd).st_ino
        if self._inode not in (None, inode):
            os.close(fd)
            raise StoreError(f"{self.path}: was replaced by another program while the run was being trained")
        self._inode = inode
        return fd


def _close_oldest() -> None:
    """Close the file that was not used for longest. Its error, such as a full disk of a file server, is its own."""
    oldest = next(iter(_open))
    fd = _open.pop(oldest)
    try:
        os.close(fd)
    except OSError as error:
        error.filename = str(oldest.path)
        oldest._error = error
