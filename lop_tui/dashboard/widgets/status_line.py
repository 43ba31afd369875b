"""The line on top: what is watched, how far it is, and whether the picture is live."""

from dataclasses import dataclass

from rich.text import Text
from textual.widgets import Static

from lop_engine.errors import sentence, why
from lop_tui.dashboard.advice import closing_hint
from lop_tui.dashboard.model import View
from lop_tui.dashboard.table import describe_states
from lop_tui.words.formats import duration


@dataclass(frozen=True)
class Status:
    """What the line tells."""

    view: View | None = None
    paused: bool = False
    error: Exception | None = None
    replay: str = ""
    """Speed of the replay that is on."""


class StatusLine(Static):
    """Left: directory and runs; right: what the charts show, or why they stand still."""

    def __init__(self) -> None:
        super().__init__()
        self._status = Status()
        self._page = ""
        self._drawn = Text()

    def show(self, status: Status, page: str) -> None:
        """Bring the line up to date; `page` says which part of the view is on the screen."""
        if (status, page) != (self._status, self._page):
            self._status, self._page = status, page
            self._redraw()

    def on_resize(self) -> None:
        self._redraw()

    def _redraw(self) -> None:
        width = self.content_size.width
        for full_states in (True, False):
            left = self._left(full_states)
            if left.cell_len + len(self._page) + 2 <= width:
                break
        right = self._right(width - left.cell_len - 1)
        urgent = self._status.paused or self._status.error or self._status.replay
        if left.cell_len + right.cell_len + 2 > width and not urgent:
            right = Text()
        left.truncate(max(0, width - right.cell_len - bool(right.cell_len)), overflow="ellipsis")
        line = left.append(" " * (width - left.cell_len - right.cell_len)).append(right)
        if line != self._drawn:
            self._drawn = line
            self.update(line, layout=False)

    def _left(self, full_states: bool) -> Text:
        view = self._status.view
        if view is None:
            return Text("reading the runs …")
        line = Text().append(view.place, style="bold")
        if view.num_runs:
            runs = "run" if view.num_runs == 1 else "runs"
            line.append(f"  {view.num_runs} {runs}: ")
            line.append(describe_states(view.states, full_states, coloured=not self.app.no_color))
        if view.eta_s is not None:
            line.append(f"  all done in {duration(view.eta_s)}")
        if view.request.settings.query:
            line.append("  filter: ").append(view.request.settings.query, style="bold")
            line.append(f" ({view.num_hidden} hidden)")
        return line

    def _right(self, room: int) -> Text:
        status = self._status
        if status.error:
            return Text(f" cannot show the runs, trying again: {_short(status.error)} ", style="reverse")
        if status.replay:
            return Text(f" REPLAY {status.replay} ", style="reverse")
        if status.paused:
            return Text(" PAUSED: space continues ", style="reverse")
        if status.view and status.view.has_ends_only:
            return Text(" reading the curves ... ", style="reverse")
        page = Text(self._page, style="dim")
        if status.view and status.view.all_ended and len(hint := closing_hint(status.view)) < room:
            both = Text().append(hint, style="italic").append("   ").append_text(page)
            return both if self._page and both.cell_len < room else both[: len(hint)]
        return page


def _short(error: Exception, width: int = 40) -> str:
    text = sentence(error) if isinstance(error, OSError) else why(error)
    return text if len(text) <= width else f"{text[: width - 1]}…"
