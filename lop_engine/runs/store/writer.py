"""Appends to a record file with one positional write per call, however long the file is.

Of the files that a process appends to, only the last used ones stay open.
"""

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from lop_engine.errors import StoreError
from lop_engine.files import replacing
from lop_engine.processes import open_files_limit
from lop_engine.runs.store.layout import (
    TAIL,
    OutOfStepError,
    document_line,
    ends_otherwise,
    header,
    is_torn_header,
    last_document,
    lines_backwards,
    parse_any_layout,
    parse_line,
    pread,
    without_separator,
)
from lop_engine.runs.store.repair import num_whole_documents, rewrite_table

MOST_OPEN = 128
"""Record files of 64 runs. With more, each append opens its file, which costs a request to the file server."""

_lock = threading.Lock()
_idle: "dict[OpenFile, None]" = {}
"""Open files that are not in use, the last used one at the end."""


class OpenFile:
    """An existing file for reading and writing, opened again when needed.

    The process keeps at most `MOST_OPEN` such files open, and at most a quarter of its limit of open files, besides
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
        """Yield a descriptor for the context, one thread at a time.

        Raises:
            OSError: the file cannot be opened, or could not be closed when another one needed its place.
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
        """Close the file; the next use opens the file that has its name then. Raises OSError."""
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
        """Close a file that is not in use. An error, such as a file server's full disk, is kept for its next use."""
        fd, self._fd = self._fd, None
        try:
            if fd is not None:
                os.close(fd)
        except OSError as error:
            error.filename = str(self.path)
            self._error = error


def _put_back(file: OpenFile) -> None:
    """Keep a file open after its use, and close the least recently used ones."""
    with _lock:
        if file._fd is not None:
            _idle[file] = None
        while len(_idle) > max(1, min(MOST_OPEN, open_files_limit() // 4)):
            oldest = next(iter(_idle))
            del _idle[oldest]
            oldest._close_idle()


class TableWriter:
    """The only writer of a record file (the run's lock ensures that).

    Opening an existing file removes a half-written last line; a new file is written under a
    temporary name and then renamed. A file in another layout (saved again by TinyDB, an editor or jq) is first
    rewritten in ours; `resaved` is the path of the old file.

    Args:
        path: the file.
        table: name of its TinyDB table.
        keep: first cut the file back to this many documents (those that a resumed run's checkpoint covers).
    Raises:
        StoreError: the file is not a record file of this table, or holds fewer than `keep` documents.
        OSError: an error of the disk.
    """

    def __init__(self, path: Path, table: str, keep: int | None = None) -> None:
        self.path = path
        self._header = header(table)
        if not path.exists():
            with replacing(path) as file:
                file.write(self._header + TAIL)
        self._file = OpenFile(path)
        self.resaved: Path | None = None
        try:
            self._check_layout(table)
            with self._file.descriptor() as fd:
                self.num_documents, self._end = self._last_whole_document(fd)
                if keep is not None:
                    self._cut_to(fd, keep)
            self._close_table()
        except BaseException:
            self._file.close()
            raise

    def append(self, document: Mapping[str, Any]) -> int:
        """Append one document and return its number (from 1). Readers see it when this returns."""
        return self.extend([document])

    def extend(self, documents: Iterable[Mapping[str, Any]]) -> int:
        """Append several documents in one write; return the number of the last one.

        An append that fails (a full disk, a document that JSON cannot represent) leaves the file unchanged.
        """
        number, parts = self.num_documents, []
        for document in documents:
            number += 1
            parts.append((b"\n" if number == 1 else b",\n") + document_line(number, dict(document)))
        block = b"".join(parts)
        if block:
            try:
                self._write_at(self._end, block + TAIL)
            except BaseException:
                with contextlib.suppress(OSError):
                    self._close_table()
                raise
            self._end += len(block)
            self.num_documents = number
        return self.num_documents

    def last(self) -> dict[str, Any]:
        """Return the last document; an empty one if there is none."""
        with self._file.descriptor() as fd:
            document = last_document(fd, len(self._header) + 1)
        return document[1] if document else {}

    def sync(self) -> None:
        """Wait until appended documents are on disk."""
        with self._file.descriptor() as fd:
            os.fsync(fd)

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> "TableWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_layout(self, table: str) -> None:
        """Repair a half-written first line; rewrite a complete file in another layout."""
        with self._file.descriptor() as fd:
            start = os.pread(fd, len(self._header) + 1, 0)
            if is_torn_header(start, table):  # a power failure during creation
                self._write_at(0, self._header)
            elif start != self._header + b"\n":
                self._convert(fd, table)
            elif ends_otherwise(fd, self._last_whole_document(fd)[1]):
                with contextlib.suppress(StoreError):  # in our layout, but half-written
                    self._convert(fd, table)

    def _convert(self, fd: int, table: str) -> None:
        try:
            documents = parse_any_layout(pread(fd, 0, os.fstat(fd).st_size), table)
        except OutOfStepError as problem:
            raise StoreError(f"{self.path}: {problem}; {self._advice()}") from None
        self.resaved = rewrite_table(self.path, table, documents, "resaved")
        self._file.close()

    def _advice(self) -> str:
        """Return advice for a file that cannot be appended to."""
        num_whole = num_whole_documents(self.path)
        if not num_whole:
            return "it holds no whole document; restore it from a backup"
        return f"restore it from a backup; without one, lop doctor --repair keeps its {num_whole} whole documents"

    def _close_table(self) -> None:
        """Make the file end after the last document."""
        with self._file.descriptor() as fd:
            if os.pread(fd, len(TAIL) + 1, self._end) != TAIL:
                # Shorten it first: if the process dies in between, only a half-written tail is left.
                os.ftruncate(fd, self._end)
                self._write_at(self._end, TAIL)

    def _last_whole_document(self, fd: int) -> tuple[int, int]:
        """Return (number, end offset) of the last complete document; (0, end of header) if there is none."""
        last = last_document(fd, len(self._header) + 1)
        return (last[0], last[2]) if last else (0, len(self._header))

    def _cut_to(self, fd: int, keep: int) -> None:
        if keep > self.num_documents:
            raise StoreError(
                f"{self.path}: holds {self.num_documents} documents, its checkpoint covers {keep}; restore it from a "
                "backup, or move checkpoint.pt away to resume from the checkpoint before it"
            )
        if keep == self.num_documents:
            return
        self.num_documents, self._end = 0, len(self._header)
        if keep == 0:
            return
        for start, line in lines_backwards(fd, len(self._header) + 1):
            whole = without_separator(line)
            parsed = parse_line(whole)
            if parsed and parsed[0] == keep:
                self.num_documents, self._end = keep, start + len(whole)
                return
        raise StoreError(f"{self.path}: document {keep} is missing")

    def _write_at(self, offset: int, content: bytes) -> None:
        view = memoryview(content)
        with self._file.descriptor() as fd:
            while view:
                try:
                    written = os.pwrite(fd, view, offset)
                except OSError as error:
                    error.filename = str(self.path)
                    raise
                view, offset = view[written:], offset + written
