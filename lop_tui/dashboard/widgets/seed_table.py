"""The table of single seeds on the screen."""

from rich.text import Text
from textual import events
from textual.widgets import DataTable

from lop_tui.dashboard.model import Seeds
from lop_tui.dashboard.seeds import Order, SeedCells, fit_seeds


class SeedTable(DataTable[Text], can_focus=False):
    """One row per seed; cells change in place, and the cursor stays on its seed wherever that goes."""

    def __init__(self) -> None:
        super().__init__(cursor_type="row", zebra_stripes=False)
        self._seeds: Seeds | None = None
        self._order: Order = ("seed", False)
        self._ascii = False
        self._cells = SeedCells((), (), {})

    @property
    def selected(self) -> int | None:
        """The seed of the row under the cursor."""
        seeds = list(self._cells.rows)
        return int(seeds[self.cursor_row]) if 0 <= self.cursor_row < len(seeds) else None

    def show(self, seeds: Seeds, order: Order, ascii_only: bool) -> None:
        """Bring the table up to date; `seeds` are in that order already."""
        self._seeds, self._order, self._ascii = seeds, order, ascii_only
        if self.size.width:
            self._update()

    def select(self, seed: int) -> None:
        """Put the cursor on a seed."""
        seeds = list(self._cells.rows)
        if str(seed) in seeds:
            self.move_cursor(row=seeds.index(str(seed)), animate=False)

    def on_resize(self, event: events.Resize) -> None:
        self._update()

    def _update(self) -> None:
        if self._seeds is None:
            return
        selected, shown = self.selected, self._cells
        width = self.scrollable_content_region.width
        cells = fit_seeds(self._seeds, self._order, width, not self.app.no_color, self._ascii)
        if cells.headers != shown.headers or cells.rows.keys() != shown.rows.keys():
            # Other columns, another order by a key, or a new seed: rare, and laid out anew.
            self.clear(columns=True)
            for column, header in zip(cells.columns, cells.headers, strict=True):
                self.add_column(header, key=column)
            for seed, row in cells.rows.items():
                self.add_row(*row, key=seed)
        else:
            self._change(shown, cells)
        self._cells = cells
        if selected is not None:
            self.select(selected)

    def _change(self, shown: SeedCells, cells: SeedCells) -> None:
        for seed, row in cells.rows.items():
            for column, cell, old in zip(cells.columns, row, shown.rows[seed], strict=True):
                if cell != old:
                    self.update_cell(seed, column, cell, update_width=True)
        if list(cells.rows) != list(shown.rows):
            place = {seed: i for i, seed in enumerate(cells.rows)}
            self.sort("seed", key=lambda cell: place[cell.plain])
