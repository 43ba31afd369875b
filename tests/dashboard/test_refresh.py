"""A refresh draws only rows and lines that have changed."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from textual.screen import Screen
from textual.widget import Widget

from lop_engine.machine.usage import Usage
from lop_engine.runs.views import Snapshot
from lop_tui.dashboard import app as app_module
from lop_tui.dashboard.app import Dashboard
from lop_tui.dashboard.model import build_view
from lop_tui.dashboard.reader import NothingNew, SnapshotFetched
from lop_tui.dashboard.viewport import Viewport
from lop_tui.dashboard.views.overview import charts as charts_module
from lop_tui.dashboard.views.overview.charts import ChartGrid
from lop_tui.dashboard.views.overview.panels import RunsTable, SettingPanel
from lop_tui.dashboard.widgets.chart import ChartView
from lop_tui.dashboard.widgets.lines import StatusLine
from tests.dashboard.conftest import app_showing, first_frame, screen_text, settled, until


def with_progress(snapshot: Snapshot, experiment: str) -> Snapshot:
    """Return the snapshot after one more task of the first run of an experiment."""
    number = next(number for number, run in enumerate(snapshot.runs) if run.experiment == experiment)
    run = snapshot.runs[number]
    moved = replace(run, status=replace(run.status, tasks_done=run.status.tasks_done + 1))
    return replace(snapshot, runs=(*snapshot.runs[:number], moved, *snapshot.runs[number + 1 :]))


def lines_drawn(monkeypatch: pytest.MonkeyPatch, kind: type[Widget]) -> list[int]:
    """Return a list that receives the lines of these widgets that are drawn from now on."""
    lines: list[int] = []
    draw = kind.render_line
    monkeypatch.setattr(kind, "render_line", lambda self, y: lines.append(y) or draw(self, y))
    return lines


async def show(pilot: Any, app: Dashboard, snapshot: Snapshot) -> None:
    frame = app.reader.builder.build(snapshot, app.wants, usage=app.view.usage if app.view else None)
    app.post_message(SnapshotFetched(frame))
    await until(pilot, lambda: app.view is frame)
    await pilot.pause(0.1)


async def test_only_a_changed_row_is_drawn(eleven_runs: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    async with app_showing(eleven_runs).run_test(size=(160, 48)) as pilot:
        await settled(pilot)
        app = await first_frame(pilot)
        await show(pilot, app, with_progress(eleven_runs, "cbp"))
        lines = lines_drawn(monkeypatch, RunsTable)
        further = with_progress(with_progress(eleven_runs, "cbp"), "cbp")
        await show(pilot, app, further)
        assert {*lines} == {2}, "the second row, below the header and bp"
        lines.clear()
        await show(pilot, app, replace(further))
        assert not lines


@pytest.mark.parametrize("size", [(160, 48), (200, 60)], ids=["in the table", "in the table and the panel"])
async def test_new_values_of_the_same_size_cause_no_layout(
    eleven_runs: Snapshot, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    async with app_showing(eleven_runs).run_test(size=size) as pilot:
        await settled(pilot)
        app = await first_frame(pilot)
        await pilot.press("down")
        await show(pilot, app, eleven_runs)
        layouts: list[int] = []
        lay_out = Screen._refresh_layout
        monkeypatch.setattr(
            Screen, "_refresh_layout", lambda self, *a, **k: layouts.append(1) or lay_out(self, *a, **k)
        )
        num_places = 2 if app.screen.query_one(SettingPanel).display else 1
        await show(pilot, app, with_progress(eleven_runs, "cbp"))
        assert not layouts
        assert screen_text(app).count("84-85/120") == num_places


async def test_a_chart_draws_only_its_changed_lines(eleven_runs: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    async with app_showing(eleven_runs).run_test(size=(160, 48)) as pilot:
        await settled(pilot)
        app = await first_frame(pilot)
        widget, chart = app.query(ChartView).first(), build_view(eleven_runs).panels[0]
        lines = lines_drawn(monkeypatch, ChartView)
        assert widget.show(chart, Viewport(), False)
        await pilot.pause(0.1)
        assert not lines, "the new chart looks the same"
        line = chart.lines[0]
        lower = replace(line.curve, mean=np.append(line.curve.mean[:-1], line.curve.mean[-1] - 0.01))
        assert widget.show(replace(chart, lines=(replace(line, curve=lower), *chart.lines[1:])), Viewport(), False)
        await pilot.pause(0.1)
        assert 0 < len(lines) < widget.content_size.height
        drawn = "\n".join(strip.text for strip in widget.render_lines(widget.size.region))
        widget.refresh()
        assert drawn == "\n".join(strip.text for strip in widget.render_lines(widget.size.region))


async def test_a_reading_without_changes_draws_only_the_usage_of_the_machine(
    eleven_runs: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with app_showing(eleven_runs).run_test(size=(160, 48)) as pilot:
        await settled(pilot)
        app = await first_frame(pilot)
        lines = [lines_drawn(monkeypatch, kind) for kind in (RunsTable, ChartView, StatusLine)]
        app.post_message(NothingNew(Usage(0.25, 3 * 2**30, 16 * 2**30, 2, 1.9, 700 * 2**20)))
        await until(pilot, lambda: "machine: CPU 25%" in screen_text(app))
        assert not any(lines)


async def test_a_reading_without_changes_shows_the_frame_again_after_an_error(
    eleven_runs: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with app_showing(eleven_runs).run_test(size=(120, 30)) as pilot:
        app = await first_frame(pilot)
        monkeypatch.setattr(app.screen.query_one(RunsTable), "show", lambda rows: 1 / 0)
        app.post_message(SnapshotFetched(build_view(eleven_runs)))
        await until(pilot, lambda: "division by zero" in screen_text(app))
        monkeypatch.undo()
        app.post_message(NothingNew(None))
        await until(pilot, lambda: "division by zero" not in screen_text(app))


async def test_a_reading_without_changes_ends_the_app_if_requested(
    eleven_runs: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_module, "FINAL_FRAME_S", 0.01)
    is_over: list[bool] = []
    app = app_showing(eleven_runs, until=lambda view: bool(is_over))
    async with app.run_test() as pilot:
        await first_frame(pilot)
        is_over.append(True)
        app.post_message(NothingNew(None))
        await until(pilot, lambda: app.return_value is not None)


@pytest.mark.parametrize(("together_s", "num_turns"), [(60.0, 0), (0.0, 6)], ids=["quick", "slow"])
async def test_charts_that_are_drawn_quickly_share_an_update_of_the_screen(
    eleven_runs: Snapshot, monkeypatch: pytest.MonkeyPatch, together_s: float, num_turns: int
) -> None:
    async with app_showing(eleven_runs).run_test(size=(160, 48)) as pilot:
        await settled(pilot)
        app = await first_frame(pilot)
        monkeypatch.setattr(charts_module, "TOGETHER_S", together_s)
        grid, turns = app.screen.query_one(ChartGrid), list[int]()
        give_turn = grid.call_after_refresh
        monkeypatch.setattr(grid, "call_after_refresh", lambda go_on: turns.append(1) or give_turn(go_on))
        before = [chart.num_drawn for chart in app.query(ChartView)]
        app.post_message(SnapshotFetched(build_view(eleven_runs, app.wants)))
        await until(pilot, lambda: sum(chart.num_drawn for chart in app.query(ChartView)) == sum(before) + 6)
        assert len(turns) == num_turns
