"""A table that updates its cells in place, and a text whose size follows its content."""

from collections.abc import Mapping, Sequence

from rich.text import Text
from textual.geometry import Region
from textual.visual import VisualType
from textual.widgets import DataTable, Static


class FittedText(Static):
    """A text as wide or as high as its content wherever its style says auto."""

    def update(self, content: VisualType = "", *, layout: bool = True) -> None:
        """Replace the content; the screen is laid out again if its size changes.

        Textual 8 keeps the measured size until a layout that this widget asked for has been done: if another layout
        comes between two updates, the second content gets the size of the first. New styles, even empty ones, make
        it measure again.
        """
        before = self._extent()
        self.styles.merge_rules({})
        super().update(content, layout=False)
        if layout and (before is None or self._extent() != before):
            self.refresh(layout=True)

    def _extent(self) -> tuple[int, int] | None:
        """Return width and height of the content if it may use the current width; None before the first layout."""
        width = self.content_size.width
        if not width:
            return None
        rules = self.styles.get_rules()
        return self.visual.get_optimal_width(rules, width), self.visual.get_height(rules, width)


class FittedTable(DataTable[Text], can_focus=False):
    """Rows have keys; the cursor follows its row when rows move."""

    _is_updating = False

    def __init__(self) -> None:
        super().__init__(cursor_type="row", cursor_foreground_priority="renderable")
        self._headers: tuple[str, ...] = ()
        self._cells: dict[str, tuple[Text, ...]] = {}

    @property
    def selected(self) -> str | None:
        """Return the key of the row under the cursor."""
        keys = list(self._cells)
        return keys[self.cursor_row] if 0 <= self.cursor_row < len(keys) else None

    def select(self, key: str | None) -> None:
        """Move the cursor to a row, if it exists."""
        if key in self._cells and key != self.selected:
            self.move_cursor(row=list(self._cells).index(key), animate=False)

    def fill(self, columns: Sequence[str], headers: Sequence[str], rows: Mapping[str, tuple[Text, ...]]) -> None:
        """Update the table; `columns` are keys, `headers` the headings."""
        selected, known = self.selected, list(self._cells)
        # A column does not shrink when its widest cell disappears with its row, so make the table again.
        if tuple(headers) != self._headers or not self._cells.keys() <= rows.keys():
            self.clear(columns=True)
            cells = next(iter(rows.values()), (Text(),) * len(headers))
            for column, header, cell in zip(columns, headers, cells, strict=True):
                self.add_column(Text(header, justify=cell.justify), key=column)
            known = []
        for key, cells in rows.items():
            if key not in known:
                self.add_row(*cells, key=key)
            else:
                self._update_row(key, columns, cells)
        for column, *beneath in zip(self.ordered_columns, *rows.values(), strict=True):
            # Textual measures new rows when it is idle, and caches what it drew of them before.
            column.content_width = max([column.content_width, *(cell.cell_len for cell in beneath)])
        if [*known, *(key for key in rows if key not in known)] != list(rows):
            self._put_in_order(list(rows))
        self._headers, self._cells = tuple(headers), dict(rows)
        self.select(selected)

    def _update_row(self, key: str, columns: Sequence[str], cells: tuple[Text, ...]) -> None:
        """Update the cells that have changed, and draw only their row: Textual draws the whole table for each."""
        changed = [pair for pair in zip(columns, cells, self._cells[key], strict=True) if pair[1] != pair[2]]
        self._is_updating = True
        for column, cell, old in changed:
            self.update_cell(key, column, cell, update_width=cell.cell_len != old.cell_len)
        self._is_updating = False
        if changed:
            self.refresh_row(self.get_row_index(key))

    def refresh(
        self, *regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False
    ) -> "FittedTable":
        """Draw the table again, except for single cells, see `_update_row`."""
        if not self._is_updating:
            super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)
        return self

    def _put_in_order(self, keys: list[str]) -> None:
        place = {id(self.get_row(key)[0]): i for i, key in enumerate(keys)}
        self.sort(next(iter(self.columns)), key=lambda cell: place[id(cell)])
