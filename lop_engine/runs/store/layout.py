"""The byte layout of a record file, shared by writer and reader, and files that other programs have saved.

Our layout is read line by line. Valid TinyDB JSON in another layout (saved again by stock TinyDB, an editor or jq,
with other line endings, with a BOM) is parsed completely, and only when it has changed.
"""

import json
import math
import os
import re
import time
from collections.abc import Iterator
from typing import Any

import orjson

Documents = list[dict[str, Any]]

#: Closes the table and the file; every append overwrites and rewrites it.
TAIL = b"\n}}\n"

#: Maximum length of our first line.
HEADER_BYTES = 256

_LEAST_CHUNK_BYTES, _CHUNK_BYTES = 4 * 1024, 64 * 1024

#: An editor may have added white space around the parts of a line.
_LINE = re.compile(rb'\s*"([1-9][0-9]*)"\s*:\s*(\{.*\})\s*', re.DOTALL)
_HEADER = re.compile(rb'\{"([A-Za-z_][A-Za-z0-9_]*)": \{')


class OutOfStepError(Exception):
    """The file does not continue what was read: it is being written, was replaced, or is damaged."""


def header(table: str) -> bytes:
    return b'{"' + table.encode() + b'": {'


def table_name(first_line: bytes) -> str | None:
    """Return the table that a file's first line opens, or None if it is not our layout."""
    match = _HEADER.fullmatch(first_line)
    return match[1].decode() if match else None


def document_line(number: int, document: dict) -> bytes:  # type: ignore[type-arg]
    return b'"%d": %b' % (number, orjson.dumps(document))


def without_separator(line: bytes) -> bytes:
    """Return a line without the comma between documents, even if an append was interrupted just after it."""
    line = line.rstrip(b"\r")
    return line[:-3] if line.endswith(b",}}") else line.removesuffix(b",")


def parse_line(line: bytes) -> tuple[int, dict] | None:  # type: ignore[type-arg]
    """Return (document number, document) of a line without its comma, or None if it is incomplete."""
    match = _LINE.fullmatch(line)
    if not match:
        return None
    try:
        return int(match[1]), orjson.loads(match[2])
    except orjson.JSONDecodeError:
        return None


def lines_backwards(fd: int, first: int) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, line) from the end of an open file back to the line at `first`, reading only as needed.

    Yield the (possibly empty) text after the last newline first.
    """
    end = os.fstat(fd).st_size
    rest = b""
    chunk = _LEAST_CHUNK_BYTES
    while end > first:
        start, chunk = max(first, end - chunk), min(2 * chunk, _CHUNK_BYTES)
        block = os.pread(fd, end - start, start) + rest
        lines = block.split(b"\n")
        offset = start + len(block)
        for line in reversed(lines[1:]):
            offset -= len(line)
            yield offset, line
            offset -= 1
        rest, end = lines[0], start
    yield first, rest


def last_document(fd: int, first: int) -> tuple[int, dict[str, Any], int] | None:
    """Return (number, document, end offset) of the last complete line of an open file after `first`, if any."""
    for start, line in lines_backwards(fd, first):
        whole = without_separator(line)
        if parsed := parse_line(whole):
            return *parsed, start + len(whole)
    return None


def lines_forwards(fd: int, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, line) from `start` to the last newline before `end`, reading only as needed."""
    rest = b""
    position = start
    while position < end and (block := os.pread(fd, min(end - position, _CHUNK_BYTES), position)):
        position += len(block)
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            yield start, line
            start += len(line) + 1


def pread(fd: int, start: int, end: int) -> bytes:
    """Return the bytes from `start` to `end`, or to the end of the file."""
    parts = []
    while start < end and (part := os.pread(fd, min(end - start, 1 << 24), start)):
        parts.append(part)
        start += len(part)
    return b"".join(parts)


#: A file that changed less than this ago may change again without a new time stamp.
_SETTLED_S = 2.0
#: Maximum distance in bytes of the closing brackets of the table and of the file, including white space.
_CLOSING_BYTES = 256

Stamp = tuple[int, ...]


def stamp_of(stat: os.stat_result) -> Stamp | None:
    """Return a stamp of a file's content; None while the file is too new for that."""
    if abs(time.time() - stat.st_mtime) < _SETTLED_S:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size


def may_be_resaved(rest: bytes) -> bool:
    """Whether a file with `rest` after its last line in our layout may be valid JSON."""
    return not TAIL.startswith(rest) and b"".join(rest[-_CLOSING_BYTES:].split()).endswith(b"}}")


def ends_otherwise(fd: int, offset: int) -> bool:
    """The same for an open file whose last line in our layout ends at `offset`."""
    size = os.fstat(fd).st_size
    return may_be_resaved(pread(fd, max(offset, size - _CLOSING_BYTES), size))


def parse_any_layout(content: bytes, table: str) -> Documents:
    """Return the documents of `table` in the order of their tasks, or of their numbers if they have no task.

    A file with our first line must number its documents 1, 2, ...: a missing number is damage.

    Raises:
        OutOfStepError: not valid JSON, or no such table; names the line if known.
    """
    parsed = _parse(content)
    documents = parsed.get(table) if isinstance(parsed, dict) else None
    if not isinstance(documents, dict):
        if isinstance(parsed, dict) and table in parsed:
            raise OutOfStepError(f'line 1: not a record file: table "{table}" is not a JSON object of documents')
        tables = ", ".join(f'table "{name}"' for name in list(parsed)[:3]) if isinstance(parsed, dict) else ""
        raise OutOfStepError(f'line 1: not a record file: holds {tables or "no table"}, expected table "{table}"')
    by_number = {}
    for key, document in documents.items():
        if not key.removeprefix("-").isdecimal() or not isinstance(document, dict):
            raise OutOfStepError(f'table "{table}": {json.dumps(key)[:40]} is not a numbered document')
        by_number[int(key)] = document
    numbers = sorted(by_number)
    if table_name(content[:HEADER_BYTES].partition(b"\n")[0]) and numbers != list(range(1, len(numbers) + 1)):
        raise OutOfStepError("line 2: its documents are not numbered 1, 2, ...")
    return in_order([by_number[number] for number in numbers])


def in_order(documents: Documents) -> Documents:
    """Sort the documents by task; keep their order if one has no task."""
    if all(type(document.get("task")) is int for document in documents):
        return sorted(documents, key=lambda document: document["task"])
    return documents


def load_json(text: str | bytes) -> Any:
    """Parse JSON as permissively as Python does; NaN and infinities become None. Raises ValueError."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as problem:
        try:
            parsed = json.loads(text, parse_constant=lambda _: None, parse_float=_finite)
            return orjson.loads(json.dumps(parsed, ensure_ascii=False).encode(errors="replace"))
        except (ValueError, RecursionError):
            raise problem from None


def is_torn_header(content: bytes, table: str) -> bool:
    """Whether a file only has a part of our first line, as after a power failure."""
    return header(table).startswith(content)


def _parse(content: bytes) -> Any:
    encoding = json.detect_encoding(content)
    try:
        return load_json(content if encoding == "utf-8" else content.decode(encoding))
    except UnicodeDecodeError:
        raise OutOfStepError("line 1: not a record file: not UTF-8 text") from None
    except orjson.JSONDecodeError as error:
        raise OutOfStepError(f"line {error.lineno}: not a record file: not valid JSON ({error.msg})") from None


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None
