"""What classes are called: WNIDs where somebody knows them."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from lop_engine.errors import DataError, why
from lop_engine.files import read_small

MAX_BYTES = 16 * 2**20


def class_names(labels: Sequence[int], known: Mapping[int, str], names_file: Path | None) -> list[str] | None:
    """The names of `labels`, each its own; None if they have none. A names file goes before what the source knows.

    Raises:
        DataError: two labels have one name, or a name cannot be kept.
    """
    where = str(names_file) if names_file else "the source"
    if names_file:
        known = read_names(names_file, labels)
    if not known:
        return None
    names = [known.get(label, str(label)) for label in labels]
    by_name: dict[str, int] = {}
    for label, name in zip(labels, names, strict=True):
        if not name or not name.isprintable() or len(name) > 255:
            raise DataError(f"{where}: the name of class {label}, {ascii(name)[:60]}, is not printable")
        if name in by_name:
            raise DataError(f'{where}: classes {by_name[name]} and {label} are both called "{name}"')
        by_name[name] = label
    return names


def read_names(path: Path, labels: Sequence[int]) -> dict[int, str]:
    """Read ``WNID LABEL anything`` lines (map_clsloc.txt), or one name a line in the order of the labels."""
    lines = check_names_file(path)
    pairs = [re.match(r"(\S+)\s+([0-9]{1,9})(\s|$)", line) for line in lines]
    names = {int(pair[2]): pair[1] for pair in pairs if pair}
    if all(pairs) and all(label in names for label in labels):
        return {label: names[label] for label in labels}
    if len(lines) == len(labels):
        return dict(zip(labels, lines, strict=True))
    if all(pairs):
        missing = next(label for label in labels if label not in names)
        raise DataError(f"{path}: names no class {missing}")
    raise DataError(f"{path}: {len(lines)} names for {len(labels)} classes; write one a line, or lines WNID LABEL")


def check_names_file(path: Path) -> list[str]:
    """The lines of a file of names. Raises DataError."""
    try:
        text = read_small(path, MAX_BYTES).decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {why(error)}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: not UTF-8 text") from None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise DataError(f"{path}: holds no names")
    return lines
