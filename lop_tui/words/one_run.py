"""One run as text, as a table of its last tasks, and as JSON (`lop show`)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.table import Table

from lop_engine.analysis import bin_means
from lop_engine.experiment import lookup
from lop_engine.experiment.stored import not_default
from lop_engine.runs.directory import OWN_NUMERICS
from lop_engine.runs.views import RunView
from lop_tui.words import formats

_POINTS = 22
_LAST_TASKS = 3
BARS, ASCII_BARS = "▁▂▃▄▅▆▇█", "_.-~=+*#"


def sparkline(values: np.ndarray, bars: str = BARS) -> str:
    """Return a character per value, from lowest to highest; blank for non-finite, the middle if constant."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return " " * len(values)
    low, span = finite.min(), np.ptp(finite)
    heights = [(value - low) / span if span else 0.5 for value in values]
    return "".join(bars[min(int(h * len(bars)), len(bars) - 1)] if np.isfinite(h) else " " for h in heights)


def facts_of(view: RunView, config: Mapping[str, Any]) -> list[str]:
    """Return the facts of a run, a line each."""
    status = view.status
    where = [one for one in (status.device, status.host or config.get("host")) if one]
    progress = f"{view.tasks_recorded} of {view.num_tasks} tasks"
    if view.state == "running" and status.eta_s is not None:
        progress += f", {formats.duration(status.eta_s)} left"
    if view.is_ended_by_rule:
        progress += f", after task {status.rule_task}: {status.rule}"
    facts = {
        "run": view.dir.name,
        "state": f"{view.state}, {progress}",
        "method": _method(view),
        "trained": " on ".join(map(str, where)),
        "with": ", ".join(f"{name} {version}" for name, version in _mapping(config.get("versions")).items()),
        "code": _code(view, _mapping(config.get("code"))),
        "imported": _mapping(config.get("imported")).get("source", ""),
        "spec": ", ".join(f"{key} {value}" for key, value in not_default(view.spec, view.components).items()),
        "note": status.note or "",
        "records": str(view.dir.path),
    }
    return [f"{name:<9} {fact}" for name, fact in facts.items() if fact]


def _method(view: RunView) -> str:
    """Return ``cbp (continual backprop)``."""
    title = lookup.method(view.method).title
    return f"{view.method} ({title})" if title != view.method else view.method


def _code(view: RunView, recorded: Mapping[str, Any]) -> str:
    """Return ``numerics 1, commit 4f5e6d7 with local changes, my_redo.py 1a2b3c4d (9f8e7d6c when it began)``."""
    if "numerics" not in recorded:
        return "numerics 1 (begun by a version of lop that did not record its code)"
    versions: dict[str, list[str]] = {}
    for name, version in view.code:
        versions.setdefault("numerics" if name == OWN_NUMERICS else name, []).append(version[:8])
    commit = recorded.get("commit")
    changes = " with local changes" if recorded.get("dirty") else ""
    facts = [
        f"{name} {last}" + (f" ({' then '.join(earlier)} when it began)" if last not in earlier and earlier else "")
        for name, (*earlier, last) in versions.items()
    ]
    return ", ".join([facts[0], *([f"commit {str(commit)[:9]}{changes}"] if commit else []), *facts[1:]])


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def last_tasks(view: RunView, tasks: int, bars: str, width: int) -> Table:
    """Return a row per metric: its course over the whole run, and its last tasks.

    In a narrow terminal, leave out points of the course, then the course, then older tasks.
    """
    labels = {metric: lookup.metric(metric).label for metric in view.series}
    last = [_task_column(view, task) for task in range(max(0, tasks - _LAST_TASKS), tasks)]
    room = width - 1 - _column_width(["metric", *labels.values()]) - sum(map(_column_width, last))
    while room < 0 and len(last) > 1:
        room += _column_width(last.pop(0))
    num_points = min(_POINTS, room - _column_width([]))
    bin_size = -(-max(tasks, view.num_tasks) // max(1, num_points))
    has_course = num_points >= len("course")
    table = Table(caption=f"course: {bin_size} tasks per point" if has_course and bin_size > 1 else None)
    table.add_column("metric", no_wrap=True)
    if has_course:
        table.add_column("course", no_wrap=True)
    for heading, *_ in last:
        table.add_column(heading, justify="right", no_wrap=True)
    for row, (metric, label) in enumerate(labels.items(), start=1):
        line = sparkline(bin_means(view.series[metric], bin_size, view.num_tasks), bars)
        table.add_row(label, *([line] if has_course else []), *(column[row] for column in last))
    return table


def _task_column(view: RunView, task: int) -> list[str]:
    """Return heading and values of one task."""
    cells = [
        formats.short_value(float(values[task]), lookup.metric(name).scale) for name, values in view.series.items()
    ]
    return [f"task {task + 1}", *("-" if cell == "nan" else cell for cell in cells)]


def _column_width(cells: Sequence[str]) -> int:
    """Return a column's width, with the spaces on both sides and the line after it."""
    return max(map(len, cells), default=0) + 3


def as_dict(view: RunView, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the run for JSON; `config` is its run.json."""
    tasks = view.tasks_recorded
    last = range(max(0, tasks - _LAST_TASKS), tasks)
    return {
        "run": view.dir.name,
        "path": str(view.dir.path),
        "method": view.method,
        "problem": view.problem_name,
        "state": view.state,
        "tasks_done": tasks,
        "num_tasks": view.num_tasks,
        "progress": view.progress,
        "error": view.problem or view.status.error,
        "flags": view.flags,
        "config": dict(config),
        "status": view.status.to_dict(),
        "last": [{"task": task} | {name: float(values[task]) for name, values in view.series.items()} for task in last],
    }
