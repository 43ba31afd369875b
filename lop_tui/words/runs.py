"""Runs as tables and JSON: a row per run (`lop status`), a row per setting (`lop list`), and summaries."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from lop_engine.analysis import Group, Summary, final_value, group_runs, summarise
from lop_engine.analysis.groups import OneProblem, by_problem
from lop_engine.experiment import lookup
from lop_engine.experiment.components import Metric
from lop_engine.runs.liveness import FileClock
from lop_engine.runs.views import RunView
from lop_engine.text import byte_size, plain
from lop_tui.words import formats
from lop_tui.words.formats import mean_with_error, short_value
from lop_tui.words.notices import flag_lines
from lop_tui.words.palette import colours_of

_STYLES = {
    "running": "green",
    "failed": "red",
    "lost": "red",
    "diverged": "magenta",
    "ended-by-rule": "magenta",
    "stopped": "yellow",
}
#: By heading of a column that may be folded. Methods are omitted if each experiment is named after its method.
_LEAST_WIDTHS = {"experiment": 7, "setting": 8, "method": 6, "seeds": 10}
CAPTION = "means over seeds of tenths of the run; last: the last tenth"


def table_of_runs(one: OneProblem, is_alone: bool) -> Table:
    """Return a row per run; the headline is the last of similar columns, as in ``train %  test %``.

    There is a column of methods unless each experiment is named after its method.
    """
    measures = [lookup.metric(name) for name in reversed(one.problem.together or (one.headline,)) if name]
    caption = f"{', '.join(map(formats.column_heading, measures))}: mean of the last tenth of the tasks"
    table = Table(title=None if is_alone else one.problem.title, caption=caption if measures else None)
    methods = ["method"] if any(view.method not in ("", view.experiment) for view in one.runs) else []
    table.add_column("run", overflow="fold")
    for heading in (*methods, "state"):
        table.add_column(heading)
    for heading in ("tasks", *map(formats.column_heading, measures), "left"):
        table.add_column(heading, justify="right")
    jobs = ["job"] if any(view.status.job for view in one.runs) else []
    for heading in jobs:
        table.add_column(heading, no_wrap=True)
    for view in one.runs:
        running = view.state == "running" and view.status.eta_s is not None
        table.add_row(
            plain(view.dir.name),
            *(plain(view.method) for _ in methods),
            Text(view.state, _STYLES.get(view.state, "default")),
            f"{view.tasks_recorded}/{view.num_tasks}",
            *(_last(view, measure) for measure in measures),
            formats.duration(view.status.eta_s) if running and view.status.eta_s is not None else "",
            *(f"{view.status.job or ''} {view.status.host or ''}".strip() for _ in jobs),
        )
    return table


def _last(view: RunView, measure: Metric) -> str:
    value = final_value(view, measure.name)
    return "-" if value is None else formats.short_value(value, measure.scale)


def run_as_dict(view: RunView) -> dict[str, Any]:
    """Return a run for JSON."""
    return {
        "run": view.dir.name,
        "experiment": view.experiment,
        "setting": view.setting,
        "method": view.method,
        "problem": view.problem_name,
        "seed": view.seed,
        "state": view.state,
        "tasks_done": view.tasks_recorded,
        "num_tasks": view.num_tasks,
        "progress": view.progress,
        "eta_s": view.status.eta_s if view.state == "running" else None,
        "device": view.status.device,
        "host": view.status.host,
        "pid": view.status.pid,
        "job": view.status.job,
        "job_note": view.job_note,
        "heartbeat_at": view.status.heartbeat_at,
        "error": view.problem or view.status.error,
        "rule": view.status.rule,
        "rule_task": view.status.rule_task,
        "flags": view.flags,
        "last_tenth": {name: final_value(view, name) for name in view.series},
        "last": {name: float(values[-1]) for name, values in view.series.items() if len(values)},
    }


def setting_as_dict(group: Group) -> dict[str, Any]:
    """Return a setting for JSON; the standard error of one seed is null."""
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


def table_of_settings(one: OneProblem, width: int, is_alone: bool) -> Table:
    """Return a row per group; in a narrow terminal, names are folded and the last columns dropped."""
    headline = formats.column_heading(lookup.metric(one.headline))
    groups = group_runs(one.runs)
    is_needed = any(group.method not in ("", group.experiment) for group in groups)
    least_widths = {name: least for name, least in _LEAST_WIDTHS.items() if is_needed or name != "method"}
    names = len(least_widths)
    rows = [_row(group, one.headline, is_needed) for group in groups]
    headings = ["tasks", headline, "size", "changed"]
    widths = [max(map(len, cells)) + 3 for cells in zip(headings, *(row[names:] for row in rows), strict=True)]
    names_width = sum(least_widths.values()) + 3 * names  # including spaces and lines between them
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
    states = Counter(run.state for run in group.runs).most_common()
    summary = summarise(group, headline)
    size, changed_at = _on_disk(group)
    return [
        plain(group.experiment),
        plain(group.setting),
        *([plain(group.method)] if has_method else []),
        ", ".join(f"{count} {state}" for state, count in states),
        formats.tasks([run.tasks_recorded for run in group.runs], group.num_tasks),
        last_with_error(summary) if summary else "-",
        byte_size(size),
        f"{formats.duration(max(0, _clock(group.runs[0].dir.path.parents[2]).now() - changed_at))} ago",
    ]


@cache
def _clock(runs_dir: Path) -> FileClock:
    return FileClock(runs_dir)


def _on_disk(group: Group) -> tuple[int, float]:
    """Return the bytes of the runs' files, and the last change (Unix seconds; 0 without files)."""
    stats = []
    for run in group.runs:
        with suppress(OSError), os.scandir(run.dir.path) as entries:  # it may just be removed
            stats += [entry.stat(follow_symlinks=False) for entry in entries]
    return sum(stat.st_size for stat in stats), max((stat.st_mtime for stat in stats), default=0.0)


def summary_tables(views: Sequence[RunView]) -> Iterator[Table]:
    """Return, for each problem, its headline in the first, best and last tenth of the tasks, a row per setting."""
    problems = by_problem(views)
    for one in problems:
        yield _table(one, is_alone=len(problems) == 1)


def _table(one: OneProblem, is_alone: bool) -> Table:
    groups = group_runs(one.runs)
    colours = colours_of(groups)
    heading = lookup.metric(one.headline).heading
    title = heading if is_alone else f"{one.problem.title}: {heading}"
    table = Table(title=title, caption=CAPTION)
    table.add_column("experiment", overflow="fold")
    for name in ("seeds", "tasks", "first", "best", "last", loss_heading(lookup.metric(one.headline))):
        table.add_column(name, justify="right")
    for group in groups:
        table.add_row(Text(group.label, style=colours[group.label]), *_cells(group, one.headline))
    return table


def _cells(group: Group, metric: str) -> list[str]:
    summary = summarise(group, metric)
    if summary is None:
        return [str(len(group.runs)), "0", *["-"] * 4]
    scale = summary.metric.scale
    return [
        str(summary.num_seeds),
        str(summary.tasks_done),
        short_value(summary.first, scale),
        short_value(summary.best, scale),
        last_with_error(summary),
        short_value(summary.lost, scale),
    ]


def last_value(group: Group, measure: Metric) -> tuple[str, str]:
    """Return the final value, ``88.9 ± 1.8`` (one seed: no error), and ``n=4/5`` if it lacks seeds; "" before."""
    summary = summarise(group, measure.name)
    if summary is None:
        return "", ""
    num_last, num_all = summary.num_seeds_last, len(group.runs)
    error = summary.last_standard_error if num_last > 1 else None
    return mean_with_error(summary.last, error, measure), "" if num_last == num_all else f"n={num_last}/{num_all}"


def loss_heading(measure: Metric) -> str:
    """Return the heading of `Summary.lost`, a difference: the better value comes first if higher is better."""
    return "best - last" if measure.better == "higher" else "last - best"


def last_with_error(summary: Summary) -> str:
    """Return ``88.9 ± 1.8 n=4/5`` of the last tenth; no error for one seed, no number if all seeds have values."""
    return " ".join(last_value(summary.group, summary.metric)).strip()
