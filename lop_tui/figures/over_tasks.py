"""Metrics over tasks: a line per group, a panel per metric or value of a key; and the step-size figure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lop_engine.analysis import Curve, Group
from lop_engine.analysis.seeds import breaks
from lop_engine.analysis.windows import is_never_finite
from lop_engine.experiment import lookup
from lop_engine.reproduction.claims import published_levels
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
from lop_tui.figures.room import short, shortened
from lop_tui.words.formats import BREAK, BREAK_LEGEND
from lop_tui.words.palette import assign_colours, ink

Baseline = tuple[float, str]
"""A level in the metric's units, and its name."""


def draw(groups: Sequence[Group], metrics: Sequence[str], look: Look = DEFAULT) -> Figure:
    """Draw one panel per metric: the mean over seeds of task bins, and a band."""
    names = shortened({group.label: group.label for group in groups})
    with drawing(look):
        figure, panels = sheet(len(metrics), look, _with_counts(names))
        for panel, metric in zip(panels, metrics, strict=True):
            _draw_panel(panel, groups, metric, look, names)
    return figure


def draw_sweep(
    groups: Sequence[Group], metrics: Sequence[str], look: Look = DEFAULT, baseline: Baseline | None = None
) -> Figure:
    """Draw the settings of one experiment like `draw`; `baseline` is a level in the headline's panel."""
    names = shortened({group.label: _in_words(group, groups) for group in groups})
    with drawing(look):
        figure, panels = sheet(len(metrics), look, _with_counts(names))
        for panel, metric in zip(panels, metrics, strict=True):
            panel.set_title(short(groups[0].experiment), parse_math=False)
            is_headline = metric == groups[0].problem.headline
            _draw_panel(panel, groups, metric, look, names, baseline if is_headline else None)
    return figure


@dataclass(frozen=True)
class Panel:
    """Settings in one panel."""

    title: str
    lines: Sequence[tuple[str, Group]]
    """Name and setting of each line."""
    baseline: Baseline | None = None


def draw_panels(shown: Sequence[Panel], metric: str, look: Look = DEFAULT) -> Figure:
    """Draw the panels with a common scale of the metric."""
    names = [shortened({group.label: name for name, group in one.lines}) for one in shown]
    looks = [replace(look, colours=_colours(one, shown)) for one in shown]
    with drawing(look):
        beside = max((_with_counts(of_panel) for of_panel in names), key=len)
        figure, panels = sheet(len(shown), look, beside, sharex=True, sharey=True)
        drawn = [
            _draw_lines(panel, [group for _, group in one.lines], metric, its_look, of_panel, one.baseline)
            for panel, one, its_look, of_panel in zip(panels, shown, looks, names, strict=True)
        ]
        every = [group for one in shown for _, group in one.lines]
        for panel, one, (is_log, ends) in zip(panels, shown, drawn, strict=True):
            panel.set_title(short(one.title), parse_math=False)
            name_task_axis(panel, every, [look.drawn(group, metric) for group in every], look)
            _finish_panel(panel, metric, look, is_log, ends)
        label_outer(panels)
    return figure


def _colours(one: Panel, shown: Sequence[Panel]) -> dict[str, str]:
    """Return colours by label: the same for lines of the same name and method in all panels."""
    methods = {group.method for _, group in one.lines}
    pairs = ((name, group.method) for panel in shown for name, group in panel.lines if group.method in methods)
    by_name = assign_colours(dict.fromkeys(pairs))
    return {group.label: by_name[name] for name, group in one.lines}


def swept_setting(group: Group, groups: Sequence[Group]) -> str:
    """Return ``step_size=0.01``, for the default setting too: its values of the keys that others in `groups` change."""
    if group.setting != "default":
        return group.setting
    swept = dict.fromkeys(
        part.partition("=")[0] for one in groups if one.setting != "default" for part in one.setting.split(",")
    )
    spec = next((run.spec for run in group.runs if run.spec), {})
    return ",".join(f"{key}={spec[key]}" for key in swept if key in spec)


def _in_words(group: Group, groups: Sequence[Group]) -> str:
    """Return ``step size 0.01``."""
    setting = swept_setting(group, groups) or group.experiment
    return setting.replace("_", " ").replace("=", " ").replace(",", ", ")


def _with_counts(names: Mapping[str, str]) -> list[str]:
    """Return the names with the widest count of seeds, to measure the space that they need."""
    return [f"{name} (n=30/30)" for name in names.values()]


def name_task_axis(panel: Axes, groups: Sequence[Group], curves: Sequence[Curve], look: Look) -> None:
    """Set the x axis' limits from the first to the last task drawn, and add the length of a bin to its label.

    Args:
        groups: groups in the panel.
        curves: their curves, see `Look.drawn`.
    """
    unit = groups[0].problem.x_unit if groups else "tasks"
    longest = max((group.x_per_task for group in groups), default=1)
    first, last = look.tasks
    end = max((float(curve.task[-1]) + curve.bin_size / 2 for curve in curves), default=first * longest)
    panel.set_xlim((first - 1) * longest, end if math.isinf(last) else last * longest)
    panel.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True))
    sizes = sorted({curve.bin_size for curve in curves})
    if unit == "tasks":
        panel.set_xlabel("task" if sizes in ([], [1]) else f"task (bins of {' and '.join(map(str, sizes))})")
        return
    panel.xaxis.set_major_formatter(lambda x, _: _readable(x))
    panel.set_xlabel(f"{unit} (bins of {' and '.join(map(_readable, sizes))})" if sizes else unit)


def _readable(number: float) -> str:
    """Format a number: ``500``, ``1.5k``, ``2M``."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            return f"{number / size:g}{letter}"
    return f"{number:g}"


def _draw_panel(
    panel: Axes,
    groups: Sequence[Group],
    metric: str,
    look: Look,
    names: Mapping[str, str],
    baseline: Baseline | None = None,
) -> None:
    _finish_panel(panel, metric, look, *_draw_lines(panel, groups, metric, look, names, baseline))


def _draw_lines(
    panel: Axes,
    groups: Sequence[Group],
    metric: str,
    look: Look,
    names: Mapping[str, str],
    baseline: Baseline | None,
) -> tuple[bool, list[End]]:
    """Draw everything that affects the axes' limits. Return whether the y axis is log, and the lines' names."""
    measure = lookup.metric(metric)
    factor, colours = measure.factor, look.colours_of(groups)
    curves = [(group, curve) for group in groups if len((curve := look.drawn(group, metric)).task)]
    is_log = measure.scale == "log" if look.log is None else look.log
    if is_log:
        is_log = set_log_scale(panel, measure, [float(mean) for _, curve in curves for mean in curve.mean * factor])
    ends: list[End] = []
    for group, curve in curves:
        draw_curve(panel, curve, factor, colours[group.label], look)
        text = f"{names[group.label]} (n={curve.num_seeds[-1]}/{len(group.runs)})"
        ends.append(End(float(curve.task[-1]), float(curve.mean[-1]) * factor, text, colours[group.label]))
    if baseline:
        ends.append(_draw_baseline(panel, baseline, factor, look))
    name_task_axis(panel, groups, [curve for _, curve in curves], look)
    mark_breaks(panel, groups, metric, colours, look)
    if look.reference and groups and metric == groups[0].problem.headline:
        _draw_reference(panel, [group for group, _ in curves], factor, colours, look)
    if not curves:
        remark = "not finite" if is_never_finite(groups, [metric]) else "no whole bin"
        panel.text(0.5, 0.5, remark, transform=panel.transAxes, ha="center", va="center", color=ink("#666666"))
    return is_log, ends


def _finish_panel(panel: Axes, metric: str, look: Look, is_log: bool, ends: Sequence[End]) -> None:
    finish_axes(panel, lookup.metric(metric), is_log)
    label_ends(panel, ends, look)


def mark_breaks(panel: Axes, groups: Sequence[Group], metric: str, colours: Mapping[str, str], look: Look) -> None:
    """Mark at the bottom of a panel where a seed becomes non-finite or diverges, and explain the mark."""
    first, last = look.tasks
    size = 20 * look.looks.line_width
    marked = False
    for group in groups:
        tasks = sorted({int(task) for run in group.runs for task in breaks(run, metric) if first <= task <= last})
        if not tasks:
            continue
        at, marked = np.array(tasks) * group.x_per_task, True
        panel.scatter(
            at,
            np.full(len(at), 0.03),
            size,
            marker=f"${BREAK}$",
            color=colours[group.label],
            transform=panel.get_xaxis_transform(),
            zorder=5,
            clip_on=False,
        )
    if marked:
        mark = panel.scatter([], [], size, marker=f"${BREAK}$", color=ink("#666666"))
        legend_above(panel, [mark], [BREAK_LEGEND.removeprefix(f"{BREAK} ")])


def _draw_baseline(panel: Axes, baseline: Baseline, factor: float, look: Look) -> End:
    level, name = baseline
    colour = lookup.method("linear").colour
    panel.axhline(level * factor, color=colour, linestyle="--", linewidth=0.8 * look.looks.line_width, zorder=1)
    return End(np.inf, level * factor, name, colour)


def _draw_reference(
    panel: Axes, groups: Sequence[Group], factor: float, colours: Mapping[str, str], look: Look
) -> None:
    """Draw a diamond at the paper's mean, in the colour of its setting."""
    first, last = look.tasks
    shown = [
        (level.task * group.x_per_task, factor * level.value, colours[group.label])
        for group in groups
        for level in published_levels(next((run.spec for run in group.runs if run.spec), {}))
        if first <= level.task <= last
    ]
    size = 14 * look.looks.line_width
    for task, value, colour in shown:
        panel.scatter([task], [value], size, marker="D", facecolors="white", edgecolors=colour, zorder=4, clip_on=False)
    if shown:
        diamond = panel.scatter([], [], size, marker="D", facecolors="white", edgecolors=ink("#666666"))
        legend_above(panel, [diamond], ["Dohare et al. 2024"])
