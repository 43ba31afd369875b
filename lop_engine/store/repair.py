"""Save what can be saved of a damaged record file."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from lop_engine.errors import StoreError
from lop_engine.files import replacing
from lop_engine.store.layout import TAIL, document_line, header, parse_line, table_name, without_separator


@dataclass(frozen=True)
class Repaired:
    """What became of a file."""

    kept: int
    """Documents that were whole; they are numbered anew, in their order."""
    dropped: list[int]
    """Lines that were none, counted from 1."""
    backup: Path
    """The file as it was."""


def repair_table(path: Path, table: str) -> Repaired:
    """Rewrite a record file with its whole documents alone, and keep it as it was beside it.

    The run's lock must be held: nobody else may write.

    Raises:
        StoreError: the file holds another table.
    """
    lines = path.read_bytes().split(b"\n")
    found = table_name(lines[0])
    if found not in (None, table):
        raise StoreError(f'{path}: holds table "{found}", expected "{table}"; it cannot be repaired')
    documents, dropped = [], []
    for number, line in enumerate(lines[1:], start=2):
        parsed = parse_line(without_separator(line))
        if parsed:
            documents.append(parsed[1])
        elif line not in (b"", *TAIL.split(b"\n")):
            dropped.append(number)
    backup = _free_name(path)
    shutil.copy2(path, backup)
    with replacing(path, durable=True) as file:
        file.write(header(table))
        for number, document in enumerate(documents, start=1):
            file.write((b"\n" if number == 1 else b",\n") + document_line(number, document))
        file.write(TAIL)
    return Repaired(len(documents), dropped, backup)


def _free_name(path: Path) -> Path:
    number = 1
    while (candidate := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    return candidate
