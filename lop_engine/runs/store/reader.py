"""Reads a record file, completely or only what is new, also while it is written.

`open_readonly` lets TinyDB query record files that a worker writes.
"""

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from tinydb import Storage, TinyDB
from tinydb.table import Table

from lop_engine.errors import DamagedError, StoreError, why
from lop_engine.files import open_regular
from lop_engine.runs.store.layout import (
    HEADER_BYTES,
    TAIL,
    Documents,
    OutOfStepError,
    Stamp,
    is_torn_header,
    last_document,
    may_be_resaved,
    parse_any_layout,
    parse_line,
    pread,
    stamp_of,
    table_name,
    without_separator,
)

_ATTEMPTS = 3
_PAUSE_S = 0.005
_MARGIN = 0.03
"""The share of a file by which a document's place may differ from its share of the documents."""


class TableTail:
    """Follows one record file: each call to `read_new` returns the documents since the last.

    A file that does not exist yet has no documents. A file that was replaced or cut back (a run that was started
    over, or resumed from a checkpoint) is read again from its start, and so is a file of valid TinyDB JSON in another
    layout whenever it changes; `restarts` counts these, so that a caller can discard its documents.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.restarts = 0
        self.table: str | None = None
        self.num_documents = 0
        self.is_resaved = False
        """Whether the file is in a layout other than ours."""
        self._offset = 0
        self._last_line = b""
        self._inode: int | None = None
        self._whole_at: Stamp | None = None
        """Stamp of the file that was last parsed completely; `_whole_problem` is its error."""
        self._whole_problem = ""

    def read_new(self) -> Documents:
        """Return the new documents in order. Raises StoreError if the file is damaged before its end."""
        try:
            fd = open_regular(self.path)
        except FileNotFoundError:
            self._restart()
            return []
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be read: {why(error)}") from None
        try:
            return self._read_open_file(fd)
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be read: {why(error)}") from None
        finally:
            os.close(fd)

    def _read_open_file(self, fd: int) -> Documents:
        stat = os.fstat(fd)
        if self.is_resaved:
            if self._whole_at == stamp_of(stat) is not None:
                return []
            self._restart()
        elif stat.st_ino != self._inode:
            self._restart()
        self._inode = stat.st_ino
        # An inconsistency in the middle of a write passes; a lasting one means a file that was cut back: start over.
        for _ in range(_ATTEMPTS):
            try:
                return self._read_from_offset(fd)
            except OutOfStepError:
                time.sleep(_PAUSE_S)
        self._restart()
        self._inode = stat.st_ino
        try:
            return self._read_from_offset(fd)
        except OutOfStepError as problem:
            with suppress(OutOfStepError):
                return self._read_whole(fd)
            raise DamagedError(f"{self.path}: {problem}") from None

    def _read_from_offset(self, fd: int) -> Documents:
        """Read from the offset; it only moves if everything that follows is consistent."""
        # Only up to this size: what a writer appends while we read would not match the old end of the file.
        size = os.fstat(fd).st_size
        if size < self._offset:
            raise OutOfStepError("shorter than before")
        if self._offset == 0:
            first_line, newline, _ = os.pread(fd, HEADER_BYTES, 0).partition(b"\n")
            if not newline and is_torn_header(first_line, self.path.stem):
                return []
            self.table = table_name(first_line) if newline else None
            if self.table is None:
                return self._read_whole(fd)
            offset = len(first_line)
        else:
            offset = self._offset
        block = pread(fd, offset - len(self._last_line), size)
        if not block.startswith(self._last_line):
            raise OutOfStepError("its last document changed")
        block = block[len(self._last_line) :]
        documents, read_bytes = parse(block, self.num_documents)
        if may_be_resaved(block[read_bytes:]):
            with suppress(OutOfStepError):
                return self._read_whole(fd)
        if documents:
            self._last_line = block[block.rfind(b"\n", 0, read_bytes) + 1 : read_bytes]
        self._offset = offset + read_bytes
        self.num_documents += len(documents)
        return documents

    def _read_whole(self, fd: int) -> Documents:
        """Return all documents of valid JSON in any layout; caches an unchanged file. Raises OutOfStepError."""
        stat = os.fstat(fd)
        stamp = stamp_of(stat)
        if stamp is not None and stamp == self._whole_at and self._whole_problem:
            raise OutOfStepError(self._whole_problem)
        self._whole_at, self._whole_problem = stamp, ""
        try:
            documents = parse_any_layout(pread(fd, 0, stat.st_size), self.path.stem)
        except OutOfStepError as problem:
            self._whole_problem = str(problem)
            raise
        self._restart()
        self.table, self.is_resaved, self.num_documents = self.path.stem, True, len(documents)
        return documents

    def _restart(self) -> None:
        """Start over from the beginning of the file, if anything was read."""
        if self._offset or self.is_resaved:
            self.restarts += 1
        self.table = None
        self.num_documents = 0
        self.is_resaved = False
        self._offset = 0
        self._last_line = b""
        self._inode = None


def read_table(path: Path) -> Documents:
    """Return all complete documents of a record file, in order. Raises StoreError."""
    return TableTail(path).read_new()


def read_some(path: Path, wanted: range) -> list[tuple[int, Documents]]:
    """Return the `wanted` documents of a record file, without reading those before them, and its last document.

    Args:
        wanted: places in the file, from 0, with a step of 1; those after the end are ignored.
    Returns:
        Two parts: the number of documents before each, and the documents. Empty if the file cannot be read, is too
        short, is being written, has another layout or is damaged there; `TableTail` says why.
    """
    try:
        fd = open_regular(path)
    except OSError:
        return []
    try:
        return _read_some(fd, wanted)
    except (OSError, OutOfStepError):
        return []
    finally:
        os.close(fd)


def _read_some(fd: int, wanted: range) -> list[tuple[int, Documents]]:
    size, last = os.fstat(fd).st_size, last_document(fd, 0)
    if last is None or pread(fd, last[2], size) != TAIL:
        return []
    number, document, _ = last
    start, stop = wanted.start, min(wanted.stop, number - 1)
    block = pread(fd, max(0, int(size * (start / number - _MARGIN))), int(size * (stop / number + _MARGIN)))
    ends = _ends_of_lines(block)
    first = parse_line(without_separator(block[ends[0] + 1 : ends[1]])) if len(ends) > 1 else None
    if first is None:
        return []
    before = first[0] - 1
    if not before <= start < stop < before + len(ends):
        return []
    some = block[ends[start - before] : ends[stop - before] - 1] + TAIL
    documents, _ = parse(b"," + some, start)
    return [(start, documents), (number - 1, [document])] if len(documents) == stop - start else []


def _ends_of_lines(block: bytes) -> np.ndarray:
    """Return the places of the newlines, rising, shape (lines,)."""
    return np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n"))


def parse(block: bytes, number: int) -> tuple[Documents, int]:
    r"""Parse the text after document `number`: ``\n}}\n``, or ``,\n`` and further documents.

    Return the complete documents and their number of bytes; a last line without its newline is ignored.
    """
    if block == TAIL:
        return [], 0
    first = block.find(b"\n")
    if first < 0 or without_separator(block[:first]):
        raise OutOfStepError(f"line {number + 1}: does not end where it did")
    at_once = parse_at_once(block, number)
    if at_once is not None:
        return at_once, len(block) - len(TAIL)
    lines = block.split(b"\n")
    documents: Documents = []
    read_bytes, separator = 0, len(lines[0])
    for index, line in enumerate(lines[1:-1], start=1):
        whole = without_separator(line)
        parsed = parse_line(whole)
        due = number + len(documents) + 1
        if parsed is None:
            if any(parse_line(without_separator(later)) for later in lines[index + 1 :]):
                raise OutOfStepError(f"line {due + 1}: not a whole document, yet others follow")
            break
        if parsed[0] != due:
            raise OutOfStepError(f"line {due + 1}: document {parsed[0]} where {due} is due")
        documents.append(parsed[1])
        read_bytes += separator + 1 + len(whole)
        separator = len(line) - len(whole)
    return documents, read_bytes


def parse_at_once(block: bytes, number: int) -> Documents | None:
    """Parse all documents of a block at once, several times as fast as line by line; None if anything is unusual.

    Accepts flat documents that fill a line each and end with the table. One brace per document, and a brace and a comma
    before each new line: then no document and no text can contain what looks like another.
    """
    content, ends = np.frombuffer(block, np.uint8), _ends_of_lines(block)
    num_documents = len(ends) - 2  # without the two ends of lines of the closing brackets
    if num_documents < 1 or not block.endswith(TAIL) or np.count_nonzero(content == ord("{")) != num_documents:
        return None
    between = ends[1:-2]
    if not all((content[between + place] == byte).all() for place, byte in ((-2, ord("}")), (-1, ord(",")))):
        return None
    try:
        table = orjson.loads(b"{" + memoryview(block)[int(ends[0]) + 1 : -2])
    except orjson.JSONDecodeError:
        return None
    is_numbered = list(table) == list(map(str, range(number + 1, number + num_documents + 1))) and b"\\" not in block
    documents = list(table.values())
    return documents if is_numbered and set(map(type, documents)) == {dict} else None


class TailStorage(Storage):
    """A read-only TinyDB storage: reads only complete documents, and only new ones each time.

    Stock ``TinyDB(path)`` also works on a file that is not being written.
    """

    def __init__(self, path: Path | str) -> None:
        self._tail = TableTail(Path(path))
        self._documents: dict[str, dict[str, Any]] = {}
        self._restarts = 0

    def read(self) -> dict[str, dict[str, Any]]:
        new = self._tail.read_new()
        if self._tail.restarts != self._restarts:
            self._restarts = self._tail.restarts
            self._documents = {}
        for document in new:
            self._documents[str(len(self._documents) + 1)] = document
        return {self._tail.table: dict(self._documents)} if self._tail.table else {}

    def write(self, data: dict[str, dict[str, Any]]) -> None:
        raise StoreError(f"{self._tail.path}: records are read here, never changed")


class _UncachedTable(Table):
    """A table without a query cache, because the file grows without TinyDB knowing."""

    def __init__(self, storage: Storage, name: str) -> None:
        super().__init__(storage, name, cache_size=0)


class _ReadOnlyTinyDB(TinyDB):
    table_class = _UncachedTable  # type: ignore[assignment]


def open_readonly(path: Path | str) -> TinyDB:
    """Open a record file for queries: ``open_readonly(p).table("tasks").search(where("task") < 50)``."""
    return _ReadOnlyTinyDB(path, storage=TailStorage)
