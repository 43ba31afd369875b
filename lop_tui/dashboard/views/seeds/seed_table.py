"""The table of single seeds on the screen."""

from textual import events

from lop_tui.dashboard.views.seeds.frame import Seeds
from lop_tui.dashboard.views.seeds.table import Order, fit_seeds
from lop_tui.dashboard.widgets.fitted_table import FittedTable


class SeedTable(FittedTable):
    """One row per seed, by its number."""

    def __init__(self) -> None:
        super().__init__()
        self._seeds: Seeds | None = None
        self._order: Order = ("seed", False)
        self._ascii = False

    @property
    def seed(self) -> int | None:
        """The seed of the row under the cursor."""
        return None if self.selected is None else int(self.selected)

    def show(self, seeds: Seeds, order: Order, ascii_only: bool) -> None:
        """Bring the table up to date; `seeds` are in that order already."""
        self._seeds, self._order, self._ascii = seeds, order, ascii_only
        if self.size.width:
            self._update()

    def on_resize(self, event: events.Resize) -> None:
        self._update()

    def _update(self) -> None:
        if self._seeds is None:
            return
        width = self.scrollable_content_region.width
        cells = fit_seeds(self._seeds, self._order, width, not self.app.no_color, self._ascii)
        self.fill(cells.columns, cells.headers, cells.rows)
