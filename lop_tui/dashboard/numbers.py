"""One frame as numbers, for `lop watch --json`: what the table and the charts show, to the last digit."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from lop_engine.analysis import Group
from lop_engine.runs.directory import RunDir
from lop_tui.dashboard.drawing.chart import Line
from lop_tui.dashboard.model import View
from lop_tui.dashboard.rows import Row, count_states


def as_dict(*views: View) -> dict[str, Any]:
    """JSON-ready: runs by state, a row a setting, and each metric's curve (mean, standard error, seeds; by task).

    Args:
        views: the same moment, a view a problem; one at least.
    """
    runs = list(dict.fromkeys(run for view in views for run in view.runs))
    settings: dict[RunDir, dict[str, Any]] = {}  # by the first run: a view may repeat runs that cannot be read
    for view in views:
        for row, group in zip(view.rows, view.groups, strict=True):
            settings.setdefault(group.runs[0].dir, _setting(view, row, group))
    return {
        "runs_dir": views[0].place,
        "phase": _phase(view.phase for view in views),
        "filter": views[0].request.settings.query,
        "hidden": views[0].num_hidden,
        "eta_s": views[0].eta_s,
        "states": dict(count_states(runs)),
        "settings": list(settings.values()),
        "notices": [
            {"run": notice.run, "text": notice.text}
            for notice in dict.fromkeys(notice for view in views for notice in view.notices)
        ],
    }


def _phase(phases: Iterable[str]) -> str:
    """The phase of all runs: as long as one problem's are running, that."""
    found = list(phases)
    return next((phase for phase in ("running", "no tasks") if phase in found), found[0])


def _setting(view: View, row: Row, group: Group) -> dict[str, Any]:
    return {
        "label": row.label,
        "experiment": group.experiment,
        "setting": group.setting,
        "problem": view.shown.problem.name,
        "method": row.method,
        "seeds": [run.seed for run in group.runs],
        "states": dict(row.states),
        "tasks_done": row.tasks_done,
        "tasks_total": row.tasks_total,
        "progress": row.progress,
        "tasks_per_min": row.tasks_per_min,
        "eta_s": row.eta_s,
        "device": row.device,
        "metrics": {
            chart.measure.name: _curve(line)
            for chart in view.charts
            for line in chart.lines
            if line.label == row.label and len(line.curve.task)
        },
    }


def _curve(line: Line) -> dict[str, Any]:
    curve = line.curve
    return {
        "bin_size": curve.bin_size,
        "task": curve.task.tolist(),
        "mean": curve.mean.tolist(),
        "standard_error": curve.standard_error.tolist(),
        "num_seeds": np.asarray(curve.num_seeds).tolist(),
    }
