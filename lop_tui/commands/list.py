"""`lop list`: every setting at a glance, a line for all its seeds (`lop status` has a line a run)."""

import os
from collections import Counter
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from rich.table import Table

from lop_engine.analysis import Group, group_runs, summarise
from lop_engine.analysis.groups import OneProblem, by_problem
from lop_engine.experiment import seen
from lop_engine.runs.liveness import FileClock
from lop_engine.text import plain
from lop_tui.commands.console import Console, print_json, say
from lop_tui.commands.reading import read_runs
from lop_tui.commands.summary import last_with_error
from lop_tui.dashboard import formats
from lop_tui.dashboard.formats import column_heading
from lop_tui.dashboard.rows import flag_lines

#: By heading of a column that may be folded. That of methods is left out if each experiment is named after its method.
_LEAST_WIDTHS = {"experiment": 7, "setting": 8, "method": 6, "seeds": 10}


def show_list(runs_dir: Path, where: str, as_json: bool) -> int:
    """Print a line a setting. Raises UserError, also where there are no such runs."""
    runs, _ = read_runs("list", runs_dir, where)
    groups = group_runs(runs)
    if as_json:
        answer = {"runs_dir": str(runs_dir), "settings": [_as_dict(group) for group in groups]}
        print_json(answer)
        return 0
    console = Console(pipe_width=160)
    problems = by_problem(runs)
    for one in problems:
        console.print(_table(one, console.width, is_alone=len(problems) == 1))
    for run in (run for group in groups for run in group.runs if run.problem):
        say(console, f"cannot be read: {run.dir.name}: {run.problem}")
    for line in flag_lines([run for group in groups for run in group.runs]):
        say(console, line)
    return 0


def _as_dict(group: Group) -> dict[str, Any]:
    """The standard error is null where there is none, of one seed."""
    done = [run.tasks_recorded for run in group.runs]
    summary = summarise(group)
    num_seeds = summary.num_seeds_last if summary else 0
    size, changed_at = _on_disk(group)
    headline = group.problem.headline
    return {
        "experiment": group.experiment,
        "setting": group.setting,
        "method": group.method,
        "problem": group.problem.name,
        "seeds": len(group.runs),
        "states": dict(Counter(run.state for run in group.runs).most_common()),
        "tasks_done": [min(done), max(done)],
        "num_tasks": group.num_tasks,
        "headline": headline,
        "headline_last_tenth": summary.last if summary else None,
        f"{headline}_last_tenth": summary.last if summary else None,
        "standard_error": summary.last_standard_error if summary and num_seeds > 1 else None,
        "num_seeds": num_seeds,
        "flags": flag_lines(group.runs),
        "bytes": size,
        "changed_at": changed_at,
    }


def _table(one: OneProblem, width: int, is_alone: bool) -> Table:
    """A row a group; where it is narrow names are folded, and the columns at the right give way."""
    headline = column_heading(seen.metric(one.headline))
    groups = group_runs(one.runs)
    is_needed = any(group.method not in ("", group.experiment) for group in groups)
    least_widths = {name: least for name, least in _LEAST_WIDTHS.items() if is_needed or name != "method"}
    names = len(least_widths)
    rows = [_row(group, one.headline, is_needed) for group in groups]
    headings = ["tasks", headline, "size", "changed"]
    widths = [max(map(len, cells)) + 3 for cells in zip(headings, *(row[names:] for row in rows), strict=True)]
    names_width = sum(least_widths.values()) + 3 * names  # with the blanks and lines between them
    while len(widths) > 2 and width - 1 - sum(widths) < names_width:
        widths.pop()
    caption = f"{headline}: mean and standard error over seeds, last tenth of the tasks; n: seeds in it"
    table = Table(title=None if is_alone else one.problem.title, caption=caption if headline else None)
    for heading, least in least_widths.items():
        table.add_column(heading, overflow="fold", min_width=least)
    for heading in headings[: len(widths)]:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*row[: names + len(widths)])
    return table


def _row(group: Group, headline: str, has_method: bool) -> list[str]:
    done = [run.tasks_recorded for run in group.runs]
    first, last = min(done), max(done)
    states = Counter(run.state for run in group.runs).most_common()
    summary = summarise(group, headline)
    size, changed_at = _on_disk(group)
    return [
        plain(group.experiment),
        plain(group.setting),
        *([plain(group.method)] if has_method else []),
        ", ".join(f"{count} {state}" for state, count in states),
        f"{first}{f'-{last}' if last > first else ''}/{group.num_tasks}",
        last_with_error(summary) if summary else "-",
        f"{size / 2**20:.1f} MB",
        f"{formats.duration(max(0, _clock(group.runs[0].dir.path.parents[2]).now() - changed_at))} ago",
    ]


@cache
def _clock(runs_dir: Path) -> FileClock:
    return FileClock(runs_dir)


def _on_disk(group: Group) -> tuple[int, float]:
    """Bytes of the runs' files, and when the last of them changed (Unix seconds; 0 where there are none)."""
    stats = []
    for run in group.runs:
        with suppress(OSError), os.scandir(run.dir.path) as entries:  # it may be being removed
            stats += [entry.stat(follow_symlinks=False) for entry in entries]
    return sum(stat.st_size for stat in stats), max((stat.st_mtime for stat in stats), default=0.0)
