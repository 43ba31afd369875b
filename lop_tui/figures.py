"""Figures for papers and talks, drawn with matplotlib from `lop_engine.analysis`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lop_engine.analysis import Group
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
        figure.savefig(path, dpi=200, metadata=metadata)


def _draw_panel(
    panel: Axes, groups: Sequence[Group], metric: str, bin_size: int | None, colours: dict[str, str]
) -> None:
    label, factor, log = AXES[metric]
    ends: list[tuple[float, float, str]] = []
    for group in groups:
        curve = group.curve(metric, bin_size)
        if not len(curve.task):
            continue
        colour, mean = colours[group.label], curve.mean * factor
        panel.plot(curve.task, mean, color=colour, linewidth=1.6, marker="o" if len(mean) == 1 else None, markersize=3)
        panel.fill_between(curve.task, curve.low * factor, curve.high * factor, color=colour, alpha=0.2, linewidth=0)
        num_seeds = int(curve.num_seeds[-1])
        ends.append((float(mean[-1]), float(curve.task[-1]), f"{group.label} (n={num_seeds}/{len(group.runs)})"))
    if log and ends:
        panel.set_yscale("log", nonpositive="clip")
    panel.set_xlim(left=0)
    panel.set_xlabel(f"task (bins of {_bin_sizes(groups, metric, bin_size)})")
    panel.set_ylabel(label)
    panel.grid(axis="y", alpha=0.25, linewidth=0.6)
    _label_ends(panel, ends, colours)


def _label_ends(panel: Axes, ends: Sequence[tuple[float, float, str]], colours: dict[str, str]) -> None:
    """Write each line's name at its end, pushed apart where ends lie close together."""
    if not ends:
        return
    right = panel.get_xlim()[1]
    to_axes = panel.transAxes.inverted()
    placed: list[float] = []
    for value, _, text in sorted(ends):
        height = float(to_axes.transform(panel.transData.transform((right, value)))[1])
        height = max(height, placed[-1] + 0.07) if placed else height
        placed.append(height)
        panel.annotate(
            text,
            (1.0, height),
            xycoords="axes fraction",
            xytext=(4, 0),
            textcoords="offset points",
            color=colours[text.rpartition(" (n=")[0]],
            va="center",
            fontsize=8,
            annotation_clip=False,
        )


def _bin_sizes(groups: Sequence[Group], metric: str, bin_size: int | None) -> str:
    sizes = sorted({group.curve(metric, bin_size).bin_size for group in groups})
    return " and ".join(map(str, sizes))
