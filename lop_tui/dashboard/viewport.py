"""Which part of the x axis all charts show, and where their common cursor is."""

from dataclasses import dataclass, replace

import numpy as np

from lop_tui.dashboard.drawing.axes import Axis
from lop_tui.dashboard.drawing.chart import Chart, Line

_LEAST_SHARE = 1 / 500
"""Of the whole axis: nearer it does not go."""


@dataclass(frozen=True)
class Viewport:
    """The same for every chart of a screen."""

    window: tuple[float, float] | None = None
    """None: all, and growing with the runs."""
    cursor: float | None = None

    def window_of(self, chart: Chart) -> tuple[float, float]:
        """The range that a chart shows."""
        return self.window or (chart.x.low, chart.x.high)

    def zoomed(self, factor: float, at: float | None, whole: Axis) -> "Viewport":
        """The range times `factor`, with `at` (or the middle) staying where it is."""
        low, high = self.window or (whole.low, whole.high)
        at = (low + high) / 2 if at is None else at
        span = max((high - low) * factor, (whole.high - whole.low) * _LEAST_SHARE)
        share = (at - low) / (high - low)
        return self._moved_to(at - share * span, span, whole)

    def panned(self, by: float, whole: Axis) -> "Viewport":
        """The range moved by `by`, as far as there is something to show."""
        low, high = self.window or (whole.low, whole.high)
        return self._moved_to(low + by, high - low, whole)

    def with_cursor_moved(self, by_share: float, whole: Axis) -> "Viewport":
        """The cursor moved by a share of the range; it begins at the right end, and takes the range along."""
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
    """The point of a line that is nearest to `x`; None where the line does not reach."""
    if not len(line.x):
        return None
    nearest = int(np.abs(line.x - x).argmin())
    reach = np.diff(line.x).max() if len(line.x) > 1 else np.inf
    return nearest if abs(line.x[nearest] - x) <= reach else None
