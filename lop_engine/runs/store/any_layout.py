"""Valid TinyDB JSON in any layout: saved again by stock TinyDB, an editor or jq, with other line endings, with a BOM.

Our own layout is read line by line. A file in any other one is parsed whole, and only when it has changed.
"""

import json
import math
import os
import time
from typing import Any

import orjson

from lop_engine.runs.store.layout import HEADER_BYTES, TAIL, Documents, OutOfStepError, header, pread, table_name

#: A file that changed less than this ago may change again without a new time stamp.
_SETTLED_S = 2.0
#: Maximum distance in bytes of the closing brackets of the table and of the file, including white space.
_CLOSING_BYTES = 256

Stamp = tuple[int, ...]


def stamp_of(stat: os.stat_result) -> Stamp | None:
    """Identifies a file's content; None while the file is too new for that."""
    if abs(time.time() - stat.st_mtime) < _SETTLED_S:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size


def may_be_resaved(rest: bytes) -> bool:
    """Whether a file with `rest` after its last line in our layout may still be valid JSON."""
    return not TAIL.startswith(rest) and b"".join(rest[-_CLOSING_BYTES:].split()).endswith(b"}}")


def ends_otherwise(fd: int, offset: int) -> bool:
    """The same for an open file whose last line in our layout ends at `offset`."""
    size = os.fstat(fd).st_size
    return may_be_resaved(pread(fd, max(offset, size - _CLOSING_BYTES), size))


def parse_any_layout(content: bytes, table: str) -> Documents:
    """The documents of `table` in the order of their tasks, or of their numbers if they have no task.

    A file whose first line is ours must number its documents 1, 2, ...: there a missing number is damage.

    Raises:
        OutOfStepError: not valid JSON, or no such table; names the line if known.
    """
    found = _parse(content)
    documents = found.get(table) if isinstance(found, dict) else None
    if not isinstance(documents, dict):
        tables = ", ".join(f'table "{name}"' for name in list(found)[:3]) if isinstance(found, dict) else ""
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
    """The documents sorted by task; in their present order if one has no task."""
    if all(type(document.get("task")) is int for document in documents):
        return sorted(documents, key=lambda document: document["task"])
    return documents


def load_json(text: str | bytes) -> Any:
    """Parse JSON as permissively as Python does; NaN and infinities become None. Raises ValueError."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as problem:
        try:
            found = json.loads(text, parse_constant=lambda _: None, parse_float=_finite)
            return orjson.loads(json.dumps(found, ensure_ascii=False).encode(errors="replace"))
        except (ValueError, RecursionError):
            raise problem from None


def is_torn_header(content: bytes, table: str) -> bool:
    """Whether a file holds only part of our first line, as after a power failure."""
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
