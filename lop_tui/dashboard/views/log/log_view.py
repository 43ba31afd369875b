"""A widget to read, follow and search lines of text: errors, and the log below them.

Running `less -R +F` in a suspended dashboard was tried instead: the Ctrl-C that stops following in less ended the
dashboard too, unread frames queued up, and a dashboard in a browser cannot be suspended, so it needs this view anyway.
Textual's own `Log` neither wraps lines nor searches.
"""

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar, Literal

from rich.cells import cell_len, chop_cells
from rich.text import Text
from textual import events
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.selection import Selection
from textual.strip import Strip

Kind = Literal["text", "error", "rule", "remark"]
MOST_MATCHES = 10_000
_INDENT = "  "
"""Indentation of the rest of a line that did not fit."""


@dataclass(frozen=True)
class Line:
    """One line, before wrapping."""

    text: str
    kind: Kind = "text"


@dataclass(frozen=True)
class Row:
    """The text of one row of the screen."""

    line: int
    start: int
    """First character of the line in this row."""
    text: str
    indent: str = ""


class LogView(ScrollView, can_focus=True, inherit_bindings=False):
    """Shows lines wrapped between words; scrolls along with new lines while the end is visible."""

    ALLOW_SELECT = True
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "log--error",
        "log--rule",
        "log--remark",
        "log--match",
        "log--present-match",
    }

    class Changed(Message):
        """Following was switched on or off, or another match was selected."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: Sequence[Line] = ()
        self._first = 0
        self._rows: list[Row] = []
        self._row_of: list[int] = []
        """First row of each line."""
        self._following = True
        self._is_settled = True
        self._pattern: re.Pattern[str] | None = None
        self._matches: list[tuple[int, int, int]] = []
        """Line, start and end of each match."""
        self._present = 0

    @property
    def following(self) -> bool:
        """Whether the view scrolls to new lines."""
        return self._following

    @property
    def found(self) -> tuple[int, int]:
        """Return the number of the selected match, from 1, and of all matches; (0, 0) without matches."""
        return (self._present + 1, len(self._matches)) if self._matches else (0, 0)

    def show(self, lines: Sequence[Line], first: int = 0) -> None:
        """Show `lines`; `first` is the number of the first one, which keeps the position when old lines are dropped."""
        moved = self._first - first
        top = self._top_line() + moved
        present = self._matches[self._present] if self._matches else None
        self._lines, self._first = lines, first
        self._lay_out(top)
        self._find()
        if present and self._matches:
            line, start, _ = present
            self._present = min(bisect_right(self._matches, (line + moved, start + 1)), len(self._matches)) - 1
            self._present = max(0, self._present)

    def follow(self, following: bool) -> None:
        """Switch following on or off."""
        self._set_following(following)
        if following:
            self.scroll_end(animate=False, immediate=True, force=True)

    def move(self, rows: int) -> None:
        """Scroll by several rows at once; at the end, follow again."""
        self.scroll_to(y=self.scroll_offset.y + rows, animate=False, immediate=True, force=True)

    def search(self, query: str) -> None:
        """Mark matches of `query`, ignoring case, and go to the next one; an empty query ends the search."""
        self._pattern = re.compile(re.escape(query), re.IGNORECASE) if query else None
        self._find()
        self.refresh()
        if self._matches:
            below = bisect_right(self._matches, (self._top_line(), -1, -1))
            self._go_to(min(below, len(self._matches) - 1))
        self.post_message(self.Changed())

    def step(self, direction: int) -> None:
        """Go to the next or previous match, cyclically."""
        if self._matches:
            self._go_to((self._present + direction) % len(self._matches))
            self.post_message(self.Changed())

    def on_resize(self, event: events.Resize) -> None:
        self._lay_out(self._top_line())

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if self._is_settled:
            self._set_following(round(new_value) >= self.max_scroll_y)

    def render_line(self, y: int) -> Strip:
        y += self.scroll_offset.y
        style, width = self.rich_style, self.size.width
        if y >= len(self._rows):
            return Strip.blank(width, style)
        text = self._render_row(y)
        strip = Strip(text.render(self.app.console), text.cell_len)
        return strip.crop_extend(0, width, style).apply_offsets(0, y)

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        return selection.extract("\n".join(row.indent + row.text for row in self._rows)), "\n"

    def selection_updated(self, selection: Selection | None) -> None:
        self.refresh()

    def _render_row(self, y: int) -> Text:
        row = self._rows[y]
        kind = self._lines[row.line].kind
        text = Text(row.indent + row.text, no_wrap=True, end="")
        text.stylize(self.rich_style if kind == "text" else self.get_component_rich_style(f"log--{kind}"))
        shift = len(row.indent) - row.start
        at = bisect_right(self._matches, (row.line, -1, -1))
        while at < len(self._matches) and self._matches[at][0] == row.line:
            _, start, end = self._matches[at]
            name = "log--present-match" if at == self._present else "log--match"
            start, end = max(start + shift, len(row.indent)), end + shift
            if start < end:
                text.stylize(self.get_component_rich_style(name), start, end)
            at += 1
        selection = self.text_selection
        if selection is not None and (span := selection.get_span(y)) is not None:
            start, end = span
            selected = self.screen.get_component_rich_style("screen--selection")
            text.stylize(selected, start, len(text) if end == -1 else end)
        return text

    def _lay_out(self, top: int) -> None:
        """Wrap the lines again; `top` is the line to show at the top, unless following."""
        width = self.scrollable_content_region.width
        if not width:
            return
        self._is_settled = False
        self._rows, self._row_of = [], []
        for number, line in enumerate(self._lines):
            self._row_of.append(len(self._rows))
            self._rows += wrap(number, line.text, width)
        self.virtual_size = Size(width, len(self._rows))
        if self._following:
            self.scroll_end(animate=False, immediate=True, force=True)
        elif self._row_of:
            self.scroll_to(
                y=self._row_of[min(max(0, top), len(self._row_of) - 1)], animate=False, immediate=True, force=True
            )
        self._is_settled = True
        self.refresh()

    def _top_line(self) -> int:
        y = self.scroll_offset.y
        return self._rows[y].line if y < len(self._rows) else 0

    def _find(self) -> None:
        pattern = self._pattern
        lines = (
            (number, match.start(), match.end())
            for number, line in enumerate(self._lines if pattern else ())
            for match in (pattern.finditer(line.text) if pattern else ())
        )
        self._matches = list(islice(lines, MOST_MATCHES))
        self._present = min(self._present, max(0, len(self._matches) - 1))

    def _go_to(self, match: int) -> None:
        self._present = match
        line, start, _ = self._matches[match]
        rows = self._rows[self._row_of[line] :] if self._row_of else []
        within = sum(1 for row in rows[:200] if row.line == line and row.start <= start) - 1
        y, top, height = self._row_of[line] + max(0, within) if rows else 0, self.scroll_offset.y, self.size.height
        if not top <= y < top + height:
            self.scroll_to(y=y - height // 3, animate=False, immediate=True, force=True)
        self.refresh()

    def _set_following(self, following: bool) -> None:
        if following != self._following:
            self._following = following
            self.post_message(self.Changed())


def wrap(number: int, line: str, width: int) -> list[Row]:
    """Return the rows of line `number`, broken between words if possible; continued rows are indented."""
    if line.isascii() and len(line) <= width:
        return [Row(number, 0, line)]
    rows: list[Row] = []
    start, indent = 0, ""
    while True:
        room = max(2, width - len(indent))
        rest = line[start:]
        if cell_len(rest) <= room:
            return [*rows, Row(number, start, rest, indent)]
        fitting = len(chop_cells(rest, room)[0]) or 1
        space = rest.rfind(" ", room // 2, fitting + 1)
        taken = space if space > 0 else fitting
        rows.append(Row(number, start, rest[:taken], indent))
        start = len(line) - len(line[start + taken :].lstrip(" "))
        indent = _INDENT if width > 20 else ""
