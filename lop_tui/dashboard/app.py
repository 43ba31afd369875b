"""The Textual app: holds the current frame and the settings, and passes frames and keys to its screens."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from textual import events
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.command import CommandPalette
from textual.filter import LineFilter
from textual.screen import Screen
from textual.widget import Widget

from lop_engine.errors import why
from lop_engine.runs.query import parse_query
from lop_engine.runs.views import Snapshot
from lop_tui.dashboard import registry
from lop_tui.dashboard.dialogs import CommandsScreen, HelpScreen
from lop_tui.dashboard.drawing.canvas import Markers
from lop_tui.dashboard.figure import plot_arguments
from lop_tui.dashboard.keys import EVERYWHERE, WRITING, describe_keys, worth_a_command
from lop_tui.dashboard.model import View
from lop_tui.dashboard.reader import NothingNew, SnapshotFailed, SnapshotFetched, SnapshotReader
from lop_tui.dashboard.registry import VIEWS
from lop_tui.dashboard.replay import Replay
from lop_tui.dashboard.screens import FrameScreen
from lop_tui.dashboard.screenshot import portable
from lop_tui.dashboard.settings import MARKERS, Request, Settings, after, usual_markers
from lop_tui.dashboard.terminal import PlainText
from lop_tui.dashboard.widgets.lines import Status

FINAL_FRAME_S = 1.5
"""Seconds for which the last frame is shown before the app ends."""
LEAST_PALETTE_WIDTH = 24
"""Textual's palette does not work in a narrower terminal."""
DARK, LIGHT = "textual-dark", "textual-light"


_PLAIN_TEXT = PlainText()


class Dashboard(App[bool]):
    """Watch runs live. The app's result: whether all runs had ended (False: the user quit earlier).

    Args:
        read: returns the current state of all runs; called in its own thread.
        refresh_s: seconds between two reads.
        until: end the app after a frame for which this is true.
        settings: the settings at the start.
        keep: called with the settings whenever they change.
        writes: allow the keys that stop and resume runs and write files.
        read_ends: returns the ends of many long runs, for a first frame before `read` returns, see `SnapshotReader`.
    """

    CSS_PATH = Path(__file__).with_name("styles.tcss")
    TITLE = "lop watch"
    BINDINGS: ClassVar[list[BindingType]] = EVERYWHERE

    def __init__(
        self,
        read: Callable[[], Snapshot],
        refresh_s: float = 1.0,
        until: Callable[[View], bool] | None = None,
        settings: Settings | None = None,
        keep: Callable[[Settings], None] = lambda settings: None,
        writes: bool = True,
        read_ends: Callable[[], Snapshot | None] = lambda: None,
    ) -> None:
        super().__init__()
        self.views: Mapping[str, type[FrameScreen]] = registry.screens()
        self.settings = settings or Settings()
        self._keep = keep
        self._writes = writes
        self.wants = Request(self.settings)
        """What the next frame must contain."""
        self.reader = SnapshotReader(read, self.post_message, refresh_s, self.wants, read_ends)
        self._until = until
        self.view: View | None = None
        """The current frame."""
        self.error: Exception | None = None
        self.paused = False
        self._loop_here: asyncio.AbstractEventLoop | None = None
        self._replay: Replay | None = None
        if self.settings.theme in self.available_themes:
            self.theme = self.settings.theme

    @property
    def markers(self) -> Markers:
        """Return the characters that charts are drawn with."""
        return self.settings.markers or usual_markers()

    def get_line_filters(self) -> Sequence[LineFilter]:
        return [*super().get_line_filters(), _PLAIN_TEXT]

    def get_default_screen(self) -> Screen[None]:
        return self.views[VIEWS[0].name]()

    def on_mount(self) -> None:
        self.theme_changed_signal.subscribe(self, lambda theme: self.change(theme=theme.name))
        self._show_markers()
        self.reader.start()

        self.app_resume_signal.subscribe(self, lambda app: self.refresh(layout=True))

        self._loop_here = asyncio.get_running_loop()

    def leave(self) -> None:
        """Quit soon; for signal handlers and other threads."""
        if self._loop_here:
            self._loop_here.call_soon_threadsafe(self.exit, False)

    def on_unmount(self) -> None:
        self.reader.stop()

    def change(self, **settings: Any) -> None:
        """Change settings; the frame that shows them is computed in the background."""
        changed = replace(self.settings, **settings)
        if changed != self.settings:
            self.settings = changed
            self.ask(settings=changed)
            self._keep(changed)

    def ask(self, **fields: Any) -> None:
        """Change what frames contain from now on, see `Request`."""
        self.wants = replace(self.wants, **fields)
        self.reader.ask(self.wants)

    def read_soon(self) -> None:
        """Read the runs now, because something changed them."""
        self.reader.read_soon()

    def open_view(self, name: str) -> None:
        """Open a view from the current screen."""
        kind, least = self.views[name], next(view.least for view in VIEWS if view.name == name)
        if not self._may_open(kind) or not self.view:
            return
        if len(self.view.groups) < least:
            self.notify("a comparison takes two methods or settings; there is one", severity="warning")
        elif screen := kind.opened(self._selected_runs(), self._selected_label()):
            self.push_screen(screen)

    def status(self) -> Status:
        """Return the content of the status line of every screen."""
        replay = self._replay.describe(self.paused) if self._replay else ""
        return Status(self.view, self.paused, self.error, replay)

    def on_snapshot_fetched(self, message: SnapshotFetched) -> None:
        if self.paused and self.view and message.view.request == self.view.request:
            return
        self._show(message.view)

    def on_nothing_new(self, message: NothingNew) -> None:
        if self.paused or not self.view:
            return
        view = replace(self.view, usage=message.usage)
        if self.error:  # a screen could not show the frame
            self._show(view)
            return
        self.view = view
        for screen in self._visible():
            screen.system.show(view.usage)
        self._exit_if_done()

    def _show(self, view: View) -> None:
        """Show a frame on the visible screens."""
        self.view, self.error = view, None
        for screen in self._visible():
            try:
                screen.show(view)
            except Exception as error:  # records may contain anything; an error in them must not end the dashboard
                self.error = error
                screen.show_status()
        if view.has_ends_only:
            self.call_after_refresh(self.read_soon)
        self._exit_if_done()

    def on_snapshot_failed(self, message: SnapshotFailed) -> None:
        self.error = message.error
        self._show_status()

    async def action_quit(self) -> None:
        self.exit(bool(self.view and self.view.all_ended))

    def action_help_quit(self) -> None:
        """Explain what Ctrl-C does here."""
        self.notify("q quits; training continues", timeout=3)

    def action_pause(self) -> None:
        self.paused = not self.paused
        if not self._replay:
            self.reader.pause(self.paused)
        self._show_status()

    async def action_back(self) -> None:
        """Undo the last step on this screen, or return to the screen below."""
        screen = self.screen
        if not (isinstance(screen, FrameScreen) and screen.back()) and len(self.screen_stack) > 1:
            self.pop_screen()

    def action_filter(self) -> None:
        if isinstance(self.screen, FrameScreen):
            hint = "method:cbp seed:<5 state:failed"
            self.screen.prompt.ask("filter:", self.settings.query, self._filter, hint)

    def _filter(self, text: str) -> None:
        parse_query(text)  # raises UserError, which the prompt shows
        self.change(query=text.strip())

    def action_problem(self) -> None:
        """Show the runs of the next problem."""
        if self.view and self.view.shown.others:
            self.action_show_problem(self.view.shown.others[0][0])

    def action_show_problem(self, name: str) -> None:
        """Show the runs of a problem whose tab was clicked."""
        self.end_replay()
        self.change(problem=name)

    def action_help(self) -> None:
        self.push_screen(HelpScreen(self.key_table(type(self.screen))))

    def key_table(self, here: type[Screen[Any]] | None = None) -> list[tuple[str, Mapping[str, str]]]:
        """Return keys with what they do, in three groups: those of the current screen, global ones, and the others."""
        screens: list[type[FrameScreen]] = list(self.views.values())
        present = here or screens[0]
        screens.sort(key=lambda screen: screen is not present)
        tables = [(screen.NAME, self._describe(*screen.KEYS_OF_PARTS, *screen.BINDINGS)) for screen in screens]
        return [tables[0], ("Everywhere", self._describe(*FrameScreen.BINDINGS, *self.BINDINGS)), *tables[1:]]

    def _describe(self, *bindings: BindingType) -> dict[str, str]:
        allowed = [one for one in Binding.make_bindings(bindings) if self._may_write(one.action)]
        return describe_keys(allowed, self.get_key_display)

    def _may_write(self, action: str) -> bool:
        """Whether an action may run: read-only dashboards disable actions that write."""
        return self._writes or action not in WRITING

    def get_key_display(self, binding: Binding) -> str:
        """Return the name of a key as shown; without symbols in ASCII mode."""
        return binding.key_display or binding.key if self.markers == "ascii" else super().get_key_display(binding)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Disable views that would be empty and forbidden actions; in an input line, a slash is a character."""
        if not self._may_write(action):
            return False
        if action == "filter":
            return isinstance(self.screen, FrameScreen) and self.screen.FILTERS and not self.screen.prompt.is_open
        if action == "problem":
            can_change = isinstance(self.screen, FrameScreen) and self.screen.FILTERS
            return can_change and bool(self.view and self.view.shown.others)
        least = next((view.least for view in VIEWS if action == "open_view" and view.name in parameters), 0)
        return len(self.view.groups if self.view else ()) >= least

    def action_open_view(self, name: str) -> None:
        self.open_view(name)

    def _may_open(self, kind: type[FrameScreen]) -> bool:
        """A view opens from another view, not from itself or a question."""
        return bool(isinstance(self.screen, FrameScreen) and not isinstance(self.screen, kind) and self.view)

    def _selected_runs(self) -> list[Any]:
        return list(self.screen.selected()) if isinstance(self.screen, FrameScreen) else []

    def _selected_label(self) -> str | None:
        runs = self._selected_runs()
        groups = self.view.groups if self.view else ()
        return next((group.label for group in groups if runs and runs[0] in group.runs), None)

    def action_stop(self) -> None:
        from lop_tui.dashboard import control  # imports what starts and stops workers

        if self.view and (runs := self._selected_runs()):
            control.ask_to_stop(self, runs)

    def action_resume(self) -> None:
        from lop_tui.dashboard import control

        if self.view and (runs := self._selected_runs()):
            control.ask_to_resume(self, runs)

    def action_plot(self) -> None:
        if not self.view or not isinstance(self.screen, FrameScreen):
            return
        pictured = self.screen.pictured(self.view)
        if pictured.metrics and pictured.labels:
            from lop_tui.dashboard import control

            arguments = plot_arguments(self.view, pictured)
            self.run_worker(control.plot(self, arguments), exclusive=True, group="plot")
        else:
            self.notify("no curve is shown that a figure could have", severity="warning")

    def action_picture(self) -> None:
        name = f"lop-watch-{datetime.now():%Y-%m-%d-%H%M%S}.svg"
        try:
            self.notify(f"picture: {self.save_screenshot(name, path='.')}", markup=False)
        except OSError as error:
            self.notify(f"{name}: {why(error)}", severity="error", markup=False)

    def export_screenshot(self, *, title: str | None = None, simplify: bool = False) -> str:
        """Return the screen as an SVG that looks the same in every renderer."""
        return portable(super().export_screenshot(title=title, simplify=simplify))

    def action_replay(self) -> None:
        if self._replay:
            self.end_replay()
        elif self.view and self.view.last_task > 1:
            self._replay = Replay(self, self, self.view.last_task, self.end_replay)
        self.paused = False
        self.reader.pause(False)
        self._show_status()

    def end_replay(self) -> None:
        """Show the runs as they are now."""
        if self._replay:
            self._replay.stop()
            self._replay = None
            self.ask(replay_at=None)
            self._show_status()

    def action_speed(self, factor: float) -> None:
        if self._replay:
            self._replay.change_speed(factor)
            self._show_status()

    def action_markers(self) -> None:
        self.change(markers=after(MARKERS, self.markers))
        self._show_markers()
        self.notify(f"drawn with {self.markers}", timeout=2)

    def action_dark(self) -> None:
        self.theme = LIGHT if self.current_theme.dark else DARK

    def _show_markers(self) -> None:
        self.set_class(self.markers == "ascii", "-ascii")
        for screen in self.screen_stack:
            screen.refresh(layout=True)
            for widget in screen.query(Widget):
                widget.refresh()

    def action_command_palette(self) -> None:
        if self.size.width >= LEAST_PALETTE_WIDTH and not isinstance(self.screen, CommandPalette):
            self.push_screen(CommandsScreen(id="--command-palette"))

    def on_resize(self, event: events.Resize) -> None:
        if event.size.width < LEAST_PALETTE_WIDTH and isinstance(self.screen, CommandPalette):
            self.pop_screen()

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """Return the actions of all keys, by name, and Textual's own commands."""
        yield from (one for one in super().get_system_commands(screen) if self._writes or one.title != "Screenshot")
        for node, binding in worth_a_command(screen):
            help_text = f"{binding.tooltip} (key {self.get_key_display(binding)})".strip()
            run = partial(self.call_later, self.run_action, binding.action, node)
            yield SystemCommand(binding.description, help_text, run)

    def _visible(self) -> list[FrameScreen]:
        """Return the top screen, and the screen behind it if the top one is a question or the help."""
        visible = []
        for screen in reversed(self.screen_stack):
            if isinstance(screen, FrameScreen) and screen.is_mounted:
                visible.append(screen)
            if not screen.is_modal:
                break
        return visible

    def _show_status(self) -> None:
        for screen in self._visible():
            screen.show_status()

    def _exit_if_done(self) -> None:
        if self.view and self._until and self._until(self.view):
            self.set_timer(FINAL_FRAME_S, self._exit_if_still_done)

    def _exit_if_still_done(self) -> None:
        if self.view and self._until and self._until(self.view) and not self.paused:
            self.exit(True)
