"""Settings of a sweep: a metric over one key, a line per method; or over two keys, as a heat map."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lop_engine.analysis import Curve, Group
from lop_engine.analysis.choice import seed_values
from lop_engine.analysis.curves import mean_over_seeds, reach
from lop_engine.analysis.grid import Point, in_order, is_number
from lop_engine.experiment import lookup
from lop_engine.experiment.components import Metric
from lop_tui.figures.ends import End, label_ends
from lop_tui.figures.look import DEFAULT, Look, drawing, finish_axes, set_log_scale, sheet
from lop_tui.figures.room import short
from lop_tui.words.formats import short_value

_SPREAD = 10
"""Values that differ by this factor or more get a log scale."""
_MISSING = "#d9d9d9"


@dataclass(frozen=True)
class Settings:
    """Settings of one method, with their values of the keys in the figure."""

    name: str
    first: Group
    """The method's first setting, which determines the line's colour."""
    chosen: Group
    """The method's best setting."""
    at: Sequence[tuple[Point, Group]]


def draw_sensitivity(lines: Sequence[Settings], key: str, metrics: Sequence[str], look: Look = DEFAULT) -> Figure:
    """Draw one panel per metric: its mean over the last tenth of the tasks against `key`, a line per method."""
    values = in_order([point[key] for line in lines for point, _ in line.at])
    with drawing(look):
        figure, panels = sheet(len(metrics), look, [f"{short(line.name)} (n=30)" for line in lines])
        for panel, metric in zip(panels, metrics, strict=True):
            _draw_lines(panel, lines, key, values, metric, look)
    return figure


def _draw_lines(
    panel: Axes, lines: Sequence[Settings], key: str, values: Sequence[Any], metric: str, look: Look
) -> None:
    measure, place = lookup.metric(metric), _set_x_axis(panel, values)
    curves = [(line, curve) for line in lines if len((curve := _over(line, key, metric, place)).task)]
    is_log = measure.scale == "log" if look.log is None else look.log
    if is_log:
        means = [float(mean) for _, curve in curves for mean in curve.mean * measure.factor]
        is_log = set_log_scale(panel, measure, means)
    colours, ends = look.colours_of([line.first for line in lines]), []
    for line, curve in curves:
        colour, width = colours[line.first.label], look.looks.line_width
        mean, band = curve.mean * measure.factor, reach(curve, look.band) * measure.factor
        panel.plot(curve.task, mean, "-o", color=colour, linewidth=width, markersize=2.5 * width, clip_on=False)
        if np.isfinite(band).any():
            panel.fill_between(curve.task, mean - band, mean + band, color=colour, alpha=0.2, linewidth=0)
        least, most = int(curve.num_seeds.min()), int(curve.num_seeds.max())
        count = f"{most}" if least == most else f"{least}-{most}"
        ends.append(End(float(curve.task[-1]), float(mean[-1]), f"{short(line.name)} (n={count})", colour))
    panel.set_xlabel(key.replace("_", " "))
    finish_axes(panel, measure, is_log)
    panel.set_ylabel(f"{measure.label}, last tenth")
    label_ends(panel, ends, look)


def _set_x_axis(panel: Axes, values: Sequence[Any]) -> dict[Any, float]:
    """Put ticks at the values, on a log scale if they differ widely; return the position of each value.

    Words, and zero on a log scale, are spaced equally.
    """
    numbers = [value for value in values if is_number(value)]
    is_wide = bool(numbers) and max(map(abs, numbers)) >= _SPREAD * min(map(abs, numbers))
    is_numeric = len(numbers) == len(values) and (not is_wide or min(numbers) > 0)
    if is_numeric and is_wide:
        panel.set_xscale("log")
    places = {value: float(value) if is_numeric else float(place) for place, value in enumerate(values)}
    panel.set_xticks(list(places.values()), [_label(value) for value in values])
    panel.minorticks_off()
    return places


def _over(line: Settings, key: str, metric: str, places: dict[Any, float]) -> Curve:
    """Return mean and standard error over seeds at each value of `key`."""
    points = sorted(
        ((places[_as_value(point[key])], seed_values(group, metric, "last")) for point, group in line.at),
        key=lambda pair: pair[0],
    )
    seeds = sorted({seed for _, of_seeds in points for seed in of_seeds})
    table = np.array([[of_seeds.get(seed, np.nan) for _, of_seeds in points] for seed in seeds])
    return mean_over_seeds(np.array([x for x, _ in points]), table.reshape(len(seeds), len(points)), 1)


def draw_grid(panels_of: Sequence[Settings], keys: tuple[str, str], metric: str, look: Look = DEFAULT) -> Figure:
    """Draw one panel per method: the mean over the last tenth of the tasks for each pair of values, on one scale.

    A frame marks the method's best setting; pairs that did not run or have no value are grey.
    """
    measure = lookup.metric(metric)
    with drawing(look):
        tables = [_table(one, keys, metric) for one in panels_of]
        names = ["0.0001"] * max(len(rows) for _, rows, _, _ in tables)
        figure, panels = sheet(len(panels_of), look, names)
        known = np.concatenate([table[np.isfinite(table)] for _, _, table, _ in tables]) * measure.factor
        middle, half = (known.max() + known.min()) / 2, max(np.ptp(known), measure.least_span, 1e-12) / 2
        image = None
        for panel, one, (columns, rows, table, counts) in zip(panels, panels_of, tables, strict=True):
            panel.set_facecolor(_MISSING)
            image = panel.imshow(
                np.ma.masked_invalid(table * measure.factor),
                vmin=middle - half,
                vmax=middle + half,
                cmap="viridis",
                origin="lower",
                aspect="auto",
            )
            _write_values(panel, table, counts, measure, middle, look)
            panel.set_xticks(range(len(columns)), map(_label, columns))
            panel.set_yticks(range(len(rows)), map(_label, rows))
            panel.set_xlabel(keys[0].replace("_", " "))
            panel.set_ylabel(keys[1].replace("_", " "))
            panel.set_title(short(one.name), parse_math=False)
            _frame(panel, one, keys, columns, rows, look)
        if image is not None:
            figure.colorbar(image, ax=panels, label=f"{measure.label}, last tenth", shrink=0.9, pad=0.02)
    return figure


def _table(
    one: Settings, keys: tuple[str, str], metric: str
) -> tuple[list[Any], list[Any], np.ndarray, dict[tuple[int, int], int]]:
    """Return values of both keys, means (values of the second, values of the first), and seeds by row and column."""
    columns, rows = (in_order([point[key] for point, _ in one.at]) for key in keys)
    table, counts = np.full((len(rows), len(columns)), np.nan), {}
    for point, group in one.at:
        values = list(seed_values(group, metric, "last").values())
        row, column = rows.index(_as_value(point[keys[1]])), columns.index(_as_value(point[keys[0]]))
        if values:
            table[row, column], counts[row, column] = np.mean(values), len(values)
    return columns, rows, table, counts


def _write_values(
    panel: Axes, table: np.ndarray, counts: dict[tuple[int, int], int], measure: Metric, middle: float, look: Look
) -> None:
    for (row, column), number in counts.items():
        value = table[row, column]
        panel.text(
            column,
            row,
            f"{short_value(value, measure.scale)}\nn={number}",
            ha="center",
            va="center",
            fontsize=0.8 * look.looks.font_size,
            color="black" if value * measure.factor > middle else "white",
        )


def _frame(
    panel: Axes, one: Settings, keys: tuple[str, str], columns: Sequence[Any], rows: Sequence[Any], look: Look
) -> None:
    point = next((point for point, group in one.at if group is one.chosen), None)
    if point:
        corner = columns.index(_as_value(point[keys[0]])) - 0.5, rows.index(_as_value(point[keys[1]])) - 0.5
        width = 1.5 * look.looks.line_width
        panel.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor="#D55E00", linewidth=width, clip_on=False))


def _as_value(value: Any) -> Any:
    """Return a value in the form of `in_order`."""
    return value if is_number(value) else str(value)


def _label(value: Any) -> str:
    return f"{value:g}" if is_number(value) else str(value)
