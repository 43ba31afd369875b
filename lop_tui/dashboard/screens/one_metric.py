"""What the views of a single metric have in common: which metric that is."""

from textual.binding import Binding

from lop_tui.dashboard.screens.base import FrameScreen
from lop_tui.dashboard.settings import after

METRIC_KEYS = [
    Binding("right_square_bracket", "metric(1)", "Metric", key_display="]", tooltip="Metric"),
    Binding("left_square_bracket", "metric(-1)", "Previous metric", key_display="[", show=False, tooltip="Metric"),
]


class OneMetricScreen(FrameScreen):
    """A view of one metric of all that were recorded."""

    @property
    def labels(self) -> list[str]:
        """Every setting that the filter lets through."""
        view = self.dashboard.view
        return [group.label for group in view.groups] if view else []

    def action_metric(self, direction: int) -> None:
        view = self.dashboard.view
        if view and (metrics := view.shown.recorded):
            self.dashboard.change(metric=after(metrics, view.metric, direction))
