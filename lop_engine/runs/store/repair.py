"""Repairs a damaged record file, or rewrites one in our layout; the old file is kept beside it."""

import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from lop_engine.errors import StoreError
from lop_engine.files import open_to_read, replacing
from lop_engine.runs.store.layout import (
    HEADER_BYTES,
    TAIL,
    Documents,
    OutOfStepError,
    document_line,
    header,
    in_order,
    load_json,
    parse_any_layout,
    table_name,
)


def rewrite_table(path: Path, table: str, documents: Iterable[Mapping[str, Any]], old: str) -> Path:
    """Write `documents`, numbered from 1, to `path`; return the path of the old file, which is kept.

    The run's lock must be held. Everything is on disk when this returns, and `path` is complete at any time.

    Args:
        old: the suffix of the old file's name, before a number: ``tasks.json.damaged-1``.
    Raises:
        OSError: writing failed; `path` is unchanged.
    """
    backup = _keep(path, old)
    with replacing(path, durable=True) as file:
        file.write(header(table))
        for number, document in enumerate(documents, start=1):
            file.write((b"\n" if number == 1 else b",\n") + document_line(number, dict(document)))
        file.write(TAIL)
    return backup


def _keep(path: Path, word: str) -> Path:
    """Hard-link the file to a second name; copy it if the file system has no links."""
    for number in count(1):
        backup = path.with_name(f"{path.name}.{word}-{number}")
        try:
            os.link(path, backup)
        except FileExistsError:
            continue
        except OSError:
            with open(path, "rb") as source, replacing(backup, durable=True) as file:
                shutil.copyfileobj(source, file)
        return backup
    raise AssertionError


_NUMBER = re.compile(r'"([0-9]+)"\s*:\s*(?=\{)')
_DECODER = json.JSONDecoder()


@dataclass(frozen=True)
class Repaired:
    """Result of a repair."""

    num_documents: int
    """Number of complete documents; they are numbered again, in order."""
    dropped: list[int]
    """Lines with other content, counted from 1."""
    backup: Path
    """The file before the repair."""


def repair_table(path: Path, table: str) -> Repaired:
    """Rewrite a record file with only its complete documents, and keep the old file beside it.

    The run's lock must be held, so that nothing else writes.

    Raises:
        StoreError: the file holds another table.
        OSError: it cannot be read or written.
    """
    documents, dropped = salvage(_content(path), table, str(path))
    return Repaired(len(documents), dropped, rewrite_table(path, table, documents, "damaged"))


def num_whole_documents(path: Path) -> int:
    """Return how many documents `repair_table` would keep; 0 if the file cannot be read or holds another table."""
    try:
        return len(salvage(_content(path), path.stem, str(path))[0])
    except (StoreError, OSError):
        return 0


def _content(path: Path) -> bytes:
    with open_to_read(path) as file:
        return file.read()


def salvage(content: bytes, table: str, where: str) -> tuple[Documents, list[int]]:
    """Return the complete documents of a file, and lines with other content. Raises StoreError for another table."""
    name = table_name(content[:HEADER_BYTES].partition(b"\n")[0])
    if name not in (None, table):
        raise StoreError(f'{where}: holds table "{name}", expected "{table}"; it cannot be repaired')
    try:
        return parse_any_layout(content, table), []
    except OutOfStepError:
        pass
    text = content.decode("utf-8-sig", errors="surrogateescape")
    documents: Documents = []
    dropped: list[int] = []
    seen = set()
    position = 0
    line = 1
    for number, start, end, document in _documents(text):
        line = _drop(text, position, start, line, table, dropped)
        line += text.count("\n", start, end)
        position = end
        # A file that was being overwritten has the end of its old content after the new.
        key = number, document.get("task"), document.get("epoch")
        if key not in seen:
            documents.append(document)
        seen.add(key)
    _drop(text, position, len(text), line, table, dropped)
    return in_order(documents), dropped


def _documents(text: str) -> Iterator[tuple[int, int, int, dict[str, Any]]]:
    """Yield (number, start, end, document) of each ``"<number>": {...}`` that a JSON decoder can read."""
    position = 0
    while match := _NUMBER.search(text, position):
        position = match.end()
        try:
            _, end = _DECODER.raw_decode(text, position)
            document = load_json(text[position:end].encode())
        except (ValueError, RecursionError):
            continue
        if _fills_lines(text, match.start(), end) or _is_record(document):
            yield int(match[1]), match.start(), end, document
            position = end


def _fills_lines(text: str, start: int, end: int) -> bool:
    """Whether a document fills a line, as in our layout."""
    is_one = text[max(0, start - 1) : start] in ("", "\n") and "\n" not in text[start:end]
    return is_one and text[end : end + 3].lstrip(",\r")[:1] in ("", "\n", "}")


def _is_record(document: dict[str, Any]) -> bool:
    """Whether this is a document, and not part of a half-written one or merged with the next."""
    holds_others = any(key.isdecimal() and isinstance(value, dict) for key, value in document.items())
    return type(document.get("task")) is int and not holds_others


def _drop(text: str, start: int, end: int, line: int, table: str, dropped: list[int]) -> int:
    """Collect the lines between two documents with more than punctuation; return the line number of `end`."""
    between = text[start:end]
    opening = re.match(rf'\s*\{{\s*"{table}"\s*:\s*\{{', between) if start == 0 else None
    skipped = opening.end() if opening else 0
    first = line + between.count("\n", 0, skipped)
    for number, part in enumerate(between[skipped:].split("\n"), start=first):
        if part.strip(" \t\r,}") and number not in dropped[-1:]:
            dropped.append(number)
    return line + between.count("\n")
