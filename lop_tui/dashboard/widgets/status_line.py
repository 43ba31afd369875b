"""The line on top: what is watched, how far it is, and whether the picture is live."""

from rich.text import Text
from textual.widgets import Static

from lop_tui.dashboard.advice import closing_hint
from lop_tui.dashboard.model import View
from lop_tui.dashboard.table import describe_states


class StatusLine(Static):
    """Left: directory and runs; right: what the charts show, or why they stand still."""

    def __init__(self) -> None:
        super().__init__()
        self._view: View | None = None
        self._paused = False
        self._error: Exception | None = None
        self._page = ""

    def show(self, view: View | None, *, paused: bool, error: Exception | None, page: str) -> None:
        """Bring the line up to date; `page` says which charts are on the screen."""
        self._view, self._paused, self._error, self._page = view, paused, error, page
        self._redraw()

    def on_resize(self) -> None:
        self._redraw()

    def _redraw(self) -> None:
        left, width = self._left(), self.content_size.width
        right = self._right(width - left.cell_len - 1)
        if left.cell_len + right.cell_len + 2 > width and not (self._paused or self._error):
            right = Text()
        left.truncate(max(0, width - right.cell_len - bool(right.cell_len)), overflow="ellipsis")
        self.update(left.append(" " * (width - left.cell_len - right.cell_len)).append(right))

    def _left(self) -> Text:
        if self._view is None:
            return Text("reading the runs …")
        line = Text().append(str(self._view.runs_dir), style="bold")
        if self._view.num_runs:
            runs = "run" if self._view.num_runs == 1 else "runs"
            line.append(f"  {self._view.num_runs} {runs}: ")
            line.append(describe_states(self._view.states, coloured=not self.app.no_color))
        return line

    def _right(self, room: int) -> Text:
        if self._error:
            return Text(f" cannot read, trying again: {_short(self._error)} ", style="reverse")
        if self._paused:
            return Text(" PAUSED: space goes on ", style="reverse")
        if self._view and self._view.all_ended and len(hint := closing_hint(self._view)) < room:
            return Text(hint, style="italic")
        return Text(self._page, style="dim")


def _short(error: Exception, width: int = 40) -> str:
    text = str(error) or type(error).__name__
    return text if len(text) <= width else f"{text[: width - 1]}…"
