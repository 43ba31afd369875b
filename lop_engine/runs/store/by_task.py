"""Finds the documents of one task in a long record file by bisection: task numbers never decrease."""

import os
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import orjson

from lop_engine.errors import StoreError, why
from lop_engine.files import open_regular
from lop_engine.runs.store.layout import (
    HEADER_BYTES,
    Documents,
    OutOfStepError,
    Stamp,
    ends_otherwise,
    is_torn_header,
    last_document,
    lines_forwards,
    parse_any_layout,
    parse_line,
    stamp_of,
    table_name,
    without_separator,
)

_ATTEMPTS = 3
_PAUSE_S = 0.005
#: Ranges shorter than this are read line by line.
_NEAR_BYTES = 32 * 1024

_T = TypeVar("_T")


class _OtherLayoutError(Exception):
    """The file must be parsed completely."""


def read_task(path: Path, task: int) -> Documents:
    """Return all complete documents of `task`, in order; none if the file does not exist. Raises StoreError."""
    problem: OutOfStepError | None = None
    for _ in range(_ATTEMPTS):
        try:
            return _with_file(path, lambda fd, first: _read_task(fd, first, task), otherwise=[])
        except _OtherLayoutError:
            break
        except OutOfStepError as found:
            problem = found
            time.sleep(_PAUSE_S)
    try:
        documents: Documents = orjson.loads(_whole(path).get(task, b"[]"))
    except StoreError:
        if problem is None:
            raise
        raise StoreError(f"{path}: {problem}") from None
    return documents


def tail_task(path: Path) -> int | None:
    """Return the task of the last complete document, or None; reads only the end. Raises StoreError."""
    try:
        return _with_file(path, _tail_task, otherwise=None)
    except _OtherLayoutError:
        return max(_whole(path), default=None)


def _with_file(path: Path, read: Callable[[int, int], _T], otherwise: _T) -> _T:
    """Return what `read` returns for the open file and the offset of its first document; `otherwise` if missing."""
    try:
        fd = open_regular(path)
        try:
            first_line, newline, _ = os.pread(fd, HEADER_BYTES, 0).partition(b"\n")
            if not newline and is_torn_header(first_line, path.stem):
                return otherwise
            first = len(first_line) + 1
            if not newline or table_name(first_line) is None or _is_resaved(fd, first, path):
                raise _OtherLayoutError
            return read(fd, first)
        finally:
            os.close(fd)
    except FileNotFoundError:
        return otherwise
    except (KeyError, TypeError):
        raise StoreError(f"{path}: a document has no task number") from None
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {why(error)}") from None


def _is_resaved(fd: int, first: int, path: Path) -> bool:
    """Whether a file is valid JSON although its lines in our layout end before the file does."""
    last = last_document(fd, first)
    if not ends_otherwise(fd, last[2] if last else first - 1):
        return False
    try:
        _whole(path)
    except StoreError:
        return False
    return True


def _whole(path: Path) -> dict[int, bytes]:
    """Return documents by task, as JSON, of a file in any layout; caches an unchanged file. Raises StoreError."""
    try:
        stamp = stamp_of(os.stat(path))
        documents = _parsed_whole(path, stamp) if stamp else _parsed_whole.__wrapped__(path, stamp)
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {why(error)}") from None
    if isinstance(documents, str):
        raise StoreError(f"{path}: {documents}")
    return documents


@lru_cache(maxsize=2)
def _parsed_whole(path: Path, stamp: Stamp | None) -> dict[int, bytes] | str:
    """Return documents by task, or the file's error. They are kept as JSON, which takes a fifth of the memory."""
    by_task: dict[int, Documents] = {}
    try:
        for document in parse_any_layout(path.read_bytes(), path.stem):
            by_task.setdefault(_task_of(document), []).append(document)
        return {task: orjson.dumps(documents) for task, documents in by_task.items()}
    except OutOfStepError as problem:
        return str(problem)
    except (KeyError, TypeError):
        return "a document has no task number"


def _read_task(fd: int, first: int, task: int) -> Documents:
    # What a writer appends while we read is left for the next call.
    low, high = first, os.fstat(fd).st_size
    end = high
    while high - low > _NEAR_BYTES:
        middle = (low + high) // 2
        first_whole = next(_documents(lines_forwards(fd, _next_line(fd, middle, end), end)), None)
        if first_whole and first_whole[2]["task"] < task:
            low = first_whole[0]
        else:
            high = middle
    documents: Documents = []
    last = 0
    for _, number, document in _documents(lines_forwards(fd, low, end)):
        due = last + 1
        # The search ends at an earlier task, or at the first document.
        if number != due and (last or document["task"] >= task):
            raise OutOfStepError(f"line {due + 1}: document {number} where {due} is due")
        last = number
        if document["task"] > task:
            break
        if document["task"] == task:
            documents.append(document)
    return documents


def _next_line(fd: int, offset: int, end: int) -> int:
    """Return where the first line after `offset` begins; `end` if missing."""
    _, line = next(lines_forwards(fd, offset, end), (end, b""))
    return min(end, offset + len(line) + 1)


def _tail_task(fd: int, first: int) -> int | None:
    last = last_document(fd, first)
    return _task_of(last[1]) if last else None


def _documents(lines: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Yield (offset, number, document) of complete documents. Raises KeyError or TypeError without a task."""
    for offset, line in lines:
        if parsed := parse_line(without_separator(line)):
            _task_of(parsed[1])
            yield offset, *parsed


def _task_of(document: dict[str, Any]) -> int:
    """Return the task of a document. Raises KeyError or TypeError if it has none."""
    if not isinstance(document["task"], int):
        raise TypeError
    return document["task"]
