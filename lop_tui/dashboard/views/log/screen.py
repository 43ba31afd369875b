"""The screen of a run's worker log, live, with errors above it."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widget import Widget
from textual.widgets import Static

from lop_engine.runs.logs import REACH_BYTES, LogTail, LogText, clean
from lop_engine.runs.views import RunView
from lop_tui.dashboard.model import View
from lop_tui.dashboard.screens import FrameScreen
from lop_tui.dashboard.views.log.log_view import Line, LogView
from lop_tui.dashboard.widgets.fitted import FittedText

POLL_S = 0.5


class LogScreen(FrameScreen):
    """Shows one run's error and log; other seeds of the same worker share the log.

    Args:
        runs: runs that ``[`` and ``]`` switch between, at least one; the log of the first is shown first.
    """

    NAME = "Log"
    FILTERS = False
    AUTO_FOCUS = "LogView"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f", "follow", "Follow"),
        Binding("slash", "search", "Search", key_display="/", priority=True),
        Binding("n", "match(1)", "Next match"),
        Binding("N", "match(-1)", "Previous match", show=False),
        Binding("right_square_bracket", "turn(1)", "Next run", key_display="]"),
        Binding("left_square_bracket", "turn(-1)", "Previous run", key_display="[", show=False),
        Binding("l", "app.back", "Back", show=False),
        Binding("o", "older", "Older text", show=False),
        Binding("up", "move(-1)", "Line up (wheel)", show=False),
        Binding("down", "move(1)", "Line down (wheel)", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home", "top", "To the top; again: older text", show=False),
        Binding("end", "follow(True)", "To the end, and follow", show=False),
    ]

    def __init__(self, runs: Sequence[RunView]) -> None:
        super().__init__()
        self.runs = list(runs)
        self._place = 0
        self._is_there = True
        self._query = ""
        self._title = Static(id="log-name")
        self._state = FittedText(id="log-mode")
        self.log_view = LogView()
        self._tail = LogTail(self.run.dir.worker_log(self.run.status))
        self._text: LogText | None = None
        self._shown: tuple[LogText | None, list[Line]] | None = None
        self._wants_older = False
        self._wake = asyncio.Event()

    @property
    def run(self) -> RunView:
        """Return the run that is shown."""
        return self.runs[self._place]

    @classmethod
    def opened(cls, selected: Sequence[RunView], label: str | None) -> "LogScreen | None":
        return cls(list(selected)) if selected else None

    def body(self) -> Sequence[Widget]:
        return (Horizontal(self._title, self._state, id="log-head"), self.log_view)

    def selected(self) -> Sequence[RunView]:
        return (self.run,)

    @property
    def page(self) -> str:
        return f"run {self._place + 1} of {len(self.runs)}"

    def on_mount(self) -> None:
        self._open()
        self.run_worker(self._poll())

    def show(self, view: View) -> None:
        present = {run.dir: run for run in view.runs}
        self._is_there = self.run.dir in present
        self.runs = [present.get(run.dir, run) for run in self.runs]
        if self.run.dir.worker_log(self.run.status) != self._tail.path:
            self._tail, self._text = LogTail(self.run.dir.worker_log(self.run.status)), None
            self._wake.set()
        self._show_text()
        super().show(view)

    def show_status(self) -> None:
        state = self.run.state if self._is_there else "not shown any more: removed, or hidden by the filter"
        self._title.update(Text.assemble((self.run.dir.name, "bold"), f"  {state}"))
        present, number = self.log_view.found
        place = f"{present}/{number}   " if self._query else ""  # here, because the line above may have no room
        self._state.update(f"{place}{'following' if self.log_view.following else 'End: follow'}")
        super().show_status()
        self.refresh_bindings()

    def on_log_view_changed(self) -> None:
        self.show_status()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Disable keys that would do nothing now."""
        if action == "search":
            return not self.prompt.is_open
        if action == "match":
            return bool(self._query)
        return len(self.runs) > 1 if action == "turn" else True

    def back(self) -> bool:
        """End the search. Return False if there was none."""
        if not self._query:
            return False
        self._search("")
        return True

    def action_follow(self, on: bool | None = None) -> None:
        self.log_view.follow(not self.log_view.following if on is None else on)

    def action_search(self) -> None:
        self.prompt.ask("search:", self._query, self._search, "capitals do not matter")

    def action_match(self, direction: int) -> None:
        self.log_view.step(direction)

    def action_turn(self, direction: int) -> None:
        self._place = (self._place + direction) % len(self.runs)
        self._open()
        if self.dashboard.view:
            self.show(self.dashboard.view)
        self._wake.set()

    def action_older(self) -> None:
        self._wants_older = True
        self._wake.set()

    def action_move(self, rows: int) -> None:
        self.log_view.move(rows)

    def action_page(self, direction: int) -> None:
        self.log_view.move(direction * max(1, self.log_view.size.height - 1))

    def action_top(self) -> None:
        if self.log_view.scroll_offset.y == 0:
            self.action_older()
        self.log_view.move(-self.log_view.scroll_offset.y)

    def _open(self) -> None:
        """Show a run: the end of its log, or its error if it has one."""
        self._tail, self._text = LogTail(self.run.dir.worker_log(self.run.status)), None
        self.log_view.move(-self.log_view.scroll_offset.y)
        self.log_view.follow(not troubles(self.run))
        self._show_text()

    def _search(self, query: str) -> None:
        self._query = query
        self.log_view.search(query)

    async def _poll(self) -> None:
        """Read new lines, while the screen exists."""
        while True:
            if not self.dashboard.paused or self._text is None or self._wants_older:
                tail, read = self._tail, self._tail.read_older if self._wants_older else self._tail.read
                self._wants_older = False
                text = await asyncio.to_thread(read)
                if tail is self._tail:
                    self._text = text
                    self._show_text()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), POLL_S)
            self._wake.clear()

    def _show_text(self) -> None:
        before = troubles(self.run)
        if self._shown and self._shown[0] is self._text and self._shown[1] == before:
            return
        self._shown = self._text, before
        text = self._text or LogText(remark="reading ...")
        lines = [*before, Line(""), *self._rule(text)] if before else self._rule(text)
        lines += [Line(line) for line in text.lines] or [Line(text.remark, "remark")]
        if self.dashboard.markers == "ascii":
            lines = [Line(line.text.encode("ascii", "replace").decode(), line.kind) for line in lines]
        self.log_view.show(lines, text.first + len(text.lines) - len(lines))

    def _rule(self, text: LogText) -> list[Line]:
        """Return the line between error and log: the file's name, and whether more of it exists."""
        more = f" (its end; o: {REACH_BYTES >> 10} KiB more)" if text.has_older else ""
        return [Line(f"-- {self._tail.path}{more} --", "rule")]


def troubles(run: RunView) -> list[Line]:
    """Return all problems of a run in full: why it cannot be read, its worker's error, its note, its job."""
    texts = (run.problem, run.status.error, run.status.note, run.job_note)
    return [Line(clean(line), "error") for text in texts if text for line in text.rstrip().split("\n")]


SCREEN = LogScreen
