"""Documents of one task out of a long record file, found by bisection: tasks never decrease from line to line."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from lop_engine.errors import StoreError, why
from lop_engine.files import open_regular
from lop_engine.store.layout import lines_backwards, lines_forwards, parse_line, table_name, without_separator
from lop_engine.store.reader import Documents, OutOfStepError

_ATTEMPTS = 3
_PAUSE_S = 0.005
#: Nearer than this the rest is read line by line.
_NEAR_BYTES = 32 * 1024
_HEADER_BYTES = 256

_T = TypeVar("_T")


def read_task(path: Path, task: int) -> Documents:
    """All whole documents whose "task" is `task`, in order; none if the file does not exist. Raises StoreError."""
    for _ in range(_ATTEMPTS):
        try:
            return _with_file(path, lambda fd, first: _read_task(fd, first, task), otherwise=[])
        except OutOfStepError as problem:
            reason = problem
            time.sleep(_PAUSE_S)
    raise StoreError(f"{path}: {reason}")


def tail_task(path: Path) -> int | None:
    """The task of the last whole document, None if there is none yet; only the end is read. Raises StoreError."""
    return _with_file(path, _tail_task, otherwise=None)


def _with_file(path: Path, read: Callable[[int, int], _T], otherwise: _T) -> _T:
    """What `read` makes of the open file and the offset of its first document; `otherwise` while there is none."""
    try:
        fd = open_regular(path)
        try:
            first_line, newline, _ = os.pread(fd, _HEADER_BYTES, 0).partition(b"\n")
            if not newline and len(first_line) < _HEADER_BYTES:
                return otherwise
            if table_name(first_line) is None:
                raise StoreError(f"{path}: line 1: not a record file (one document a line)")
            return read(fd, len(first_line) + 1)
        finally:
            os.close(fd)
    except FileNotFoundError:
        return otherwise
    except (KeyError, TypeError):
        raise StoreError(f"{path}: a document does not say its task") from None
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {why(error)}") from None


def _read_task(fd: int, first: int, task: int) -> Documents:
    # What a writer appends while we read is left for the next time.
    low, high = first, os.fstat(fd).st_size
    end = high
    while high - low > _NEAR_BYTES:
        middle = (low + high) // 2
        found = next(_whole(lines_forwards(fd, _next_line(fd, middle, end), end)), None)
        if found and found[2]["task"] < task:
            low = found[0]
        else:
            high = middle
    documents: Documents = []
    last = 0
    for _, number, document in _whole(lines_forwards(fd, low, end)):
        due = last + 1
        # Where the search ends stands an earlier task, or the first document of all.
        if number != due and (last or document["task"] >= task):
            raise OutOfStepError(f"line {due + 1}: document {number} where {due} is due")
        last = number
        if document["task"] > task:
            break
        if document["task"] == task:
            documents.append(document)
    return documents


def _next_line(fd: int, offset: int, end: int) -> int:
    """Where the first line begins behind `offset`; `end` if there is none."""
    _, line = next(lines_forwards(fd, offset, end), (end, b""))
    return min(end, offset + len(line) + 1)


def _tail_task(fd: int, first: int) -> int | None:
    lines = lines_backwards(fd, first)
    next(lines)  # behind the last end of line stands nothing, or what is not there yet
    last = next(_whole(lines), None)
    return last[2]["task"] if last else None


def _whole(lines: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """(Offset, number, document) of the lines that are whole documents. Raises KeyError or TypeError: no task."""
    for offset, line in lines:
        if parsed := parse_line(without_separator(line)):
            if not isinstance(parsed[1]["task"], int):
                raise TypeError
            yield offset, *parsed
