"""Replace a record file by one in our layout, in one step, and keep the old one beside it."""

import os
import shutil
from collections.abc import Iterable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from lop_engine.files import replacing
from lop_engine.store.layout import TAIL, document_line, header


def rewrite_table(path: Path, table: str, documents: Iterable[Mapping[str, Any]], old: str) -> Path:
    """Write `documents`, numbered from 1, to `path`; return where the file is kept that was there.

    The run's lock must be held. All is on the disk when this returns, and at any moment before it `path` is whole.

    Args:
        old: the word that the kept file's name ends in, before a number: ``tasks.json.damaged-1``.
    Raises:
        OSError: the disk refuses; `path` is as it was.
    """
    backup = _keep(path, old)
    with replacing(path, durable=True) as file:
        file.write(header(table))
        for number, document in enumerate(documents, start=1):
            file.write((b"\n" if number == 1 else b",\n") + document_line(number, dict(document)))
        file.write(TAIL)
    return backup


def _keep(path: Path, word: str) -> Path:
    """Give the file a second name beside its own; a copy where the file system has no links."""
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
