"""Metrics over the epochs of early and late tasks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from lop_engine.analysis import Curve, Group
from lop_engine.experiment import lookup
from lop_tui.figures.ends import End, label_ends
from lop_tui.figures.look import (
    DEFAULT,
    Look,
    draw_curve,
    drawing,
    finish_axes,
    label_outer,
    legend_above,
    set_log_scale,
    sheet,
)
from lop_tui.figures.room import short
from lop_tui.words.palette import ink, tint

_DASHES: tuple[Literal["-", "--", ":"], ...] = ("-", "--", ":")


@dataclass(frozen=True)
class TaskEpochs:
    """One group's epochs of selected tasks."""

    group: Group
    by_task: Mapping[int, Sequence[Curve]]
    """By task, counted from 1 and rising: a curve per metric, over epochs."""


def draw_epochs(shown: Sequence[TaskEpochs], metrics: Sequence[str], look: Look = DEFAULT) -> Figure:
    """Draw one panel per group, with darker lines for later tasks; metrics differ in dashes, the first has a band.

    Args:
        metrics: metrics that share an axis.
    """
    colours, factor = look.colours_of([one.group for one in shown]), lookup.metric(metrics[0]).factor
    bare = replace(look, band="none")  # bands of all metrics would overlap
    with drawing(look):
        figure, panels = sheet(len(shown), look, sharex=True, sharey=True)
        is_log = _set_scale(panels[0], shown, metrics, look)
        for panel, one in zip(panels, shown, strict=True):
            panel.set_title(short(one.group.label), parse_math=False)
            for number, curves in enumerate(one.by_task.values(), 1):
                for curve, dashes in zip(curves, _DASHES, strict=False):
                    if len(curve.task):
                        shade = _shade(colours[one.group.label], number, one)
                        draw_curve(panel, curve, factor, shade, look if curve is curves[0] else bare, dashes)
        for panel, one in zip(panels, shown, strict=True):
            _finish(panel, one, metrics, look, is_log, colours[one.group.label])
        label_outer(panels)
        if len(metrics) > 1:
            _name_dashes(panels[0], metrics, look)
    return figure


def _set_scale(panel: Axes, shown: Sequence[TaskEpochs], metrics: Sequence[str], look: Look) -> bool:
    """Set a log scale in all panels, if the metric asks for it; return whether it is set."""
    measure = lookup.metric(metrics[0])
    is_log = measure.scale == "log" if look.log is None else look.log
    curves = [curve for one in shown for curves in one.by_task.values() for curve in curves]
    return is_log and set_log_scale(
        panel, measure, [float(mean) * measure.factor for curve in curves for mean in curve.mean]
    )


def _finish(panel: Axes, one: TaskEpochs, metrics: Sequence[str], look: Look, is_log: bool, colour: str) -> None:
    measure = lookup.metric(metrics[0])
    finish_axes(panel, measure, is_log)
    if len(metrics) > 1:
        panel.set_ylabel(replace(measure, title=_shared_words(metrics) or measure.title).label)
    panel.set_xlabel("epoch")
    panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    panel.margins(x=0.02)
    label_ends(
        panel,
        [
            End(
                np.inf,
                float(curves[0].mean[-1]) * measure.factor,
                f"task {task} (n={curves[0].num_seeds[-1]}/{len(one.group.runs)})",
                _shade(colour, number, one),
            )
            for number, (task, curves) in enumerate(one.by_task.items(), 1)
            if len(curves[0].task)
        ],
        look,
    )


def _shade(colour: str, number: int, one: TaskEpochs) -> str:
    """Return the colour of a task's line, by the task's number from 1."""
    return tint(colour, number / len(one.by_task)) if len(one.by_task) > 1 else colour


def _name_dashes(panel: Axes, metrics: Sequence[str], look: Look) -> None:
    shared = _shared_words(metrics)
    names = [lookup.metric(metric).title.removesuffix(f" {shared}") for metric in metrics]
    lines = [
        Line2D([], [], color=ink("#666666"), linestyle=dashes, linewidth=look.looks.line_width)
        for dashes, _ in zip(_DASHES, names, strict=False)
    ]
    legend_above(panel, lines, names)


def _shared_words(metrics: Sequence[str]) -> str:
    """Return the last words that all titles share: ``accuracy`` of test accuracy and train accuracy."""
    in_reverse = zip(*(reversed(lookup.metric(metric).title.split()) for metric in metrics), strict=False)
    shared = takewhile(lambda words: len(set(words)) == 1, in_reverse)
    return " ".join(reversed([words[0] for words in shared]))
