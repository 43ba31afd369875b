"""Files that a process uses now and then, of which only the last used stay open."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lop_engine.errors import StoreError
from lop_engine.processes import open_files_limit

MOST_OPEN = 128
"""Record files of 64 runs stay open. Beyond that each append opens its file, which a file server has to answer."""

_lock = threading.Lock()
_idle: "dict[OpenFile, None]" = {}
"""Files that are open and not in use, the last used one at the end."""


class OpenFile:
    """An existing file for reading and writing, which is opened again when it is needed.

    The process keeps at most `MOST_OPEN` such files open, and a quarter of the files that it may open at all, beside
    those in use.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None
        self._inode: int | None = None
        self._in_use = threading.RLock()
        self._uses = 0
        self._error: OSError | None = None
        with self.descriptor():
            pass

    @contextmanager
    def descriptor(self) -> Iterator[int]:
        """A descriptor to use within the context, one thread at a time.

        Raises:
            OSError: the file cannot be opened, or could not be closed when another one was needed.
            StoreError: the file was replaced since it was last used.
        """
        with self._in_use:
            with _lock:
                _idle.pop(self, None)
            if self._error:
                raise self._error
            if self._fd is None:
                self._fd = self._open()
            self._uses += 1
            try:
                yield self._fd
            finally:
                self._uses -= 1
                if not self._uses:
                    _put_back(self)

    def close(self) -> None:
        """Close the file; the next use opens whatever file has its name then. Raises OSError."""
        with self._in_use, _lock:
            _idle.pop(self, None)
            fd, self._fd, self._inode = self._fd, None, None
        if fd is not None:
            os.close(fd)

    def _open(self) -> int:
        fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        inode = os.fstat(fd).st_ino
        if self._inode not in (None, inode):
            os.close(fd)
            raise StoreError(f"{self.path}: was replaced by another program while the run was being trained")
        self._inode = inode
        return fd

    def _close_idle(self) -> None:
        """Close a file that is not in use. An error, such as a full disk of a file server, is kept for its next use."""
        fd, self._fd = self._fd, None
        try:
            if fd is not None:
                os.close(fd)
        except OSError as error:
            error.filename = str(self.path)
            self._error = error


def _put_back(file: OpenFile) -> None:
    """Keep a file open after its use, and close others that were not used for longer."""
    with _lock:
        if file._fd is not None:
            _idle[file] = None
        while len(_idle) > max(1, min(MOST_OPEN, open_files_limit() // 4)):
            oldest = next(iter(_idle))
            del _idle[oldest]
            oldest._close_idle()
