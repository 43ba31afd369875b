"""Figures for papers and talks, drawn with matplotlib from `lop_engine.analysis`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lop_engine.analysis import Group
from lop_engine.errors import UserError
from lop_tui.palette import assign_colours

FORMATS = (".png", ".svg", ".pdf")

#: Axis label, factor, log scale.
AXES = {
    "train_accuracy": ("train accuracy (%)", 100, False),
    "test_accuracy": ("test accuracy (%)", 100, False),
    "curvature": ("curvature", 1, True),
    "weight_magnitude": ("weight magnitude", 1, False),
    "dormant_proportion": ("dormant units (%)", 100, False),
    "effective_rank": ("effective rank", 1, False),
    "stable_rank": ("stable rank", 1, False),
    "nuclear_frobenius_ratio": ("nuclear / Frobenius norm", 1, False),
    "frobenius_spectral_ratio": ("squared Frobenius / spectral norm", 1, False),
    "srank": ("srank", 1, False),
    "tau_dormant_proportion": ("tau-dormant units (%)", 100, False),
    "dead_proportion": ("dead units (%)", 100, False),
    "gradient_norm": ("gradient norm", 1, True),
    **{f"dormant_proportion_{n}": (f"dormant units, layer {n} (%)", 100, False) for n in range(1, 6)},
}

_STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "svg.hashsalt": "lop",  # with no date in it, the same records give the same bytes
    "svg.fonttype": "none",
}


def draw(groups: Sequence[Group], metrics: Sequence[str], bin_size: int | None = None, title: str = "") -> Figure:
    """One panel a metric: mean over seeds of task bins, and a band of one standard error."""
    colours = assign_colours([group.label for group in groups])
    num_columns = min(len(metrics), 3 if len(metrics) > 4 else 2)
    num_rows = -(-len(metrics) // num_columns)
    with rc_context(_STYLE):
        figure = Figure(figsize=(4.8 * num_columns + 0.6, 3.2 * num_rows), layout="constrained")
        panels = figure.subplots(num_rows, num_columns, squeeze=False).ravel()
        for panel, metric in zip(panels, metrics, strict=False):
            _draw_panel(panel, groups, metric, bin_size, colours)
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


def _draw_panel(
    panel: Axes, groups: Sequence[Group], metric: str, bin_size: int | None, colours: dict[str, str]
) -> None:
    label, factor, log = AXES[metric]
    curves = [(group, group.curve(metric, bin_size)) for group in groups]
    curves = [(group, curve) for group, curve in curves if len(curve.task)]
    if log:
        _set_log_scale(panel, [float(value) for _, curve in curves for value in curve.mean * factor])
    ends: list[tuple[float, str, str]] = []
    for group, curve in curves:
        colour, mean = colours[group.label], curve.mean * factor
        panel.plot(curve.task, mean, color=colour, linewidth=1.6, marker="o" if len(mean) == 1 else None, markersize=3)
        panel.fill_between(curve.task, curve.low * factor, curve.high * factor, color=colour, alpha=0.2, linewidth=0)
        ends.append((float(mean[-1]), f"{group.label} (n={curve.num_seeds[-1]}/{len(group.runs)})", colour))
    panel.set_xlim(0, max((float(curve.task[-1]) + curve.bin_size / 2 for _, curve in curves), default=1))
    panel.set_xlabel(f"task (bins of {' and '.join(map(str, sorted({curve.bin_size for _, curve in curves})))})")
    panel.set_ylabel(label)
    panel.grid(axis="y", alpha=0.25, linewidth=0.6)
    _label_ends(panel, ends)


def _set_log_scale(panel: Axes, means: Sequence[float]) -> None:
    """A log scale from the least positive mean up: a mean of zero, and a band that reaches below, lie on its floor."""
    positive = [mean for mean in means if mean > 0]
    if positive:
        panel.set_yscale("log", nonpositive="clip")
        panel.set_ylim(min(positive) / 1.5, max(positive) * 3)


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
