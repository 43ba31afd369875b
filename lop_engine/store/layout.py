"""The bytes of a record file: what writer and reader agree on."""

import re

import orjson

#: Closes the table and the file; every append overwrites it and writes it anew.
TAIL = b"\n}}\n"

_LINE = re.compile(rb'"([1-9][0-9]*)": (\{.*\})', re.DOTALL)
_HEADER = re.compile(rb'\{"([A-Za-z_][A-Za-z0-9_]*)": \{')


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
