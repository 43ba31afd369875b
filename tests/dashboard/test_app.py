"""Every key binding and every state of the app, with frames posted by the test."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Static

from lop_engine.runs.reading import RunsReader
from lop_engine.runs.records import task_document
from lop_engine.runs.store import TableWriter
from lop_engine.runs.views import Snapshot
from lop_tui.dashboard import app as app_module
from lop_tui.dashboard import render_once
from lop_tui.dashboard.app import Dashboard
from lop_tui.dashboard.dialogs import HelpScreen
from lop_tui.dashboard.model import build_view
from lop_tui.dashboard.reader import SnapshotFetched
from lop_tui.dashboard.settings import Settings
from lop_tui.dashboard.views.log.screen import LogScreen
from lop_tui.dashboard.views.overview.charts import ChartGrid, grid_shape
from lop_tui.dashboard.views.overview.panels import Notices, RunsTable
from lop_tui.dashboard.views.overview.screen import OverviewScreen
from lop_tui.dashboard.views.seeds.screen import SeedsScreen
from lop_tui.dashboard.widgets.chart import ChartView
from lop_tui.dashboard.widgets.lines import StatusLine
from tests.dashboard.conftest import (
    FAR_FUTURE,
    app_showing,
    ended,
    first_frame,
    read,
    settled,
    unreadable,
    until,
    waiting,
)
from tests.helpers import make_run


def text_of(app: Dashboard, selector: Any) -> str:
    return str(app.screen.query_one(selector, Static).render())


def visible(app: Dashboard) -> list[int]:
    return [chart.place + 1 for chart in app.query(ChartView) if chart.display]


def labels(table: RunsTable) -> list[str | None]:
    return [row.key.value for row in table.ordered_rows]


async def test_a_small_terminal_shows_pages_of_two_charts(eleven_runs: Snapshot) -> None:
    async with app_showing(eleven_runs).run_test(size=(80, 24)) as pilot:
        app = await first_frame(pilot)
        assert visible(app) == [1, 2]
        assert "charts 1-2 of 7" in text_of(app, StatusLine)
        await pilot.press("]")
        assert visible(app) == [3, 4]
        await pilot.press("]", "]")
        assert visible(app) == [7]
        await pilot.press("]", "]", "[")
        assert visible(app) == [1, 2]


async def test_a_large_terminal_shows_the_usual_charts_at_once(eleven_runs: Snapshot) -> None:
    async with app_showing(eleven_runs).run_test(size=(160, 48)) as pilot:
        app = await first_frame(pilot)
        assert visible(app) == [1, 2, 3, 4, 5, 6]
        await pilot.press("]")
        assert visible(app) == [7]


async def test_there_are_no_pages_if_all_charts_fit(eleven_runs: Snapshot) -> None:
    async with app_showing(eleven_runs, settings=Settings(show_setting=False)).run_test(size=(250, 70)) as pilot:
        app = await first_frame(pilot)
        assert visible(app) == [1, 2, 3, 4, 5, 6, 7]
        assert app.screen.check_action("turn", (1,)) is False


async def test_resizing_rearranges_the_charts(eleven_runs: Snapshot) -> None:
    async with app_showing(eleven_runs).run_test(size=(160, 48)) as pilot:
        app = await first_frame(pilot)
        await pilot.resize_terminal(80, 24)
        await pilot.pause()
        assert visible(app) == [1, 2]
        assert "0/2" not in text_of(app, StatusLine)


@pytest.mark.parametrize(("size", "shape"), [((80, 15), (2, 1)), ((100, 22), (2, 2)), ((160, 40), (3, 2))])
def test_the_shape_of_the_chart_grid_depends_on_the_size(size: tuple[int, int], shape: tuple[int, int]) -> None:
    assert grid_shape(*size) == shape


async def test_enter_enlarges_the_focused_chart_and_escape_returns(eleven_runs: Snapshot) -> None:
    async with app_showing(eleven_runs).run_test(size=(80, 24)) as pilot:
        app = await first_frame(pilot)
        await settled(pilot)
        await pilot.press("tab", "enter")
        await until(pilot, lambda: visible(app) == [2])
        assert not app.query_one(RunsTable).display
        assert "cbp" in text_of(app, "#legend")
        await pilot.press("]")
        assert visible(app) == [3]
        await pilot.press("escape")
        assert visible(app) == [1, 2]
        assert app.query_one(RunsTable).display


async def test_a_click_and_a_digit_enlarge_a_chart(eleven_runs: Snapshot) -> None:
    async with app_showing(eleven_runs).run_test(size=(80, 24)) as pilot:
        app = await first_frame(pilot)
        await pilot.click(ChartView)
        assert visible(app) == [1]
        await pilot.press("enter", "6")
        assert visible(app) == [6]
        await pilot.press("6")
        assert visible(app) == [1, 2]


async def test_s_toggles_band_and_seeds(eleven_runs: Snapshot) -> None:
    async with app_showing(eleven_runs).run_test(size=(80, 24)) as pilot:
        app = await first_frame(pilot)
        chart = app.query(ChartView).first()
        band = chart.render().plain
        await pilot.press("s")
        assert chart.render().plain != band
        await pilot.press("s")
        assert chart.render().plain == band


async def test_space_pauses_and_resumes(eleven_runs: Snapshot) -> None:
    async with app_showing(eleven_runs).run_test() as pilot:
        app = await first_frame(pilot)
        before = app.view
        await pilot.press("space")
        assert "PAUSED" in text_of(app, StatusLine)
        app.post_message(SnapshotFetched(build_view(ended(eleven_runs))))
        await pilot.pause()
        assert app.view is before
        await pilot.press("space")
        assert "PAUSED" not in text_of(app, StatusLine)
        await until(pilot, lambda: app.view is not before)


async def test_help_lists_every_binding_and_frames_continue_behind_it(eleven_runs: Snapshot) -> None:
    async with app_showing(eleven_runs).run_test(size=(80, 30)) as pilot:
        app = await first_frame(pilot)
        await pilot.press("question_mark")
        screen = app.screen
        assert isinstance(screen, HelpScreen)
        parts = [part for part, _ in screen.keys]
        assert parts[:2] == ["Charts", "Everywhere"]
        described = {description for _, keys in screen.keys for description in keys.values()}
        for bindings in (app.BINDINGS, OverviewScreen.BINDINGS, SeedsScreen.BINDINGS, LogScreen.BINDINGS):
            assert described >= {binding.tooltip or binding.description for binding in bindings}  # type: ignore[union-attr]
        app.post_message(SnapshotFetched(build_view(ended(eleven_runs))))
        await until(pilot, lambda: app.view is not None and app.view.all_ended)
        await pilot.press("escape")
        assert not isinstance(app.screen, HelpScreen)


@pytest.mark.parametrize("all_ended", [False, True])
async def test_q_quits_and_returns_whether_all_runs_had_ended(eleven_runs: Snapshot, all_ended: bool) -> None:
    app = app_showing(ended(eleven_runs) if all_ended else eleven_runs)
    async with app.run_test() as pilot:
        await first_frame(pilot)
        await pilot.press("q")
    assert app.return_value is all_ended


async def test_the_app_quits_when_all_runs_have_ended_if_requested(
    eleven_runs: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_module, "FINAL_FRAME_S", 0.01)
    app = app_showing(eleven_runs, until=lambda view: view.all_ended)
    async with app.run_test() as pilot:
        await first_frame(pilot)
        assert app.return_value is None
        app.post_message(SnapshotFetched(build_view(ended(eleven_runs))))
        await until(pilot, lambda: app.return_value is not None)
    assert app.return_value is True


async def test_the_app_stays_open_when_all_runs_have_ended_and_gives_advice(eleven_runs: Snapshot) -> None:
    async with app_showing(ended(eleven_runs)).run_test(size=(80, 24)) as pilot:
        app = await first_frame(pilot)
        await pilot.pause()
        assert app.return_value is None
        assert "11 finished" in text_of(app, StatusLine)
        assert "lop plot" in text_of(app, StatusLine)


async def test_a_missing_directory_shows_advice() -> None:
    async with app_showing(Snapshot(Path("nowhere"), directory_exists=False)).run_test() as pilot:
        app = await first_frame(pilot)
        assert "There is no directory nowhere/ yet" in text_of(app, "#advice Static")
        assert "--seeds 2 --runs-dir nowhere" in text_of(app, "#advice Static")
        assert not app.query_one(ChartGrid).display


async def test_a_directory_without_runs_shows_advice() -> None:
    async with app_showing(Snapshot(Path("runs"))).run_test() as pilot:
        app = await first_frame(pilot)
        assert "lop run cfg/demo/bp.json cfg/demo/cbp.json --seeds 2\n" in text_of(app, "#advice Static")


async def test_a_directory_that_disappears_and_comes_back_is_shown_again(eleven_runs: Snapshot) -> None:
    async with app_showing(eleven_runs).run_test() as pilot:
        app = await first_frame(pilot)
        gone = build_view(Snapshot(Path("runs"), directory_exists=False))
        for frame, has_charts in ((gone, False), (build_view(eleven_runs), True)):
            app.post_message(SnapshotFetched(frame))
            await until(pilot, lambda frame=frame: app.view is frame)  # type: ignore[misc]
            assert app.query_one(ChartGrid).display is app.query_one("#parts").display is has_charts


async def test_runs_one_level_deeper_are_found_for_the_advice(tmp_path: Path, eleven_runs: Snapshot) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "bp").rename(tmp_path / "tree" / "bp")
    for other in ("cbp", "l2", "snp"):
        (tmp_path / other).rename(tmp_path / "tree" / other)
    async with app_showing(Snapshot(tmp_path)).run_test(size=(160, 30)) as pilot:
        app = await first_frame(pilot)
        assert f"lop watch {tmp_path / 'tree'}" in text_of(app, "#advice Static")


async def test_charts_appear_with_the_first_finished_task() -> None:
    first = waiting()
    async with app_showing(first).run_test() as pilot:
        app = await first_frame(pilot)
        assert "No task is finished yet" in text_of(app, "#advice Static")
        assert labels(app.query_one(RunsTable)) == ["cbp"]


async def test_a_metric_without_values_has_no_chart_and_watch_once_says_why(tmp_path: Path) -> None:
    run = make_run(tmp_path, "linear", num_tasks=0)
    with TableWriter(run.tasks_json, "tasks") as table:
        for task in range(4):
            table.append(task_document(task, {"classes": [0, 1]}, 1.0, {"test_accuracy": 0.7, "curvature": 0.1}))
    async with app_showing(RunsReader(tmp_path).read()).run_test(size=(160, 40)) as pilot:
        app = await first_frame(pilot)
        await settled(pilot)
        charts = [str(chart.border_title) for chart in app.query(ChartView) if chart.display]
        assert charts == ["1 test accuracy, %", "2 curvature, log scale"]
    text = render_once(tmp_path, 100, 40, metrics=["dormant_proportion", "weight_magnitude"])
    assert "a linear network has no hidden units" in text
    assert "not recorded" in text


async def test_a_failed_run_shows_its_error(eleven_runs: Snapshot) -> None:
    async with app_showing(eleven_runs).run_test() as pilot:
        app = await first_frame(pilot)
        assert "l2/default/seed_002  failed: RuntimeError: out of memory" in text_of(app, Notices)


async def test_an_unreadable_run_shows_its_problem(eleven_runs: Snapshot) -> None:
    async with app_showing(unreadable(eleven_runs)).run_test(size=(80, 40)) as pilot:
        app = await first_frame(pilot)
        assert "bp/default/seed_000  tasks.json: document 3 is damaged" in text_of(app, Notices)


async def test_an_error_of_the_reader_is_shown_and_reading_is_tried_again(eleven_runs: Snapshot) -> None:
    answers: list[Snapshot | Exception] = [OSError("stale file handle"), eleven_runs]

    def read() -> Snapshot:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    app = Dashboard(read, refresh_s=3600)
    async with app.run_test() as pilot:
        await until(pilot, lambda: "stale file handle" in text_of(app, StatusLine))
        await pilot.press("space", "space")
        await first_frame(pilot)
        assert "stale" not in text_of(app, StatusLine)


async def test_rows_change_in_place(eleven_runs: Snapshot) -> None:
    async with app_showing(eleven_runs).run_test(size=(120, 40)) as pilot:
        app = await first_frame(pilot)
        table = app.query_one(RunsTable)
        assert labels(table) == ["bp", "cbp", "l2", "snp step_size=0.001"]
        keys = [row.key for row in table.ordered_rows]
        app.post_message(SnapshotFetched(build_view(ended(eleven_runs))))
        await until(pilot, lambda: app.view is not None and app.view.all_ended)
        assert str(table.get_cell("bp", "seeds")) == "3 finished"
        assert all(one is other for one, other in zip(keys, (row.key for row in table.ordered_rows), strict=True))


async def test_rows_are_added_and_removed_in_order(eleven_runs: Snapshot) -> None:
    without_cbp = replace(eleven_runs, runs=tuple(run for run in eleven_runs.runs if run.experiment != "cbp"))
    async with app_showing(without_cbp).run_test(size=(120, 40)) as pilot:
        app = await first_frame(pilot)
        table = app.query_one(RunsTable)
        for frame, expected in ((eleven_runs, ["bp", "cbp", "l2"]), (without_cbp, ["bp", "l2"])):
            app.post_message(SnapshotFetched(build_view(frame)))
            await until(pilot, lambda frame=frame: len(app.view.rows) == len(build_view(frame).rows))  # type: ignore[union-attr, misc]
            assert labels(table) == [*expected, "snp step_size=0.001"]


async def test_only_changed_and_visible_charts_are_drawn(eleven_runs: Snapshot) -> None:
    async with app_showing(eleven_runs).run_test(size=(80, 24)) as pilot:
        app = await first_frame(pilot)
        await pilot.pause()
        drawn = [chart.num_drawn for chart in app.query(ChartView)]
        assert sum(drawn) == sum(drawn[:2])
        before, frame = app.view, app.reader.builder.build(eleven_runs)
        app.post_message(SnapshotFetched(frame))
        await until(pilot, lambda: app.view is frame is not before)
        assert [chart.num_drawn for chart in app.query(ChartView)] == drawn


async def test_lines_have_different_markers_without_colours(
    eleven_runs: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with app_showing(eleven_runs).run_test(size=(80, 24)) as pilot:
        app = await first_frame(pilot)
        assert "ooo" in app.query(ChartView).first().render().plain
        assert str(app.query_one(RunsTable).get_cell("cbp", "method")) == "xx cbp"


async def test_a_filter_leaves_the_table_no_wider_than_the_screen(tmp_path: Path) -> None:
    make_run(tmp_path, "bp", 0, state="running", heartbeat_at=FAR_FUTURE)
    make_run(tmp_path, "bp", 1, state="failed", heartbeat_at=FAR_FUTURE)
    make_run(tmp_path, "cbp", 0, state="running", heartbeat_at=FAR_FUTURE)
    async with app_showing(read(tmp_path)).run_test(size=(80, 24)) as pilot:
        app = await first_frame(pilot)
        table = app.query_one(RunsTable)
        app.change(query="method:cbp")
        await until(pilot, lambda: labels(table) == ["cbp"])
        assert table.virtual_size.width <= 80
        assert not table.show_vertical_scrollbar


async def test_a_notice_takes_one_line_however_long_the_error_is(tmp_path: Path) -> None:
    make_run(tmp_path, "bp", 0, state="failed", error="RuntimeError: " + "out of memory " * 30)
    async with app_showing(read(tmp_path)).run_test(size=(80, 24)) as pilot:
        app = await first_frame(pilot)
        await until(pilot, lambda: bool(app.screen.query_one(Notices).display))
        await pilot.pause()
        assert app.screen.query_one(Notices).size.height == 1


async def test_the_footer_of_an_open_prompt_offers_keep_and_cancel(eleven_runs: Snapshot) -> None:
    async with app_showing(eleven_runs).run_test(size=(80, 24)) as pilot:
        app = await first_frame(pilot)
        await pilot.press("slash")
        await pilot.pause()
        offered = [one.binding.description for one in app.screen.active_bindings.values() if one.binding.show]
        assert offered == ["Keep", "Cancel"]
        await pilot.press("slash", "enter")
        assert app.settings.query == "/"


async def test_a_narrow_status_line_abbreviates_the_states(eleven_runs: Snapshot) -> None:
    async with app_showing(eleven_runs).run_test(size=(50, 24)) as pilot:
        app = await first_frame(pilot)
        assert "1 fail 6 run 2 wait 2 done" in text_of(app, StatusLine)


async def test_the_table_shows_the_marker_of_each_method_in_ascii(eleven_runs: Snapshot) -> None:
    async with app_showing(eleven_runs, settings=Settings(markers="ascii")).run_test(size=(120, 40)) as pilot:
        app = await first_frame(pilot)
        table = app.query_one(RunsTable)
        assert str(table.get_cell("cbp", "method")) == "xx cbp"
        assert str(table.get_cell("cbp", "progress")).isascii()
        await pilot.press("enter")
        await until(pilot, lambda: "xx cbp" in str(app.screen.query_one("#legend", Static).render()))
