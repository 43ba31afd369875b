"""One frame as numbers, for `lop watch --json`: what the table and the charts show, to the last digit."""

from typing import Any

import numpy as np

from lop_tui.dashboard.drawing.chart import Line
from lop_tui.dashboard.model import View


def as_dict(view: View) -> dict[str, Any]:
    """JSON-ready: runs by state, a row a setting, and each metric's curve (mean, standard error, seeds; by task)."""
    return {
        "runs_dir": str(view.runs_dir),
        "phase": view.phase,
        "filter": view.request.settings.query,
        "hidden": view.num_hidden,
        "states": dict(view.states),
        "settings": [
            {
                "label": row.label,
                "experiment": group.experiment,
                "setting": group.setting,
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
            for row, group in zip(view.rows, view.groups, strict=True)
        ],
        "notices": [{"run": notice.run, "text": notice.text} for notice in view.notices],
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
