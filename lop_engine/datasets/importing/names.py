"""What classes are called: WNIDs where somebody knows them."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from lop_engine.errors import DataError

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
        if not name or not name.isprintable() or len(name) > 200:
            raise DataError(f"{where}: the name of class {label}, {ascii(name)[:60]}, is no name that can be printed")
        if name in by_name:
            raise DataError(f'{where}: classes {by_name[name]} and {label} are both called "{name}"')
        by_name[name] = label
    return names


def read_names(path: Path, labels: Sequence[int]) -> dict[int, str]:
    """Read ``WNID LABEL anything`` lines (map_clsloc.txt), or one name a line in the order of the labels."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path}: too large for a list of names")
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: not UTF-8 text") from None
    pairs = [re.match(r"(\S+)\s+([0-9]{1,9})(\s|$)", line) for line in lines]
    if lines and all(pairs):
        names = {int(pair[2]): pair[1] for pair in pairs if pair}
        missing = [label for label in labels if label not in names]
        if missing:
            raise DataError(f"{path}: names no class {missing[0]}")
        return {label: names[label] for label in labels}
    if len(lines) != len(labels):
        raise DataError(f"{path}: {len(lines)} names for {len(labels)} classes; write one a line, or lines WNID LABEL")
    return dict(zip(labels, lines, strict=True))
