"""The dashboard's App: composes the screen, and routes frames and keys to its parts."""

from collections.abc import Callable
from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.widgets import Footer, Static

from lop_engine.runs import Snapshot
from lop_tui.dashboard.advice import advice
from lop_tui.dashboard.model import View
from lop_tui.dashboard.reader import SnapshotFailed, SnapshotFetched, SnapshotReader
from lop_tui.dashboard.widgets import ChartGrid, HelpScreen, Notices, RunsTable, StatusLine
from lop_tui.dashboard.widgets.chart import ChartView
from lop_tui.dashboard.widgets.chart_grid import NUM_CHARTS

FINAL_FRAME_S = 1.5
"""How long the last frame stays before the app leaves by itself."""


class Dashboard(App[bool]):
    """Watches runs live. Its result: whether all runs had ended (False: the user left before).

    Args:
        read: returns the state of all runs now; called in a thread of its own.
        refresh_s: seconds between two reads.
        until: leave by itself after a frame of which this is true.
    """

    CSS_PATH = "styles.tcss"
    TITLE = "lop watch"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit"),
        Binding("space", "pause", "Pause"),
        Binding("s", "seeds", "Band/seeds"),
        Binding("left_square_bracket", "turn(-1)", "Previous page", key_display="[", show=False),
        Binding("right_square_bracket", "turn(1)", "More charts", key_display="]"),
        *(Binding(str(n), f"enlarge({n - 1})", "Enlarge a chart", show=False) for n in range(1, NUM_CHARTS + 1)),
        Binding("escape", "shrink", "Back", show=False),
        Binding("ctrl+p", "command_palette", "Themes, screenshot and more", show=False),
        Binding("question_mark", "help", "Help", key_display="?"),
    ]

    def __init__(
        self, read: Callable[[], Snapshot], refresh_s: float = 1.0, until: Callable[[View], bool] | None = None
    ) -> None:
        super().__init__()
        self._reader = SnapshotReader(read, self.post_message, refresh_s)
        self._until = until
        self.view: View | None = None
        """The frame on the screen."""
        self._error: Exception | None = None
        self.paused = False
        self._show_seeds = False
        # Held rather than queried: a frame may come while another screen (help, command palette) is on top.
        self._status = StatusLine()
        self._table = RunsTable()
        self._notices = Notices()
        self._advice = Static()
        self._advice_box = Container(self._advice, id="advice")
        self._grid = ChartGrid()

    def compose(self) -> ComposeResult:
        yield self._status
        yield self._table
        yield self._notices
        yield self._advice_box
        yield self._grid
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self._reader.start()

    def on_unmount(self) -> None:
        self._reader.stop()

    def on_snapshot_fetched(self, message: SnapshotFetched) -> None:
        if self.paused:
            return
        self.view, self._error = message.view, None
        self._show()
        if self._until and self._until(self.view):
            self.set_timer(FINAL_FRAME_S, self._exit_if_still_done)

    def on_snapshot_failed(self, message: SnapshotFailed) -> None:
        self._error = message.error
        self._show_status()

    def on_chart_grid_arranged(self) -> None:
        self._show_status()
        self.refresh_bindings()

    def on_chart_view_chosen(self, message: ChartView.Chosen) -> None:
        self.action_enlarge(message.place)

    def on_resize(self) -> None:
        if self.view:
            self._show()

    async def action_quit(self) -> None:
        self.exit(bool(self.view and self.view.all_ended))

    def action_pause(self) -> None:
        self.paused = not self.paused
        self._reader.pause(self.paused)
        self._show_status()

    def action_seeds(self) -> None:
        self._show_seeds = not self._show_seeds
        if self.view:
            self._show()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys that would do nothing now are not offered."""
        possible = {"turn": self._grid.has_more, "shrink": self._grid.enlarged is not None, "enlarge": True}
        return self._grid.display and possible[action] if action in possible else True

    def action_turn(self, direction: int) -> None:
        self._grid.turn(direction)

    def action_enlarge(self, place: int) -> None:
        self._grid.enlarge(place)
        self._show()

    def action_shrink(self) -> None:
        self._grid.enlarge(None)
        self._show()

    def action_help(self) -> None:
        self.push_screen(HelpScreen(self._keys()))

    def _keys(self) -> list[tuple[str, str]]:
        """What each binding does, with all its keys."""
        keys: dict[str, list[str]] = {}
        for binding in Binding.make_bindings([*ChartView.BINDINGS, *self.BINDINGS]):
            keys.setdefault(binding.description, []).append(self.get_key_display(binding))
        return [(" ".join(shown), description) for description, shown in keys.items()]

    def _show(self) -> None:
        """Hand the present frame to all parts."""
        view = self.view
        if view is None:
            return
        said = advice(view)
        if said:
            self._advice.update(_advice_text(*said))
        self._advice_box.display = bool(said)
        self._grid.display = not said
        self._table.display = bool(view.rows) and self._grid.enlarged is None
        self._table.styles.height = min(len(view.rows) + 1, max(3, self.size.height // 3))
        self._table.show(view.rows)
        self._notices.show(view.notices, most=max(1, self.size.height // 12))
        self._grid.show(view, self._show_seeds)
        self._show_status()

    def _show_status(self) -> None:
        self._status.show(self.view, paused=self.paused, error=self._error, page=self._grid.page)

    def _exit_if_still_done(self) -> None:
        if self.view and self._until and self._until(self.view) and not self.paused:
            self.exit(True)


def _advice_text(what: str, commands: tuple[str, ...], remark: str) -> Text:
    lines = [Text(what), *(Text(f"    {command}", style="bold") for command in commands), Text(remark)]
    return Text("\n\n").join(line for line in lines if line)
