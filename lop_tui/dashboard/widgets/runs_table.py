"""The run table on the screen."""

from collections.abc import Sequence

from rich.text import Text
from textual import events
from textual.widgets import DataTable

from lop_tui.dashboard.rows import Row
from lop_tui.dashboard.table import Table, fit_table


class RunsTable(DataTable[Text], can_focus=False):
    """One row per setting of a method; cells change in place, a row stays where it is."""

    def __init__(self) -> None:
        super().__init__(cursor_type="row", cursor_foreground_priority="renderable")
        self._rows: tuple[Row, ...] = ()
        self._shown = Table((), {})

    @property
    def selected(self) -> str | None:
        """The label of the row under the cursor."""
        labels = list(self._shown.rows)
        return labels[self.cursor_row] if 0 <= self.cursor_row < len(labels) else None

    def show(self, rows: Sequence[Row]) -> None:
        """Bring the table up to date."""
        self._rows = tuple(rows)
        if self.size.width:
            self._update()

    def on_resize(self, event: events.Resize) -> None:
        self._update()

    def _update(self) -> None:
        selected = self.selected
        table = fit_table(self._rows, self.scrollable_content_region.width, not self.app.no_color)
        for label in self._shown.rows.keys() - table.rows.keys():
            self.remove_row(label)
        kept = [label for label in self._shown.rows if label in table.rows]
        if table.columns != self._shown.columns or kept != list(table.rows)[: len(kept)]:
            # Other columns after a resize, or a row that belongs between others: rare, and laid out anew.
            self.clear(columns=True)
            for column in table.columns:
                self.add_column(column, key=column)
            kept = []
        for label, cells in table.rows.items():
            if label not in kept:
                self.add_row(*cells, key=label)
                continue
            for column, cell, old in zip(table.columns, cells, self._shown.rows[label], strict=True):
                if cell != old:
                    self.update_cell(label, column, cell, update_width=True)
        self._shown = table
        if selected in table.rows and selected != self.selected:
            self.move_cursor(row=list(table.rows).index(selected), animate=False)
