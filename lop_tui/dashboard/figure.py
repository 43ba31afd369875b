"""The arguments of `lop plot` that draw what is on the screen."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from lop_engine.analysis.groups import only
from lop_tui.dashboard.model import View


@dataclass(frozen=True)
class Pictured:
    """The content of a screen, as far as `lop plot` can draw it."""

    metrics: Sequence[str]
    labels: Sequence[str]
    """Labels of the settings."""
    options: Sequence[str] = ()
    """Further options of `lop plot`."""


def plot_arguments(view: View, pictured: Pictured) -> list[str]:
    """The arguments of `lop plot` that draw `pictured` of the runs of a frame."""
    settings, metrics = view.request.settings, pictured.metrics
    name = metrics[0] if len(metrics) == 1 else "metrics"
    path = view.runs_dir / f"{name}-{datetime.now():%Y-%m-%d-%H%M%S}.png"
    arguments = [*metrics, "--output", str(path), *pictured.options]
    if view.charts:
        arguments += ["--bin", str(view.charts[0].bin_size)]
    words = [settings.query, only(view.shown.problem.name) if view.shown.others else "", _of(view, pictured.labels)]
    if where := " ".join(filter(None, words)):
        arguments += ["--where", where]
    if tasks := _tasks(view):
        arguments += ["--tasks", tasks]
    if any(not run.carries for run in view.runs):
        arguments += ["--ended-by-rule", "leave-out"]
    return [*arguments, *_scale(view, metrics)]


def _of(view: View, labels: Sequence[str]) -> str:
    """Return the filter for `labels`, or none if these are all; ``?`` replaces characters special in filters."""
    chosen = [group for group in view.groups if group.label in labels]
    if len(chosen) == len(view.groups):
        return ""
    names = [f"{group.experiment}/{group.setting}" for group in chosen]
    return "setting:" + ",".join(re.sub(r"[^\w.+=/-]", "?", name) for name in names)


def _tasks(view: View) -> str:
    """Return the visible range of tasks; empty for all, and if the x axis counts hours."""
    window, last = view.request.window, view.request.replay_at
    if window and view.request.settings.x_unit == "tasks":
        low, high = (x / max((group.x_per_task for group in view.groups), default=1) for x in window)
        first = max(1, round(low))
        return f"{first}-{max(first, min(round(high), last or round(high)))}"
    return f"1-{last}" if last else ""


def _scale(view: View, metrics: Sequence[str]) -> list[str]:
    """Return the scale, if the user has changed it and it is the same in all charts."""
    if not set(metrics) & set(view.request.settings.other_scale):
        return []
    scales = {chart.measure.scale.startswith("log") for chart in view.charts if chart.measure.name in metrics}
    return [] if len(scales) > 1 else ["--log"] if scales == {True} else ["--no-log"]
