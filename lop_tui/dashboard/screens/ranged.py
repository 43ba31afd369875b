"""Moving along the x axis: what all views of charts have in common."""

from typing import Any

from textual.binding import Binding

from lop_tui.dashboard.drawing.axes import Axis
from lop_tui.dashboard.viewport import Viewport
from lop_tui.dashboard.widgets.chart import ChartView

STEP_SHARE, LEAP_SHARE = 1 / 60, 1 / 6
"""How far the cursor goes, as a share of what is shown."""

RANGE_KEYS = [
    Binding("left", f"cursor({-STEP_SHARE})", "Cursor", show=False, tooltip="Cursor: every value at a task (mouse)"),
    Binding("right", f"cursor({STEP_SHARE})", "Cursor", show=False, tooltip="Cursor: every value at a task (mouse)"),
    Binding("shift+left", f"cursor({-LEAP_SHARE})", "Cursor, far", show=False, tooltip="Cursor, far"),
    Binding("shift+right", f"cursor({LEAP_SHARE})", "Cursor, far", show=False, tooltip="Cursor, far"),
    Binding("plus,equals_sign", "zoom(0.5)", "Zoom in", key_display="+", show=False, tooltip="Zoom (wheel)"),
    Binding("minus", "zoom(2)", "Zoom out", key_display="-", show=False, tooltip="Zoom (wheel)"),
    Binding("comma", "pan(-1)", "Range to the left", key_display=",", show=False, tooltip="Move the range (drag)"),
    Binding("full_stop", "pan(1)", "Range to the right", key_display=".", show=False, tooltip="Move the range (drag)"),
    Binding("0", "whole", "Whole range, no cursor", show=False),
]


class Ranged:
    """Keys and mouse that move one viewport; to be mixed into a screen."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.viewport = Viewport()

    @property
    def whole(self) -> Axis | None:
        """The axis along which one moves; None if missing."""
        raise NotImplementedError

    def look(self) -> None:
        """Show what the viewport says, at once."""
        raise NotImplementedError

    def move(self, viewport: Viewport) -> None:
        """Show another range or cursor."""
        if viewport != self.viewport:
            self.viewport = viewport
            self.look()

    def on_chart_view_pointed(self, message: ChartView.Pointed) -> None:
        self.move(Viewport(self.viewport.window, message.x))

    def on_chart_view_zoomed(self, message: ChartView.Zoomed) -> None:
        if whole := self.whole:
            self.move(self.viewport.zoomed(message.factor, message.x, whole))

    def on_chart_view_panned(self, message: ChartView.Panned) -> None:
        if whole := self.whole:
            self.move(self.viewport.panned(message.by, whole))

    def action_cursor(self, by: float) -> None:
        if whole := self.whole:
            self.move(self.viewport.with_cursor_moved(by, whole))

    def action_zoom(self, factor: float) -> None:
        if whole := self.whole:
            self.move(self.viewport.zoomed(factor, self.viewport.cursor, whole))

    def action_pan(self, direction: int) -> None:
        if whole := self.whole:
            low, high = self.viewport.window or (whole.low, whole.high)
            self.move(self.viewport.panned(direction * (high - low) / 4, whole))

    def action_whole(self) -> None:
        self.move(Viewport())
