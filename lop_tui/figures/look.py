"""The style of figures: sizes, type and colours; lines and axes; creating and saving figures."""

import io
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import matplotlib
import numpy as np

matplotlib.use("Agg")

from matplotlib import rc_context, rcdefaults, rcParams
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lop_engine.analysis import Curve, Group
from lop_engine.analysis.curves import Band, reach
from lop_engine.errors import UserError
from lop_engine.experiment.components import Metric
from lop_engine.files import writing
from lop_tui.figures.room import is_cramped, needed, room
from lop_tui.words.palette import colours_of

FORMATS = (".png", ".svg", ".pdf")


@dataclass(frozen=True)
class Style:
    """What differs between figures for a page and for a projector."""

    font_size: float
    """In points."""
    line_width: float
    """In points."""
    dpi: int
    panel: tuple[float, float]
    """In inches."""
    num_columns: int
    """Columns for five panels or more."""


STYLES = {"paper": Style(9, 1.5, 300, (4.8, 3.2), 2), "screen": Style(13, 2.4, 160, (7.2, 4.6), 3)}

#: Without a date, with a fixed salt and matplotlib's own font, the same records give the same bytes.
_SETTINGS: Any = {
    "font.family": "DejaVu Sans",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "svg.hashsalt": "lop",
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}

_METADATA: Mapping[str, Any] = {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}


@dataclass(frozen=True)
class Look:
    """What a figure shows of the records, and its style."""

    bin_size: int | None = None
    """Tasks per bin; by default chosen by a group's length."""
    tasks: tuple[float, float] = (1, math.inf)
    """First and last task: bins with their middle in this range are drawn; the bins do not depend on it."""
    log: bool | None = None
    """Log scale in every panel, or in none; by default as the metric says."""
    band: Band = "se"
    style: str = "paper"
    """One of `STYLES`."""
    size: tuple[float, float] | None = None
    """Width and height in inches; by default the style's size per panel."""
    dpi: int | None = None
    """Dots per inch of a PNG; by default the style's."""
    title: str = ""
    reference: bool = False
    """Show the published levels of published settings."""
    colours: Mapping[str, str] = field(default_factory=dict)
    """Colours by label; other labels get colours from the groups that are drawn."""

    @property
    def looks(self) -> Style:
        return STYLES[self.style]

    def curve(self, group: Group, metric: str) -> Curve:
        """Return the points of `group` that are drawn."""
        curve = group.curve(metric, self.bin_size)
        shown = (curve.task >= self.tasks[0]) & (curve.task <= self.tasks[1])
        return Curve(
            curve.task[shown], curve.mean[shown], curve.standard_error[shown], curve.num_seeds[shown], curve.bin_size
        )

    def drawn(self, group: Group, metric: str) -> Curve:
        """Return the same with `task` and `bin_size` in the x axis' unit of the group's problem."""
        curve = self.curve(group, metric)
        return replace(curve, task=curve.task * group.x_per_task, bin_size=curve.bin_size * group.x_per_task)

    def colours_of(self, groups: Sequence[Group]) -> dict[str, str]:
        """Return a colour for each group's label."""
        return colours_of(groups) | dict(self.colours)


DEFAULT = Look()


@contextmanager
def drawing(look: Look) -> Iterator[None]:
    """Context in which matplotlib draws as `look` says, ignoring the user's matplotlibrc."""
    with rc_context():
        rcdefaults()
        size = look.looks.font_size
        rcParams.update(_SETTINGS | {"font.size": size, "axes.titlesize": size, "legend.fontsize": 0.85 * size})
        yield


def sheet(num_panels: int, look: Look, names: Sequence[str] = (), **shared: Any) -> tuple[Figure, list[Axes]]:
    """Return an empty figure with `num_panels` panels in rows, and the panels.

    Args:
        names: labels beside each panel; without a size in `look` a panel has room for them.
        shared: `sharey` and similar arguments of matplotlib's `subplots`.
    """
    num_columns = min(num_panels, look.looks.num_columns if num_panels > 4 else 2)
    num_rows = -(-num_panels // num_columns)
    width, height = map(max, look.looks.panel, room(names, look.looks.font_size))
    figure = Figure(figsize=look.size or (width * num_columns + 0.6, height * num_rows), layout="constrained")
    panels = list(figure.subplots(num_rows, num_columns, squeeze=False, **shared).ravel())
    for unused in panels[num_panels:]:
        unused.set_visible(False)
    if look.title:
        figure.suptitle(look.title)
    return figure, panels[:num_panels]


def label_outer(panels: Sequence[Axes]) -> None:
    """Label shared axes only at the left and at the lowest panel of each column."""
    grid = panels[0].get_gridspec()
    num_columns = grid.ncols if grid else 1
    for place, panel in enumerate(panels):
        is_left, is_lowest = place % num_columns == 0, place + num_columns >= len(panels)
        panel.tick_params(labelleft=is_left, labelbottom=is_lowest)
        panel.set_xlabel(panel.get_xlabel() if is_lowest else "")
        panel.set_ylabel(panel.get_ylabel() if is_left else "")


def legend_above(panel: Axes, handles: Sequence[Artist], names: Sequence[str]) -> None:
    """Add one legend above all panels, where it covers nothing."""
    figure = panel.get_figure(root=True)
    if figure is None:
        return
    for legend in figure.legends[:]:
        before = [text.get_text() for text in legend.get_texts()]
        if set(names) <= set(before):
            return
        handles, names = [*legend.legend_handles, *handles], [*before, *names]  # type: ignore[list-item]
        legend.remove()
    if handles:
        figure.legend(
            handles, names, loc="outside upper right", ncols=len(names), frameon=False, handletextpad=0.4, borderpad=0.1
        )


def draw_curve(panel: Axes, curve: Curve, factor: float, colour: str, look: Look, dashes: str = "-") -> None:
    """Draw a curve with its band; thin and dotted from where it has fewer seeds."""
    mean, spread = curve.mean * factor, reach(curve, look.band) * factor
    width = look.looks.line_width
    marker = "o" if len(mean) == 1 else None
    strong = int(np.flatnonzero(curve.num_seeds == curve.num_seeds.max())[-1]) + 1
    panel.plot(
        curve.task[:strong], mean[:strong], dashes, color=colour, linewidth=width, marker=marker, markersize=2 * width
    )
    if strong < len(mean):
        panel.plot(curve.task[strong - 1 :], mean[strong - 1 :], ":", color=colour, linewidth=0.7 * width)
    if np.isfinite(spread).any():
        panel.fill_between(curve.task, mean - spread, mean + spread, color=colour, alpha=0.2, linewidth=0)


def finish_axes(panel: Axes, measure: Metric, is_log: bool) -> None:
    """Label the y axis and limit it to possible values; a least span keeps noise from filling the panel."""
    panel.set_ylabel(measure.label)
    panel.grid(axis="y", alpha=0.25, linewidth=0.6)
    panel.set_axisbelow(True)
    if is_log:
        return
    low, high = panel.get_ylim()
    missing = max(0.0, measure.least_span - (high - low))
    low, high = low - missing / 2, high + missing / 2
    low = 0.0 if measure.from_zero else max(0.0, low)
    if measure.unit == "%":
        high = min(high, 100.5)  # a line at 100 is drawn at full width
    panel.set_ylim(low, max(high, low + measure.least_span))


def set_log_scale(panel: Axes, measure: Metric, means: Sequence[float]) -> bool:
    """Set a log scale from the least positive mean up; means of zero and band parts below are at its floor.

    Returns:
        Whether the scale is set: not if no mean is positive.
    """
    positive = [mean for mean in means if mean > 0]
    if positive:
        panel.set_yscale("log", nonpositive="clip")
        panel.set_ylim(min(positive) / 1.5, min(max(positive) * 3, 100 if measure.unit == "%" else np.inf))
    return bool(positive)


def save(figure: Figure, path: Path, look: Look = DEFAULT) -> list[str]:
    """Write a figure, atomically, in the format that its suffix names.

    Returns:
        Notes for the user: characters that cannot be drawn.

    Raises:
        UserError: it cannot be drawn, or is too small for its content.
        OSError: it cannot be written.
    """
    suffix = path.suffix.lower()
    with writing(path) as file:
        try:
            missing = _print(figure, file, suffix, look)
        except ValueError as error:  # matplotlib reads a title with a lone $ as mathematics
            raise UserError(f"plot: {path}: cannot be drawn: {str(error).strip().splitlines()[-1]}") from None
    if not missing or suffix == ".svg":  # text remains text, in any font
        return []
    return [f"not in the figure's font, so drawn as boxes: {missing} (an SVG leaves them to its reader's fonts)"]


def as_svg(figure: Figure, look: Look = DEFAULT) -> bytes:
    """Return the figure as an SVG file. Raises UserError if it is too small for its content."""
    file = io.BytesIO()
    _print(figure, file, ".svg", look)
    return file.getvalue()


def _print(figure: Figure, file: BinaryIO, suffix: str, look: Look) -> str:
    """Write the figure and return the characters that its font lacks. Raises UserError if it is too small."""
    with drawing(look), warnings.catch_warnings(record=True) as caught:
        for message in ("Glyph", "constrained_layout not applied"):
            warnings.filterwarnings("always", message)
        figure.savefig(file, format=suffix[1:], dpi=look.dpi or look.looks.dpi, metadata=_METADATA[suffix])
        cramped = is_cramped(figure, look.looks.font_size)
    warnings_ = [str(one.message) for one in caught]
    if cramped or any(text.startswith("constrained_layout") for text in warnings_):
        width, height = needed(figure, look.looks.font_size)
        raise UserError(
            f"plot: {figure.get_figwidth():g}x{figure.get_figheight():g} inches are too small for this "
            f"figure: it needs about {width}x{height} (--size), or fewer metrics or settings"
        )
    codes = [int(match[1]) for text in warnings_ if (match := re.match(r"Glyph (\d+)", text))]
    return "".join(dict.fromkeys(map(chr, codes)))
