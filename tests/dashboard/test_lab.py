"""The setting described beside the charts, chosen charts, many methods, and first frames of long records."""

import json
import re
import threading
from pathlib import Path

import numpy as np
import pytest
from textual.widgets import SelectionList

from lop_engine.runs import reading
from lop_engine.runs.directory import RunDir
from lop_engine.runs.reading import RunsReader
from lop_engine.runs.views import Snapshot
from lop_tui.dashboard.app import Dashboard
from lop_tui.dashboard.drawing.axes import Axis
from lop_tui.dashboard.drawing.plots import Ink, draw
from lop_tui.dashboard.model import build_view
from lop_tui.dashboard.settings import Request, Settings, load_settings, save_settings
from lop_tui.dashboard.views.overview.charts import ChartChoice, names
from lop_tui.dashboard.views.overview.panels import SettingPanel, what_differs
from lop_tui.dashboard.views.overview.screen import OverviewScreen
from lop_tui.dashboard.widgets.chart import ChartView
from tests.dashboard.conftest import FAR_FUTURE, app_showing, first_frame, pressing, read, screen_text, settled, until
from tests.helpers import make_run

METHODS = ["bp", "cbp", "dash", "fire", "l2", "l2_init", "parseval", "redo", "snp", "snr", "spectral", "upgd"]


@pytest.fixture
def many(tmp_path: Path) -> Snapshot:
    """Make runs of twelve methods."""
    for method in METHODS:
        make_run(tmp_path, method, num_tasks=60)
    return read(tmp_path)


def titles(app: Dashboard) -> list[str]:
    return [str(chart.border_title) for chart in app.query(ChartView) if chart.display]


def drawn(snapshot: Snapshot, **settings: object) -> list[str]:
    """Return the lines of the first chart."""
    view = build_view(snapshot, Request(Settings(**settings)))  # type: ignore[arg-type]
    return [line.label for line in view.charts[0].lines]


async def test_the_setting_under_the_cursor_is_described(tmp_path: Path) -> None:
    for size in (0.1, 0.01, 0.001):
        run_dir = make_run(tmp_path, "bp", setting=f"step_size={size}", spec={"step_size": size, "momentum": 0.5})
        status = run_dir.read_status()
        status.device, status.job, status.note = "cuda:1", "123_4", "trained without CUDA graphs"
        run_dir.write_status(status)
    async with app_showing(read(tmp_path)).run_test(size=(140, 50)) as pilot:
        app = await first_frame(pilot)
        panel = app.screen.query_one(SettingPanel)
        assert not panel.display, "at 140 columns only the charts are shown"
        await pilot.press("i")
        await settled(pilot)
        await pilot.press("down")
        await settled(pilot)
        text = screen_text(app)
        for expected in (
            "bp step_size=0.01",
            "differs from the others in",
            "0.01 (0.001, 0.1)",
            "momentum",
            "cuda:1",
            "123_4",
            "numerics 1",
            "trained without CUDA graphs"[:18],
        ):
            assert expected in text
        assert app.settings.show_setting is True
        await pilot.press("i")
        await settled(pilot)
        assert not panel.display


async def test_a_wide_screen_describes_the_setting_unless_switched_off(eleven_runs: Snapshot) -> None:
    for show_setting, expected in ((None, True), (False, False)):
        app = app_showing(eleven_runs, settings=Settings(show_setting=show_setting))
        async with app.run_test(size=(200, 50)) as pilot:
            await settled(pilot)
            assert app.screen.query_one(SettingPanel).display is expected


def test_only_keys_with_an_effect_are_compared(many: Snapshot) -> None:
    view = build_view(many)
    group = view.group("cbp")
    assert group is not None
    differing = dict(what_differs(view.groups, group))
    assert differing["agent"].startswith("cbp (bp, dash, fire, ...)")
    assert "-" not in differing.values()


async def test_charts_are_chosen_ordered_and_saved(eleven_runs: Snapshot, tmp_path: Path) -> None:
    runs_dir = tmp_path / "kept"
    app = app_showing(eleven_runs, keep=lambda settings: save_settings(runs_dir, settings))
    async with app.run_test(size=(120, 40)) as pilot:
        await settled(pilot)
        assert titles(app)[:2] == ["1 test accuracy, %", "2 curvature, log scale"]
        await pilot.press("a")
        assert isinstance(app.screen, ChartChoice)
        await pilot.press("down", "space", "down", "left_square_bracket", "left_square_bracket", "escape")
        await settled(pilot)
        assert titles(app)[:3] == ["1 dormant units, %", "2 test accuracy, %", "3 effective rank"]
    again = app_showing(eleven_runs, settings=load_settings(runs_dir))
    async with again.run_test(size=(120, 40)) as pilot:
        await settled(pilot)
        assert titles(again)[:2] == ["1 dormant units, %", "2 test accuracy, %"]
        await pilot.press("a")
        choice = again.screen.query_one(SelectionList)
        assert "curvature" not in choice.selected
        assert choice.option_count == 7
        await pilot.press("0")
        await settled(pilot)
        assert titles(again)[:2] == ["1 test accuracy, %", "2 curvature, log scale"]


def test_a_metric_that_no_run_recorded_has_no_panel(tmp_path: Path) -> None:
    for seed in range(2):
        forget(make_run(tmp_path, "bp", seed), "stable_rank")
    view = build_view(read(tmp_path))
    assert "stable_rank" in [chart.measure.name for chart in view.charts]
    assert "stable_rank" not in [chart.measure.name for chart in view.panels]


def forget(run_dir: RunDir, metric: str) -> None:
    run_dir.tasks_json.write_text(run_dir.tasks_json.read_text().replace(f'"{metric}"', '"own"'))


def test_methods_are_hidden_shown_alone_and_pinned(many: Snapshot) -> None:
    assert drawn(many) == METHODS
    assert drawn(many, hidden=("bp", "gone")) == METHODS[1:]
    assert drawn(many, solo="l2", hidden=("bp",)) == ["l2"]
    assert drawn(many, solo="l2", pinned=("snp", "bp")) == ["bp", "snp", "l2"]
    assert drawn(many, solo="gone") == METHODS
    assert drawn(many, pinned=("redo",)) == ["redo", *(one for one in METHODS if one != "redo")]
    everything = {line.label: line.colour for line in build_view(many).charts[0].lines}
    alone = build_view(many, Request(Settings(solo="l2"))).charts[0].lines[0]
    assert alone.colour == everything["l2"]


def test_the_table_can_be_sorted_by_the_best_value(many: Snapshot) -> None:
    rows = build_view(many, Request(Settings(order="value", pinned=("bp",)))).rows
    assert rows[0].label == "bp"
    values = [float(row.value.split()[0]) for row in rows[1:]]
    assert values == sorted(values, reverse=True)


async def test_keys_hide_solo_pin_sort_and_find_methods(many: Snapshot) -> None:
    app = app_showing(many)
    async with app.run_test(size=(120, 40)) as pilot:
        await settled(pilot)
        screen = app.screen
        assert isinstance(screen, OverviewScreen)
        await pressing("down", "h")(pilot)
        assert app.settings.hidden == ("cbp",)
        assert app.view is not None
        assert [row.label for row in app.view.rows if not row.is_drawn] == ["cbp"]
        await pressing("h")(pilot)
        assert app.settings.hidden == ()
        await pressing("n", *"RED", "enter", "f")(pilot)
        assert screen.table.selected == "redo"
        assert app.settings.solo == "redo"
        assert [line.label for line in app.view.charts[0].lines] == ["redo"]
        await pressing("H", "k", "o")(pilot)
        assert (app.settings.pinned, app.settings.order, app.settings.solo) == (("redo",), "value", None)
        assert "^redo" in screen_text(app)
        assert screen.table.selected == "redo"
        await pressing("n", *"xyz")(pilot)
        assert "no method is called xyz" in screen_text(app)


async def test_charts_without_visible_methods_name_the_key_that_shows_them(tmp_path: Path) -> None:
    make_run(tmp_path, "bp")
    app = app_showing(read(tmp_path), settings=Settings(hidden=("bp",)))
    async with app.run_test(size=(100, 30)) as pilot:
        await settled(pilot)
        assert "All methods are hidden." in screen_text(app)
        await pressing("H")(pilot)
        assert "hidden" not in screen_text(app)


def test_more_than_eight_methods_have_different_markers_in_colour(many: Snapshot) -> None:
    view = build_view(many)
    markers = {line.marker for line in view.charts[0].lines}
    assert len(markers) == len(METHODS)
    text = draw(view.charts[0], 100, 30, Ink())
    assert markers <= set(text.plain)
    few = build_view(many, Request(Settings(query="method:bp,cbp")))
    assert few.charts[0].lines[0].is_marked, "a filter does not change markers"


def test_eight_methods_need_no_markers(eleven_runs: Snapshot) -> None:
    lines = build_view(eleven_runs).charts[0].lines
    assert not any(line.is_marked for line in lines)


def test_the_names_above_the_charts_count_those_that_do_not_fit(many: Snapshot) -> None:
    rows = build_view(many).rows
    assert all(f" {method}" in names(rows, 200).plain for method in METHODS)
    narrow = names(rows, 40).plain
    shown = sum(f" {method}" in f"{narrow} " for method in ("bp", "cbp", "dash", "fire"))
    assert shown == 4
    assert narrow.count("\n") == 1
    left = int(narrow.rpartition("and ")[2].split()[0])
    assert left + narrow.count("━") == len(METHODS)


async def test_names_are_shown_above_the_charts_if_the_table_is_cut(many: Snapshot) -> None:
    async with app_showing(many).run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        text = screen_text(pilot.app)  # type: ignore[arg-type]
        assert all(f" {method} " in text for method in METHODS)


def test_the_edge_of_a_band_uses_half_cells(eleven_runs: Snapshot) -> None:
    view = build_view(eleven_runs)
    chart = view.charts[0]
    assert isinstance(chart.x, Axis)
    assert "▄" in draw(chart, 60, 20, Ink()).plain
    assert "▄" not in draw(chart, 60, 20, Ink(markers="ascii")).plain
    assert "▄" not in draw(chart, 60, 20, Ink(coloured=False)).plain


@pytest.fixture
def _long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let any record count as long."""
    monkeypatch.setattr(reading, "MANY_BYTES", 0)


@pytest.mark.usefixtures("_long")
@pytest.mark.parametrize("done", [1, 7, 199, 200, 387, 400])
def test_the_ends_of_records_give_the_same_final_values(tmp_path: Path, done: int) -> None:
    for method in ("bp", "cbp"):
        for seed in range(2):
            make_run(tmp_path, method, seed, num_tasks=400, tasks_done=done, state="running", heartbeat_at=FAR_FUTURE)
    reader = RunsReader(tmp_path)
    ends, whole = reader.read_ends(), reader.read()
    assert ends is not None
    assert ends.has_ends_only
    assert not whole.has_ends_only
    for one, other in zip(ends.runs, whole.runs, strict=True):
        assert one.tasks_recorded == other.tasks_recorded
        for name, values in one.series.items():
            known = np.isfinite(values)
            assert np.array_equal(values[known], other.series[name][known])
            assert known[-1]
    rows, same = build_view(ends).rows, build_view(whole).rows
    assert [row.value for row in rows] == [row.value for row in same]
    if done == 387:
        assert np.isnan(ends.runs[0].series["test_accuracy"][0]), "the beginning must not be read"


@pytest.mark.usefixtures("_long")
def test_the_ends_of_records_mark_values_that_are_not_finite(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path, "bp", num_tasks=400, tasks_done=390, state="running", heartbeat_at=FAR_FUTURE)
    lines = run_dir.tasks_json.read_text().split("\n")
    for task in (3, 330, 389):
        lines[task + 1] = re.sub(r'"test_accuracy":[^,}]*', '"test_accuracy":null', lines[task + 1])
    run_dir.tasks_json.write_text("\n".join(lines))
    reader = RunsReader(tmp_path)
    ends, whole = reader.read_ends(), reader.read()
    assert ends is not None
    assert np.flatnonzero(whole.runs[0].nulls["test_accuracy"]).tolist() == [3, 330, 389]
    assert np.flatnonzero(ends.runs[0].nulls["test_accuracy"]).tolist() == [330, 389]


@pytest.mark.usefixtures("_long")
def test_records_whose_ends_cannot_be_read_are_read_completely(tmp_path: Path) -> None:
    torn, saved, damaged = (make_run(tmp_path, method, num_tasks=300) for method in ("bp", "cbp", "l2"))
    text = torn.tasks_json.read_text()
    torn.tasks_json.write_text(text[: text.rindex("task") - 20])
    saved.tasks_json.write_text(json.dumps(json.loads(saved.tasks_json.read_text()), indent=1))
    text = damaged.tasks_json.read_text()
    damaged.tasks_json.write_text(text[:-400] + "###" + text[-390:])
    reader = RunsReader(tmp_path)
    ends, whole = reader.read_ends(), reader.read()
    assert ends is not None
    for one, other in zip(ends.runs, whole.runs, strict=True):
        assert (one.state, one.problem, one.tasks_recorded) == (other.state, other.problem, other.tasks_recorded)


def test_read_ends_skips_short_records(many: Snapshot, tmp_path: Path) -> None:
    assert RunsReader(tmp_path).read_ends() is None


@pytest.mark.usefixtures("_long")
async def test_the_first_frame_has_the_latest_values_before_the_records_are_read(tmp_path: Path) -> None:
    make_run(tmp_path, "bp", num_tasks=300)
    reader, go = RunsReader(tmp_path), threading.Event()

    def read_slowly() -> Snapshot:
        go.wait(30)
        return reader.read()

    app = Dashboard(read_slowly, read_ends=reader.read_ends)
    async with app.run_test(size=(120, 40)) as pilot:
        await first_frame(pilot)
        await pilot.pause()
        assert "reading the curves" in screen_text(app)
        assert app.view is not None
        value = app.view.rows[0].value
        assert value
        await settled(pilot)
        assert {chart.num_drawn for chart in app.query(ChartView) if chart.display} == {1}, "a chart was drawn twice"
        go.set()
        await until(pilot, lambda: app.view is not None and not app.view.has_ends_only)
        assert "reading the curves" not in screen_text(app)
        assert app.view.rows[0].value == value
