"""`lop diff`: the keys of the configuration in which settings differ."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lop_engine.analysis import Group, group_runs
from lop_engine.analysis.comparison import refuse_mixed
from lop_engine.analysis.grid import points
from lop_engine.errors import UserError
from lop_engine.runs.query import filter_runs
from lop_engine.runs.reading import RunsReader
from lop_engine.runs.selection import select
from lop_tui.commands.console import plural
from lop_tui.commands.reading import read_runs
from lop_tui.commands.sheets import Cell, Column, Sheet, check_format, put_out


@dataclass(frozen=True)
class Request:
    """What a person asked for."""

    runs_dir: Path
    names: Sequence[str]
    """Each names one setting or more; empty for all."""
    where: str
    form: str
    output: Path | None
    as_json: bool


def show_difference(request: Request) -> int:
    """Print a row a setting, a column for each key that differs; return 0. Raises UserError."""
    form = check_format("diff", request.form, request.output, request.as_json)
    read_runs("diff", request.runs_dir, request.where)
    snapshot = RunsReader(request.runs_dir).read()
    named = select(snapshot, request.names)
    groups = [group for group in group_runs(filter_runs(named, request.where)) if group.example and group.example.spec]
    refuse_mixed(groups)
    if len(groups) < 2:
        raise UserError(f"diff: {plural(len(groups), 'setting')} to compare; name two or more: lop diff bp cbp")
    put_out(_sheet(request, groups), form, request.output)
    return 0


def _sheet(request: Request, groups: Sequence[Group]) -> Sheet:
    found = points(groups, with_extent=True)
    keys = list(dict.fromkeys(key for point in found for key in point))
    rows = [
        [Cell(group.label), *(Cell(as_text(point[key]) if key in point else "-") for key in keys)]
        for group, point in zip(groups, found, strict=True)
    ]
    codes = {group.example.code for group in groups if group.example}
    notes = ["these settings were trained by different code"] if len(codes) > 1 else []
    if any(key not in point for point in found for key in keys):
        notes.insert(0, "-: the key has no effect there")
    records = [
        {"setting": group.label} | {key: point.get(key) for key in keys}
        for group, point in zip(groups, found, strict=True)
    ]
    what = f"{plural(len(keys), 'key')} in which they differ" if keys else "no key differs"
    return Sheet(
        f"{len(groups)} settings: {what}",
        [Column("setting", is_number=False), *(Column(key) for key in keys)],
        rows,
        notes,
        records,
        {"runs_dir": str(request.runs_dir), "keys": keys, "settings": records, "notes": notes},
    )


def as_text(value: Any) -> str:
    """A value of the configuration; words without quotes."""
    return value if isinstance(value, str) and value else json.dumps(value)
