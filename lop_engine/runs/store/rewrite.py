"""Replace a record file with one in our layout, atomically, and keep the old file beside it."""

import os
import shutil
from collections.abc import Iterable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from lop_engine.files import replacing
from lop_engine.runs.store.layout import TAIL, document_line, header


def rewrite_table(path: Path, table: str, documents: Iterable[Mapping[str, Any]], old: str) -> Path:
    """Write `documents`, numbered from 1, to `path`; return the path of the kept old file.

    The run's lock must be held. Everything is on the disk when this returns, and until then `path` is always whole.

    Args:
        old: the suffix of the kept file's name, before a number: ``tasks.json.damaged-1``.
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
    """Hard-link the file to a second name beside it; copy it if the file system has no links."""
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
