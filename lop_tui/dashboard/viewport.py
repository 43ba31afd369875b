"""The visible range of the x axis, and the cursor, that all charts share."""

from dataclasses import dataclass, replace

import numpy as np

from lop_tui.dashboard.drawing.axes import Axis
from lop_tui.dashboard.drawing.chart import Chart, Line

_LEAST_SHARE = 1 / 500
"""The smallest share of the whole axis that zooming in shows."""


@dataclass(frozen=True)
class Viewport:
    """Range and cursor, the same for every chart of a screen."""

    window: tuple[float, float] | None = None
    """None: the whole axis, growing with the runs."""
    cursor: float | None = None

    def window_of(self, chart: Chart) -> tuple[float, float]:
        """Return the range that a chart shows."""
        return self.window or (chart.x.low, chart.x.high)

    def zoomed(self, factor: float, at: float | None, whole: Axis) -> "Viewport":
        """Return the range scaled by `factor` around `at` (or the middle)."""
        low, high = self.window or (whole.low, whole.high)
        at = (low + high) / 2 if at is None else at
        span = max((high - low) * factor, (whole.high - whole.low) * _LEAST_SHARE)
        share = (at - low) / (high - low)
        return self._moved_to(at - share * span, span, whole)

    def panned(self, by: float, whole: Axis) -> "Viewport":
        """Return the range moved by `by`, within the axis."""
        low, high = self.window or (whole.low, whole.high)
        return self._moved_to(low + by, high - low, whole)

    def with_cursor_moved(self, by_share: float, whole: Axis) -> "Viewport":
        """Return the cursor moved by a share of the range; it starts at the right end, and scrolls the range."""
        low, high = self.window or (whole.low, whole.high)
        start = high if self.cursor is None else self.cursor
        cursor = float(np.clip(start + by_share * (high - low), whole.low, whole.high))
        moved = replace(self, cursor=cursor)
        if low <= cursor <= high:
            return moved
        return moved.panned(cursor - high if cursor > high else cursor - low, whole)

    def _moved_to(self, low: float, span: float, whole: Axis) -> "Viewport":
        if span >= whole.high - whole.low:
            return replace(self, window=None)
        low = float(np.clip(low, whole.low, whole.high - span))
        return replace(self, window=(low, low + span))


def point_at(line: Line, x: float) -> int | None:
    """Return the point of a line that is nearest to `x`; None if the line does not reach it."""
    if not len(line.x):
        return None
    nearest = int(np.abs(line.x - x).argmin())
    reach = np.diff(line.x).max() if len(line.x) > 1 else np.inf
    return nearest if abs(line.x[nearest] - x) <= reach else None
