"""`lop list`: every setting at a glance, a line for all its seeds (`lop status` has a line a run)."""

import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from lop_engine.analysis import Group, group_runs, summarise
from lop_engine.query import filter_runs
from lop_engine.runs import RunsReader, RunView
from lop_tui.commands.console import say
from lop_tui.dashboard import formats


def show_list(runs_dir: Path, where: str, as_json: bool) -> int:
    """Print a line a setting; return 0 also when there is none. Raises QueryError."""
    runs = RunsReader(runs_dir).read().runs
    rows = [_row(group) for group in group_runs(filter_runs(runs, where))]
    if as_json:
        content = orjson.dumps({"runs_dir": str(runs_dir), "settings": rows}, option=orjson.OPT_INDENT_2)
        sys.stdout.buffer.write(content + b"\n")
        return 0
    console = Console()
    if not runs:
        say(console, f"no runs in {runs_dir}; start some with lop run CFG, or name another --runs-dir")
    elif not rows:
        say(console, f'none of the {len(runs)} runs in {runs_dir} matches --where "{where}"')
    else:
        console.print(_table(rows))
    return 0


def _row(group: Group) -> dict[str, Any]:
    done = [_tasks_recorded(run) for run in group.runs]
    summary = summarise(group)
    sizes, changes = zip(*map(_on_disk, group.runs), strict=True)
    return {
        "experiment": group.experiment,
        "setting": group.setting,
        "seeds": len(group.runs),
        "states": dict(Counter(run.state for run in group.runs).most_common()),
        "tasks_done": [min(done), max(done)],
        "num_tasks": group.num_tasks,
        "test_accuracy_last_tenth": summary.last if summary else None,
        "standard_error": summary.last_standard_error if summary else None,
        "bytes": sum(sizes),
        "changed_at": max(changes),
    }


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(caption="test %: mean and standard error over seeds, the last tenth that is done")
    table.add_column("experiment", no_wrap=True)
    for heading in ("setting", "seeds"):
        table.add_column(heading, overflow="fold")
    for heading in ("tasks", "test %", "size", "changed"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        first, last = row["tasks_done"]
        error = row["test_accuracy_last_tenth"], row["standard_error"]
        table.add_row(
            row["experiment"],
            row["setting"],
            ", ".join(f"{count} {state}" for state, count in row["states"].items()),
            f"{first}{f'-{last}' if last > first else ''}/{row['num_tasks']}",
            formats.with_error(100 * error[0], 100 * error[1]) if error[0] is not None else "-",
            f"{row['bytes'] / 2**20:.1f} MB",
            f"{formats.duration(max(0, time.time() - row['changed_at']))} ago",
        )
    return table


def _tasks_recorded(run: RunView) -> int:
    return max((len(values) for values in run.series.values()), default=0)


def _on_disk(run: RunView) -> tuple[int, float]:
    """Bytes of a run's files, and when the last of them changed (Unix seconds; 0 where there are none)."""
    stats = []
    try:
        with os.scandir(run.dir.path) as entries:
            stats = [entry.stat(follow_symlinks=False) for entry in entries]
    except OSError:  # it is being removed
        pass
    return sum(stat.st_size for stat in stats), max((stat.st_mtime for stat in stats), default=0.0)
