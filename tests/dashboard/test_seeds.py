"""The view of single seeds: order, selection, cursor, epochs, and every state of the screen."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from textual.pilot import Pilot

from lop_engine.analysis.groups import one_problem
from lop_engine.experiment import lookup
from lop_engine.runs.directory import RunDir
from lop_engine.runs.records import epoch_document
from lop_engine.runs.store import TableWriter
from lop_engine.runs.views import Snapshot
from lop_tui.dashboard.app import Dashboard
from lop_tui.dashboard.drawing.chart import Style
from lop_tui.dashboard.model import build_view
from lop_tui.dashboard.reader import SnapshotFetched
from lop_tui.dashboard.settings import Request, Settings, Sort
from lop_tui.dashboard.views.seeds.epochs import epoch_charts
from lop_tui.dashboard.views.seeds.frame import Seeds
from lop_tui.dashboard.views.seeds.heat_map import HeatMap, reading
from lop_tui.dashboard.views.seeds.screen import SeedsScreen
from lop_tui.dashboard.views.seeds.seed_table import fit_seeds, in_order
from lop_tui.dashboard.widgets.chart import ChartView
from tests.dashboard.conftest import app_showing, first_frame, until, waiting

TASKS_DONE = 84


def write_epochs(run_dir: RunDir, tasks: range, num_epochs: int = 10) -> None:
    with TableWriter(run_dir.epochs_json, "epochs") as table:
        for task in tasks:
            for epoch in range(num_epochs):
                metrics = {"train_accuracy": 0.6 + epoch / 30, "test_accuracy": 0.5 + epoch / 30, "curvature": 1e-3}
                table.append(epoch_document(task, epoch, metrics))


def seeds_of(snapshot: Snapshot, label: str = "l2", **settings: Any) -> Seeds:
    seeds = build_view(snapshot, Request(Settings(**settings), heat_of=label)).seeds
    assert seeds is not None
    return seeds


async def open_seeds(pilot: Pilot[bool], label: str = "cbp") -> SeedsScreen:
    """Open the view of one setting's seeds and wait for its first frame."""
    app = await first_frame(pilot)
    screen = SeedsScreen(label)
    app.push_screen(screen)
    await until(pilot, lambda: bool(app.view and app.view.request.heat_of == label and screen.is_current))
    return screen


def shown_seeds(screen: SeedsScreen) -> list[str | None]:
    return [row.key.value for row in screen.table.ordered_rows]


def task_of_epochs(app: Dashboard) -> int | None:
    """Return the task whose epochs the shown frame has, counted from 1."""
    assert app.view
    assert app.view.request.epochs_of
    task = app.view.request.epochs_of[1]
    return None if task is None else task + 1


@pytest.mark.parametrize("sort", ["seed", "state", "tasks", "last", "best", "drop", "dormant"])
def test_rows_and_heat_map_follow_the_order_and_missing_values_come_last(eleven_runs: Snapshot, sort: Sort) -> None:
    runs = tuple(replace(run, series={}) if run.dir.name == "l2/default/seed_001" else run for run in eleven_runs.runs)
    seeds = seeds_of(replace(eleven_runs, runs=runs))
    for descending in (False, True):
        ordered = in_order(seeds, (sort, descending))
        assert ordered.heat.seeds == tuple(row.run.seed for row in ordered.rows)
        gone = ordered.heat.seeds.index(1)
        assert np.isnan(ordered.heat.values[gone]).all()
        if sort not in ("seed", "state", "tasks"):
            assert gone == 2


def test_columns_that_do_not_fit_are_left_out_and_no_number_is_cut(eleven_runs: Snapshot) -> None:
    seeds = seeds_of(eleven_runs)
    widths = []
    for width in range(20, 90, 5):
        cells = fit_seeds(seeds, ("drop", True), width)
        widths.append(len(cells.columns))
        taken = [max(len(cell.plain) for cell in column) + 2 for column in zip(*cells.rows.values(), strict=True)]
        assert sum(taken) <= width
        assert {"seed", "last", "drop"} <= set(cells.columns)
    assert widths == sorted(widths)
    assert widths[-1] == 7


def test_the_best_bin_is_called_highest_for_a_metric_without_direction(eleven_runs: Snapshot) -> None:
    seeds = seeds_of(eleven_runs, metric="dormant_proportion")
    assert "highest" in fit_seeds(seeds, ("best", True), 90, ascii_only=True).headers[4]
    assert all(header.isascii() for header in fit_seeds(seeds, ("best", True), 90, ascii_only=True).headers)


def test_epochs_are_counted_from_one_and_nulls_are_gaps() -> None:
    documents: list[dict[str, object]] = [
        {"task": 3, "epoch": epoch, "test_accuracy": value, "gradient_norm": 0.1}
        for epoch, value in enumerate([0.5, None, 0.7])
    ]
    accuracy, other = epoch_charts(documents, Style("#0072B2", "o"), "gradient_norm", 5, one_problem(()))
    assert accuracy.lines[0].x.tolist() == [1, 2, 3]
    assert np.isnan(accuracy.lines[0].curve.mean[1])
    assert (accuracy.x.high, other.measure) == (5, lookup.metric("gradient_norm"))


def test_a_metric_measured_in_some_epochs_is_a_line_through_those() -> None:
    documents: list[dict[str, object]] = [
        {"task": 0, "epoch": epoch, "test_accuracy": 0.5} | ({"curvature": 0.1} if epoch % 2 else {})
        for epoch in range(5)
    ]
    accuracy, curvature = epoch_charts(documents, Style("#0072B2", "o"), "curvature", 5, one_problem(()))
    assert len(accuracy.lines[0].x) == 5
    assert curvature.lines[0].x.tolist() == [2, 4]
    assert np.isfinite(curvature.lines[0].curve.mean).all()
    assert len(epoch_charts(documents[:1], Style("#0072B2", "o"), "curvature", 5, one_problem(()))) == 1


def test_the_cursor_text_names_the_bin(eleven_runs: Snapshot) -> None:
    heat = in_order(seeds_of(eleven_runs, bin_size=50), ("seed", False)).heat
    assert reading(heat, 0, 51) == "seed 0, tasks 51-100: -"
    assert reading(heat, 0, 50).startswith("seed 0, tasks 1-50: 8")
    assert reading(heat, 0, None) == "seed 0"


async def test_keys_sort_the_rows_and_the_cursor_stays_on_its_seed(eleven_runs: Snapshot) -> None:
    async with app_showing(eleven_runs).run_test(size=(80, 24)) as pilot:
        screen = await open_seeds(pilot, "l2")
        await pilot.press("down")
        assert screen.selected()[0].dir.name == "l2/default/seed_001"
        await pilot.press("O")
        await until(pilot, lambda: shown_seeds(screen) == ["2", "1", "0"])
        await pilot.press("o", "o")
        await until(pilot, lambda: shown_seeds(screen)[-1] == "2")
        assert (screen.dashboard.settings.sort, screen.table.seed) == ("tasks", 1)
        await pilot.click(screen.table, offset=(2, 0))
        await until(pilot, lambda: shown_seeds(screen) == ["2", "1", "0"])
        await pilot.click(screen.table, offset=(2, 0))
        await until(pilot, lambda: shown_seeds(screen) == ["0", "1", "2"])
        assert screen.table.seed == 1


async def test_new_values_change_cells_and_order_in_place(eleven_runs: Snapshot) -> None:
    async with app_showing(eleven_runs, settings=Settings(sort="tasks")).run_test(size=(80, 24)) as pilot:
        screen = await open_seeds(pilot, "cbp")
        app = screen.dashboard
        await pilot.press("down")
        assert app.view
        request, drawn = app.view.request, screen.heat.num_drawn
        app.post_message(SnapshotFetched(build_view(eleven_runs, request)))
        await pilot.pause()
        assert screen.heat.num_drawn == drawn
        runs = tuple(
            replace(run, status=replace(run.status, tasks_done=99)) if run.dir.name == "cbp/default/seed_000" else run
            for run in eleven_runs.runs
        )
        app.post_message(SnapshotFetched(build_view(replace(eleven_runs, runs=runs), request)))
        await until(pilot, lambda: shown_seeds(screen) == ["1", "2", "0"])
        assert str(screen.table.get_cell("0", "tasks")) == "99/120"
        assert screen.table.seed == 1


async def test_the_cursor_moves_over_tasks_and_the_epochs_follow(eleven_runs: Snapshot) -> None:
    runs = {run.dir.name: run.dir for run in eleven_runs.runs}
    write_epochs(runs["cbp/default/seed_000"], range(80, TASKS_DONE))
    async with app_showing(eleven_runs).run_test(size=(130, 40)) as pilot:
        screen = await open_seeds(pilot)
        app, charts = screen.dashboard, screen.query(ChartView)
        await until(pilot, lambda: charts.first().border_title == "seed 0, task 84: accuracy, %")
        assert [chart.display for chart in charts] == [True, True]
        assert "test 80.0" in charts.first().border_subtitle
        await pilot.press("comma")
        await until(pilot, lambda: charts.first().border_title == "seed 0, task 83: accuracy, %")
        await pilot.press("left", "full_stop")
        await until(pilot, lambda: task_of_epochs(app) == 82)
        assert "tasks 81-82" in str(screen.heat.border_subtitle)
        await pilot.press("shift+left", "right")
        await until(pilot, lambda: task_of_epochs(app) == 70)
        remark = screen.epochs.query_one("#remark")
        await until(pilot, lambda: remark.display)
        assert "no epochs are recorded" in str(remark.render())
        await pilot.press("escape")
        await until(pilot, lambda: task_of_epochs(app) is None)
        assert screen.is_current
        assert screen.check_action("turn_over", ()) is False


async def test_unreadable_epochs_show_the_reason(eleven_runs: Snapshot) -> None:
    eleven_runs.runs[3].dir.epochs_json.write_text("nonsense\n")
    async with app_showing(eleven_runs).run_test(size=(130, 40)) as pilot:
        screen = await open_seeds(pilot)
        remark = screen.epochs.query_one("#remark")
        await until(pilot, lambda: "epochs.json" in str(remark.render()))


async def test_enter_switches_between_table_and_heat_map_in_a_narrow_terminal(eleven_runs: Snapshot) -> None:
    async with app_showing(eleven_runs).run_test(size=(80, 24)) as pilot:
        screen = await open_seeds(pilot)
        assert screen.table.display
        await pilot.press("enter")
        assert not screen.table.display
        await until(pilot, lambda: task_of_epochs(screen.dashboard) is None)
        await pilot.press("escape")
        assert screen.table.display
        await pilot.press("escape")
        assert not screen.is_current


async def test_a_click_selects_seed_and_task(eleven_runs: Snapshot) -> None:
    async with app_showing(eleven_runs).run_test(size=(130, 40)) as pilot:
        screen = await open_seeds(pilot)
        await pilot.click(HeatMap, offset=(60, 5))
        assert (screen.table.seed, screen.cursor) == (1, 43)
        await pilot.click(HeatMap, offset=(3, 2))
        assert (screen.table.seed, screen.cursor) == (0, 43)
        await until(pilot, lambda: task_of_epochs(screen.dashboard) == 43)
        await pilot.press("0")
        assert screen.cursor is None


async def test_keys_choose_setting_metric_bins_and_scale(eleven_runs: Snapshot) -> None:
    async with app_showing(eleven_runs).run_test(size=(80, 24)) as pilot:
        screen = await open_seeds(pilot)
        app = screen.dashboard
        await pilot.press("down", "n")
        await until(pilot, lambda: str(screen.heat.border_title).startswith("l2"))
        assert screen.selected()[0].dir.name == "l2/default/seed_001"
        await pilot.press("N", "N")
        await until(pilot, lambda: str(screen.heat.border_title).startswith("bp"))
        assert "1 of 4" in screen.page
        await pilot.press("]", "g", "b", "b", "B")
        assert app.settings.metric == "curvature"
        assert (app.settings.other_scale, app.settings.bin_size) == (("curvature",), 1)
        await pilot.press("g", "[", "[")
        assert (app.settings.metric, app.settings.other_scale) == ("train_accuracy", ())


async def test_a_setting_that_vanishes_is_named_and_can_come_back(eleven_runs: Snapshot) -> None:
    async with app_showing(eleven_runs).run_test(size=(80, 24)) as pilot:
        screen = await open_seeds(pilot)
        remark = screen.query_one("#remark")
        screen.dashboard.change(query="method:bp")
        await until(pilot, lambda: "cbp is hidden by the filter; n shows bp" in str(remark.render()))
        assert not screen.heat.display
        screen.dashboard.change(query="nothing")
        await until(pilot, lambda: "no run matches the filter" in str(remark.render()))
        screen.dashboard.change(query="")
        await until(pilot, lambda: bool(screen.heat.display))


async def test_rows_are_shown_without_values_before_the_first_bin() -> None:
    async with app_showing(waiting(1)).run_test(size=(80, 24)) as pilot:
        screen = await open_seeds(pilot)
        assert "no task is finished yet" in str(screen.heat.render())
        assert [str(screen.table.get_cell("0", column)) for column in ("tasks", "last", "drop")] == ["0/50", "-", "-"]
        await pilot.press("left", "down", "o", "enter")
        assert screen.cursor is None
