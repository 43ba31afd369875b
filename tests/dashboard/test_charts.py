"""Range, cursor, filter, bins and other settings of the first screen, by key and by mouse."""

import gc
import os
import pty
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.events import Key
from textual.pilot import Pilot
from textual.widgets import Input, Static
from textual.widgets._footer import FooterKey

from lop_engine.errors import UserError
from lop_engine.runs.reading import RunsReader
from lop_engine.runs.views import Snapshot
from lop_tui.dashboard.app import Dashboard
from lop_tui.dashboard.dialogs import HelpScreen
from lop_tui.dashboard.drawing.axes import Axis
from lop_tui.dashboard.model import build_view
from lop_tui.dashboard.reader import SnapshotFetched
from lop_tui.dashboard.settings import Settings, load_settings, save_settings, settings_path
from lop_tui.dashboard.terminal import leaving_on_signals, leaving_with_the_terminal
from lop_tui.dashboard.viewport import Viewport
from lop_tui.dashboard.views.overview.panels import RunsTable
from lop_tui.dashboard.views.overview.screen import OverviewScreen, parse_range
from lop_tui.dashboard.views.seeds.screen import SeedsScreen
from lop_tui.dashboard.widgets.chart import ChartView
from lop_tui.dashboard.widgets.lines import StatusLine
from lop_tui.dashboard.widgets.prompt import Prompt
from tests.dashboard.conftest import app_showing, ended, first_frame, until
from tests.helpers import make_run

WHOLE = Axis(0, 100)


def overview(app: Dashboard) -> OverviewScreen:
    assert isinstance(app.screen, OverviewScreen)
    return app.screen


def drawn(app: Dashboard, place: int = 0) -> str:
    return list(app.query(ChartView))[place].render().plain


async def frame_for(pilot: Pilot[bool], app: Dashboard, **settings: Any) -> None:
    """Wait for the frame of the present settings."""
    changed = replace(app.settings, **settings)
    await until(pilot, lambda: app.view is not None and app.view.request.settings == changed)


def test_zooming_keeps_the_position_of_the_cursor() -> None:
    near = Viewport().zoomed(0.5, 80.0, WHOLE)
    assert near.window == (40, 90)
    assert near.zoomed(2, 80.0, WHOLE).window is None
    assert Viewport((90, 100)).zoomed(0.5, 100.0, WHOLE).window == (95, 100)
    closest = Viewport((50, 50.1)).zoomed(1e-9, None, WHOLE).window
    assert closest is not None
    assert closest[1] - closest[0] == pytest.approx(0.2)


def test_a_range_stays_within_the_axis() -> None:
    assert Viewport((20, 40)).panned(-50, WHOLE).window == (0, 20)
    assert Viewport((20, 40)).panned(500, WHOLE).window == (80, 100)
    assert Viewport().panned(30, WHOLE).window is None


def test_the_cursor_starts_at_the_end_and_moves_the_range_along() -> None:
    assert Viewport().with_cursor_moved(-0.1, WHOLE).cursor == 90
    assert Viewport((40, 60), 41).with_cursor_moved(-0.1, WHOLE) == Viewport((39, 59), 39)
    assert Viewport(None, 2.0).with_cursor_moved(-0.5, WHOLE).cursor == 0


@pytest.mark.parametrize(
    ("text", "window"), [("20-40", (20, 40)), ("20-", (20, 100)), ("-40", (0, 40)), (" ", None), ("90-999", (90, 100))]
)
def test_a_typed_range_is_read(text: str, window: tuple[float, float] | None) -> None:
    assert parse_range(text, WHOLE) == window


@pytest.mark.parametrize("text", ["x", "40", "40-20", "300-400", "1-2-3", "nan-nan", "-"])
def test_an_invalid_range_is_refused(text: str) -> None:
    if text == "-":
        assert parse_range(text, WHOLE) == (0, 100)
    else:
        with pytest.raises(UserError):
            parse_range(text, WHOLE)


async def test_zoom_pan_and_cursor_apply_to_all_charts(eleven_runs: Snapshot) -> None:
    async with app_showing(eleven_runs).run_test(size=(80, 24)) as pilot:
        app = await first_frame(pilot)
        before = drawn(app), drawn(app, 1)
        await pilot.press("plus")
        assert overview(app).viewport.window == (30, 90)
        assert drawn(app) != before[0]
        assert drawn(app, 1) != before[1]
        await until(pilot, lambda: app.view is not None and app.view.request.window == (30, 90))
        await pilot.press("full_stop")
        assert overview(app).viewport.window == (45, 105)
        await pilot.press("left", "left", "shift+left")
        assert overview(app).viewport.cursor == pytest.approx(105 - 2 * 1 - 10)
        assert "task 93" in str(app.query(ChartView).first().border_subtitle)
        await pilot.press("escape")
        assert overview(app).viewport == Viewport()
        await pilot.press("left", "0")
        assert overview(app).viewport == Viewport()


async def test_the_mouse_sets_the_cursor_zooms_pans_and_enlarges(eleven_runs: Snapshot) -> None:
    async with app_showing(eleven_runs).run_test(size=(80, 24)) as pilot:
        app = await first_frame(pilot)
        await pilot.hover(ChartView, offset=(20, 3))
        cursor = overview(app).viewport.cursor
        assert cursor is not None
        assert 30 < cursor < 80
        await pilot._post_mouse_events([_wheel()], ChartView, offset=(20, 3), button=0)
        window = overview(app).viewport.window
        assert window is not None
        await pilot.mouse_down(ChartView, offset=(20, 3))
        await pilot.hover(ChartView, offset=(25, 3))
        await pilot.mouse_up(ChartView, offset=(25, 3))
        moved = overview(app).viewport.window
        assert moved is not None
        assert moved[0] < window[0]
        assert overview(app).grid.enlarged is None
        await pilot.click(ChartView, offset=(20, 3))
        assert overview(app).grid.enlarged == 0


def _wheel() -> Any:
    from textual.events import MouseScrollUp

    return MouseScrollUp


async def test_the_enlarged_chart_shows_the_value_of_every_method_at_the_cursor(eleven_runs: Snapshot) -> None:
    async with app_showing(eleven_runs).run_test(size=(100, 30)) as pilot:
        app = await first_frame(pilot)
        await pilot.press("enter", *["left"] * 20)
        legend = str(app.screen.query_one("#legend").render())
        curve = app.view.charts[0].lines[1].curve  # type: ignore[union-attr]
        point = abs(curve.task - 80).argmin()
        assert legend.startswith("task 80")
        assert f"cbp {100 * curve.mean[point]:.1f} ± {100 * curve.standard_error[point]:.1f}" in legend
        assert "n=2/3" in legend
        assert "snp step_size=0.001 -" in legend


async def test_keys_set_bins_smoothing_scale_axis_and_levels(eleven_runs: Snapshot) -> None:
    async with app_showing(eleven_runs).run_test(size=(80, 24)) as pilot:
        app = await first_frame(pilot)
        await pilot.press("b", "b")
        await frame_for(pilot, app, bin_size=2)
        assert app.view.charts[0].bin_size == 2  # type: ignore[union-attr]
        await pilot.press("B", "B", "w")
        await frame_for(pilot, app, bin_size=None, smoothing=3)
        await pilot.press("g")
        await frame_for(pilot, app, other_scale=("test_accuracy",))
        assert "log scale" in str(app.query(ChartView).first().border_title)
        await pilot.press("g", "x")
        await frame_for(pilot, app, other_scale=(), x_unit="steps")
        await pilot.press("x")
        await frame_for(pilot, app, x_unit="hours")
        assert "minutes" in str(app.query(ChartView).first().border_subtitle)
        await pilot.press("r")
        await frame_for(pilot, app, show_published=False)


async def test_a_filter_is_applied_while_it_is_typed_and_its_mistakes_are_shown(eleven_runs: Snapshot) -> None:
    async with app_showing(eleven_runs).run_test(size=(120, 30)) as pilot:
        app = await first_frame(pilot)
        await pilot.press("slash", *"cb")
        await until(pilot, lambda: app.view is not None and app.view.num_runs == 3)
        line, error = app.screen.query_one(Input), app.screen.query_one("#prompt-error", Static)
        line.value = "cbp sed:3"
        await until(pilot, lambda: 'did you mean "seed"?' in str(error.render()))
        await pilot.press("enter")
        assert app.screen.query_one(Prompt).is_open
        line.value = "method:cbp"
        await pilot.press("enter")
        assert not app.screen.query_one(Prompt).is_open
        assert app.settings.query == "method:cbp"
        assert "filter: method:cbp (8 hidden)" in str(app.screen.query_one(StatusLine).render())
        await pilot.press("slash")
        line.value = "seed:<1"
        await until(pilot, lambda: app.view is not None and app.view.num_runs == 4)
        await pilot.press("escape")
        await until(pilot, lambda: app.view is not None and app.view.num_runs == 3)


async def test_a_filter_that_matches_no_run_says_so(eleven_runs: Snapshot) -> None:
    async with app_showing(eleven_runs, settings=Settings(query="seed:77")).run_test(size=(80, 24)) as pilot:
        app = await first_frame(pilot)
        assert "None of the 11 runs matches the filter: seed:77" in str(app.screen.query_one("#advice Static").render())
        await pilot.press("slash")
        assert app.screen.query_one(Input).value == "seed:77"


async def test_a_range_can_be_typed(eleven_runs: Snapshot) -> None:
    async with app_showing(eleven_runs).run_test(size=(80, 24)) as pilot:
        app = await first_frame(pilot)
        await pilot.press("t", *"20-60", "enter")
        assert overview(app).viewport.window == (20, 60)


async def test_keys_change_theme_and_markers(eleven_runs: Snapshot) -> None:
    saved: list[Settings] = []
    app = app_showing(eleven_runs, settings=Settings(markers="braille"), keep=saved.append)
    async with app.run_test(size=(80, 24)) as pilot:
        await first_frame(pilot)
        await pilot.press("d", "m", "m")
        assert app.theme == "textual-light"
        assert (saved[-1].theme, saved[-1].markers) == ("textual-light", "ascii")
        await pilot.pause()
        assert drawn(app).isascii()


async def test_a_replay_runs_to_the_end_and_can_be_paused(eleven_runs: Snapshot) -> None:
    async with app_showing(ended(eleven_runs)).run_test(size=(80, 24)) as pilot:
        app = await first_frame(pilot)
        await pilot.press("y", *["greater_than_sign"] * 2)
        await until(pilot, lambda: app.view is not None and app.view.request.replay_at is not None)
        assert "REPLAY task" in str(app.screen.query_one(StatusLine).render())
        await pilot.press("space")
        assert "paused" in str(app.screen.query_one(StatusLine).render())
        held = app.wants.replay_at
        await pilot.pause(0.25)
        assert app.wants.replay_at == held
        await pilot.press("y", "y")
        await until(pilot, lambda: app.view is not None and app.view.request.replay_at is not None)
        await pilot.press(*["greater_than_sign"] * 9)
        await until(pilot, lambda: app.view is not None and app.view.all_ended)
        assert "REPLAY" not in str(app.screen.query_one(StatusLine).render())


async def test_a_screenshot_is_saved(eleven_runs: Snapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with app_showing(eleven_runs).run_test(size=(80, 24)) as pilot:
        await first_frame(pilot)
        await pilot.press("P")
        [picture] = tmp_path.glob("lop-watch-*.svg")
        assert ">accuracy,<" in picture.read_text()


async def test_every_command_of_the_palette_can_be_found(eleven_runs: Snapshot) -> None:
    async with app_showing(eleven_runs).run_test(size=(80, 24)) as pilot:
        app = await first_frame(pilot)
        titles = {command.title for command in app.get_system_commands(app.screen)}
        assert titles >= {"Filter", "Stop runs", "Resume runs", "Smoothing", "Compare", "Theme"}


async def test_keys_apply_to_the_row_under_the_cursor(eleven_runs: Snapshot) -> None:
    async with app_showing(eleven_runs).run_test(size=(80, 24)) as pilot:
        app = await first_frame(pilot)
        assert {run.experiment for run in overview(app).selected()} == {"bp"}
        await pilot.press("down", "down", "down", "up")
        assert {run.experiment for run in overview(app).selected()} == {"l2"}
        await pilot.click(RunsTable, offset=(10, 1))
        assert {run.experiment for run in overview(app).selected()} == {"bp"}
        await pilot.click(RunsTable, offset=(10, 1))
        assert isinstance(app.screen, SeedsScreen)
        await pilot.press("escape", "down", "down")
        without_bp = replace(eleven_runs, runs=tuple(run for run in eleven_runs.runs if run.experiment != "bp"))
        app.post_message(SnapshotFetched(build_view(without_bp)))
        await until(pilot, lambda: app.view is not None and len(app.view.rows) == 3)
        assert {run.experiment for run in overview(app).selected()} == {"l2"}


async def test_a_wide_terminal_shows_many_settings_beside_the_charts(tmp_path: Path) -> None:
    for setting in range(12):
        make_run(tmp_path, "bp", setting=f"step_size=0.{setting:02d}", num_tasks=20)
    async with app_showing(RunsReader(tmp_path).read()).run_test(size=(220, 50)) as pilot:
        app = await first_frame(pilot)
        screen = overview(app)
        assert screen.table.region.right <= screen.grid.region.x
        await pilot.resize_terminal(100, 40)
        await until(pilot, lambda: screen.table.region.bottom <= screen.grid.region.y)


def test_settings_are_saved_for_each_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    one, other = tmp_path / "one" / "runs", tmp_path / "other" / "runs"
    chosen = Settings(show_seeds=True, bin_size=10, x_unit="hours", query="method:cbp", other_scale=("curvature",))
    save_settings(one, chosen)
    assert load_settings(one) == chosen
    assert load_settings(other) == Settings()


@pytest.mark.parametrize("content", ["", "[]", '{"bin_size": "ten"}', '{"query": "sed:3"}', '{"metric": 7}', "\0"])
def test_invalid_saved_settings_are_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    path = settings_path(tmp_path)
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert load_settings(tmp_path) == Settings()


def test_settings_that_cannot_be_saved_are_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    save_settings(tmp_path, Settings())
    assert load_settings(tmp_path) == Settings()


async def test_an_error_in_drawing_is_shown_and_the_app_continues(
    eleven_runs: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with app_showing(eleven_runs).run_test(size=(120, 30)) as pilot:
        app = await first_frame(pilot)
        monkeypatch.setattr(overview(app).table, "show", lambda rows: 1 / 0)
        app.post_message(SnapshotFetched(build_view(eleven_runs)))
        await until(pilot, lambda: "division by zero" in str(app.screen.query_one(StatusLine).render()))
        monkeypatch.undo()
        app.post_message(SnapshotFetched(build_view(eleven_runs)))
        await until(pilot, lambda: "division by zero" not in str(app.screen.query_one(StatusLine).render()))


async def test_keys_typed_right_after_the_slash_go_to_the_filter(eleven_runs: Snapshot) -> None:
    async with app_showing(eleven_runs).run_test(size=(120, 30)) as pilot:
        app = await first_frame(pilot)
        for key in ("slash", "s", "q", "b", "p", "enter"):
            app.post_message(Key(key, "/" if key == "slash" else key if len(key) == 1 else "\r"))
        await until(pilot, lambda: app.settings.query == "sqbp")
        assert not app.settings.show_seeds


def test_signals_with_a_handler_are_left_alone() -> None:
    before = signal.signal(signal.SIGHUP, handler := lambda *_: None)
    try:
        with leaving_on_signals(lambda: None):
            assert signal.getsignal(signal.SIGHUP) is handler
        assert signal.getsignal(signal.SIGHUP) is handler
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_closed_terminal_ends_the_app_without_a_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    left = threading.Event()
    with os.fdopen(theirs) as terminal:
        monkeypatch.setattr(sys, "__stdin__", terminal)
        with leaving_with_the_terminal(left.set):
            assert not left.wait(1.2)
            os.close(ours)
            assert left.wait(10)


async def test_footer_keys_of_closed_screens_are_freed(eleven_runs: Snapshot) -> None:
    async with app_showing(eleven_runs).run_test(size=(120, 30)) as pilot:
        app = await first_frame(pilot)
        for _ in range(3):
            await pilot.press("question_mark", "escape")
        await pilot.pause()
        gc.collect()
        held = [key for key in gc.get_objects() if type(key) is FooterKey and key.parent is None]
        assert len(held) <= len(app.screen.query(FooterKey))


async def test_a_closed_prompt_does_not_keep_the_focus(tmp_path: Path) -> None:
    app = Dashboard(RunsReader(tmp_path).read, refresh_s=100)
    async with app.run_test(size=(80, 24)) as pilot:
        await first_frame(pilot)
        app.screen.query_one(Prompt).ask("filter:", "", lambda _: None)
        app.screen.query_one(Prompt).action_keep()
        assert app.focused is None
        await pilot.press("question_mark")
        assert isinstance(app.screen, HelpScreen)


async def test_closing_the_command_palette_during_a_search_does_not_end_the_app(eleven_runs: Snapshot) -> None:
    async with app_showing(eleven_runs).run_test(size=(120, 30)) as pilot:
        app = await first_frame(pilot)
        for _ in range(3):
            await pilot.press("ctrl+p")
            palette = app.screen
            palette.query_one(Input).value = "x"
            await palette.query("CommandList").remove()
            await pilot.pause(0.1)
            await pilot.press("escape")
            assert app.is_running
