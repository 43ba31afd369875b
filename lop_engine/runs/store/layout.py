"""The bytes of a record file: what writer and reader agree on."""

import os
import re
from collections.abc import Iterator
from typing import Any

import orjson

Documents = list[dict[str, Any]]

#: Closes the table and the file; every append overwrites it and writes it anew.
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
    """The table that a file's first line opens, or None if it is not our layout."""
    match = _HEADER.fullmatch(first_line)
    return match[1].decode() if match else None


def document_line(number: int, document: dict) -> bytes:  # type: ignore[type-arg]
    return b'"%d": %b' % (number, orjson.dumps(document))


def without_separator(line: bytes) -> bytes:
    """A line without what stands between documents: a comma, or one that an append tore off just behind it."""
    line = line.rstrip(b"\r")
    return line[:-3] if line.endswith(b",}}") else line.removesuffix(b",")


def parse_line(line: bytes) -> tuple[int, dict] | None:  # type: ignore[type-arg]
    """Return (document number, document) of a line without its comma, or None if it is not whole."""
    match = _LINE.fullmatch(line)
    if not match:
        return None
    try:
        return int(match[1]), orjson.loads(match[2])
    except orjson.JSONDecodeError:
        return None


def lines_backwards(fd: int, first: int) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, line) from the end of an open file back to the line at `first`, reading only what is asked for.

    What stands behind the last end of line comes first, though it be nothing.
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
    """Return (number, document, end offset) of the last whole line of an open file after `first`, if any."""
    for start, line in lines_backwards(fd, first):
        whole = without_separator(line)
        if parsed := parse_line(whole):
            return *parsed, start + len(whole)
    return None


def lines_forwards(fd: int, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, line) from `start` on up to the last end of line before `end`, reading only what is asked for."""
    rest = b""
    position = start
    while position < end and (block := os.pread(fd, min(end - position, _CHUNK_BYTES), position)):
        position += len(block)
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            yield start, line
            start += len(line) + 1


def pread(fd: int, start: int, end: int) -> bytes:
    """The bytes from `start` to `end`, or to the end of the file."""
    parts = []
    while start < end and (part := os.pread(fd, min(end - start, 1 << 24), start)):
        parts.append(part)
        start += len(part)
    return b"".join(parts)
