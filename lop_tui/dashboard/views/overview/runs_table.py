"""The run table on the screen."""

from collections.abc import Sequence

from textual import events

from lop_tui.dashboard.ink import has_colour_samples
from lop_tui.dashboard.rows import Row
from lop_tui.dashboard.table import fit_table
from lop_tui.dashboard.widgets.fitted_table import FittedTable


class RunsTable(FittedTable):
    """One row per setting of a method, by its label."""

    def __init__(self) -> None:
        super().__init__()
        self._rows: tuple[Row, ...] = ()

    def show(self, rows: Sequence[Row]) -> None:
        """Bring the table up to date."""
        self._rows = tuple(rows)
        if self.size.width:
            self._update()

    def on_resize(self, event: events.Resize) -> None:
        self._update()

    def _update(self) -> None:
        width = self.scrollable_content_region.width
        if len(self._rows) >= self.size.height and not self.show_vertical_scrollbar:
            width -= 1  # it is about to appear
        table = fit_table(self._rows, width, has_colour_samples(self))
        self.fill(table.columns, table.columns, table.rows)
