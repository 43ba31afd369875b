"""The configuration keys in which settings differ (`lop diff`)."""

import json
from collections.abc import Sequence
from typing import Any

from lop_engine.analysis import Group
from lop_engine.analysis.grid import points
from lop_tui.words.console import plural
from lop_tui.words.sheets import Cell, Column, Sheet


def sheet_of_keys(groups: Sequence[Group], runs_dirs: str) -> Sheet:
    """Return a row per setting, and a column for each key that differs."""
    of_groups = points(groups, with_extent=True)
    keys = list(dict.fromkeys(key for point in of_groups for key in point))
    rows = [
        [Cell(group.label), *(Cell(as_text(point[key]) if key in point else "-") for key in keys)]
        for group, point in zip(groups, of_groups, strict=True)
    ]
    codes = {group.example.code for group in groups if group.example}
    notes = ["these settings were trained by different code"] if len(codes) > 1 else []
    if any(key not in point for point in of_groups for key in keys):
        notes.insert(0, "-: the key has no effect there")
    records = [
        {"setting": group.label} | {key: point.get(key) for key in keys}
        for group, point in zip(groups, of_groups, strict=True)
    ]
    what = f"{plural(len(keys), 'key')} in which they differ" if keys else "no key differs"
    return Sheet(
        f"{len(groups)} settings: {what}",
        [Column("setting", is_number=False), *(Column(key) for key in keys)],
        rows,
        notes,
        records,
        {"runs_dir": runs_dirs, "keys": keys, "settings": records, "notes": notes},
    )


def as_text(value: Any) -> str:
    """Return a configuration value as text; strings without quotes."""
    return value if isinstance(value, str) and value else json.dumps(value)
