"""Figures for papers and talks, drawn with matplotlib from `lop_engine.analysis`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lop_engine.analysis import Curve, Group
from lop_engine.errors import UserError
from lop_tui.measures import MEASURES
from lop_tui.palette import assign_colours

FORMATS = (".png", ".svg", ".pdf")

_STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "svg.hashsalt": "lop",  # with no date in it, the same records give the same bytes
    "svg.fonttype": "none",
}


@dataclass(frozen=True)
class Look:
    """What of the records a figure shows, and how."""

    bin_size: int | None = None
    """Tasks a bin; by default what suits a group's length."""
    tasks: tuple[float, float] = (1, math.inf)
    """The first and last task drawn: bins whose middle lies between; they are the same bins whatever is drawn."""
    log: bool | None = None
    """Log scale in every panel, or in none; by default in those whose metric asks for it."""

    def curve(self, group: Group, metric: str) -> Curve:
        """The points of `group` that are drawn."""
        curve = group.curve(metric, self.bin_size)
        shown = (curve.task >= self.tasks[0]) & (curve.task <= self.tasks[1])
        return Curve(
            curve.task[shown], curve.mean[shown], curve.standard_error[shown], curve.num_seeds[shown], curve.bin_size
        )


def draw(groups: Sequence[Group], metrics: Sequence[str], look: Look = Look(), title: str = "") -> Figure:
    """One panel a metric: mean over seeds of task bins, and a band of one standard error."""
    colours = assign_colours([group.label for group in groups])
    num_columns = min(len(metrics), 3 if len(metrics) > 4 else 2)
    num_rows = -(-len(metrics) // num_columns)
    with rc_context(_STYLE):
        figure = Figure(figsize=(4.8 * num_columns + 0.6, 3.2 * num_rows), layout="constrained")
        panels = figure.subplots(num_rows, num_columns, squeeze=False).ravel()
        for panel, metric in zip(panels, metrics, strict=False):
            _draw_panel(panel, groups, metric, look, colours)
        for unused in panels[len(metrics) :]:
            unused.set_visible(False)
        if title:
            figure.suptitle(title)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure in the format its suffix names; the same figure gives the same bytes."""
    metadata = {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}[path.suffix.lower()]
    with rc_context(_STYLE):
        try:
            figure.savefig(path, dpi=200, metadata=metadata)
        except ValueError as error:  # a title with a lone $ is taken for mathematics
            raise UserError(f"plot: {path}: cannot be drawn: {str(error).splitlines()[0]}") from None


def _draw_panel(panel: Axes, groups: Sequence[Group], metric: str, look: Look, colours: dict[str, str]) -> None:
    measure = MEASURES[metric]
    factor = measure.factor
    curves = [(group, look.curve(group, metric)) for group in groups]
    curves = [(group, curve) for group, curve in curves if len(curve.task)]
    if measure.scale == "log" if look.log is None else look.log:
        means = [float(value) for _, curve in curves for value in curve.mean * factor]
        _set_log_scale(panel, means, highest=100 if measure.unit == "%" else math.inf)
    ends: list[tuple[float, str, str]] = []
    for group, curve in curves:
        colour, mean = colours[group.label], curve.mean * factor
        panel.plot(curve.task, mean, color=colour, linewidth=1.6, marker="o" if len(mean) == 1 else None, markersize=3)
        panel.fill_between(curve.task, curve.low * factor, curve.high * factor, color=colour, alpha=0.2, linewidth=0)
        ends.append((float(mean[-1]), f"{group.label} (n={curve.num_seeds[-1]}/{len(group.runs)})", colour))
    first, last = look.tasks
    end = max((float(curve.task[-1]) + curve.bin_size / 2 for _, curve in curves), default=first)
    panel.set_xlim(first - 1, end if math.isinf(last) else last)
    panel.set_xlabel(f"task (bins of {' and '.join(map(str, sorted({curve.bin_size for _, curve in curves})))})")
    panel.set_ylabel(measure.label)
    panel.grid(axis="y", alpha=0.25, linewidth=0.6)
    _label_ends(panel, ends)


def _set_log_scale(panel: Axes, means: Sequence[float], highest: float) -> None:
    """A log scale from the least positive mean up: a mean of zero, and a band that reaches below, lie on its floor."""
    positive = [mean for mean in means if mean > 0]
    if positive:
        panel.set_yscale("log", nonpositive="clip")
        panel.set_ylim(min(positive) / 1.5, min(max(positive) * 3, highest))


def _label_ends(panel: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Write each line's name at its end, pushed apart where ends lie close together."""
    place = panel.transData + panel.transAxes.inverted()
    heights = [float(np.clip(np.nan_to_num(place.transform((1, value))[1]), 0, 1)) for value, _, _ in ends]
    in_order = sorted(zip(heights, ends, strict=True))
    for height, (_, text, colour) in zip(
        _spread([height for height, _ in in_order], gap=0.07), [end for _, end in in_order], strict=True
    ):
        panel.annotate(
            text,
            (1.0, height),
            xycoords="axes fraction",
            xytext=(4, 0),
            textcoords="offset points",
            color=colour,
            va="center",
            fontsize=8,
            annotation_clip=False,
        )


def _spread(heights: Sequence[float], gap: float) -> list[float]:
    """Rising heights moved up, then down from 1 where they overflow, until each is `gap` above the one before."""
    spread: list[float] = []
    for height in heights:
        spread.append(max(height, spread[-1] + gap) if spread else height)
    ceiling = 1.0
    for i in reversed(range(len(spread))):
        spread[i] = min(spread[i], ceiling)
        ceiling = spread[i] - gap
    return spread
