"""Lines with bands, and the axes that they stand in."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from lop_engine.analysis import Curve
from lop_engine.analysis.curves import reach
from lop_engine.experiment.components import Metric
from lop_tui.figures.look import Look


def draw_curve(panel: Axes, curve: Curve, factor: float, colour: str, look: Look, dashes: str = "-") -> None:
    """Draw a curve of one point or more with its band; thin and dotted from where fewer seeds enter to its end."""
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
    """Name the y axis and keep it within what the metric can be; noise shall not fill the panel."""
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
        high = min(high, 100.5)  # a line at 100 is drawn in its whole width
    panel.set_ylim(low, max(high, low + measure.least_span))


def set_log_scale(panel: Axes, measure: Metric, means: Sequence[float]) -> bool:
    """A log scale from the least positive mean up: a mean of zero, and a band that reaches below, lie on its floor.

    Returns:
        Whether there is one: not where no mean is positive.
    """
    positive = [mean for mean in means if mean > 0]
    if positive:
        panel.set_yscale("log", nonpositive="clip")
        panel.set_ylim(min(positive) / 1.5, min(max(positive) * 3, 100 if measure.unit == "%" else np.inf))
    return bool(positive)
