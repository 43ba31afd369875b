"""The comparison of two settings: choosing them, the text, the chart, and every state of the screen."""

from dataclasses import replace

import pytest
from textual.pilot import Pilot
from textual.widgets import Static

from lop_engine.analysis import Difference, compare, group_runs
from lop_engine.runs.views import Snapshot
from lop_tui.dashboard.drawing.chart import Style
from lop_tui.dashboard.drawing.plots import Ink, draw
from lop_tui.dashboard.model import build_view
from lop_tui.dashboard.reader import SnapshotFetched
from lop_tui.dashboard.viewport import Viewport
from lop_tui.dashboard.views.compare.frame import Pair, difference_chart, verdict
from lop_tui.dashboard.views.compare.screen import CompareScreen
from tests.dashboard.conftest import app_showing, first_frame, until, waiting

PAIR = Pair("bp", "cbp", "test_accuracy")


def difference_of(snapshot: Snapshot, seeds_a: str = "012", seeds_b: str = "012", bin_size: int = 4) -> Difference:
    chosen = {"bp": seeds_a, "cbp": seeds_b}
    runs = [run for run in snapshot.runs if str(run.seed) in chosen.get(run.experiment, "")]
    a, b = group_runs(runs)
    return compare(a, b, "test_accuracy", bin_size)


async def open_comparison(pilot: Pilot[bool], label: str | None = "bp") -> CompareScreen:
    """Open the comparison and wait for its first frame."""
    app = await first_frame(pilot)
    screen = CompareScreen(label)
    app.push_screen(screen)
    await until(pilot, lambda: bool(app.view and app.view.request.compare and screen.is_current))
    return screen


def text_of(screen: CompareScreen) -> str:
    return str(screen.words.render())


def names(screen: CompareScreen) -> list[str]:
    return [str(name.render()).split()[-1] for name in screen.query("#names > Name").results(Static)]


def test_the_text_names_the_difference_its_interval_and_where_the_curves_separate(eleven_runs: Snapshot) -> None:
    reading, parting = verdict(difference_of(eleven_runs), PAIR)
    assert reading.startswith("tasks 81-84: +")
    assert "percentage points, 95 % interval +" in reading
    assert reading.endswith("3 pairs of seeds")
    assert parting.startswith("apart since task ")
    assert verdict(difference_of(eleven_runs), PAIR, cursor=3)[0].startswith("tasks 1-4: ")


def test_the_text_says_what_few_pairs_cannot_show(eleven_runs: Snapshot) -> None:
    reading, parting, *left_over = verdict(difference_of(eleven_runs, "01", "12"), PAIR)
    assert reading.endswith("a single pair of seeds, so no interval")
    assert parting == "at least two pairs of seeds are needed to see whether they differ"
    assert left_over == ["only in bp: seed 0", "only in cbp: seed 2"]
    assert verdict(difference_of(eleven_runs, "0", "12"), PAIR) == [
        "bp and cbp have no seed in common: nothing to compare"
    ]
    assert verdict(difference_of(eleven_runs, bin_size=100), PAIR)[0].startswith("no bin of 100 tasks")


def test_the_chart_shows_zero_and_marks_where_the_curves_separate(eleven_runs: Snapshot) -> None:
    difference = difference_of(eleven_runs)
    chart = difference_chart(difference, PAIR, Style("#0072B2", "x"), 120)
    assert chart.lines[0].marks == ((difference.parts_at, 0.0),)
    assert "◇" in draw(chart, 60, 20, Ink()).plain
    assert draw(chart, 60, 20, Ink(markers="ascii")).plain.isascii()
    single = difference_chart(difference_of(eleven_runs, "0", "0"), PAIR, Style("#0072B2", "x"), 120)
    assert single.lines[0].marks == ()
    assert len(draw(single, 60, 20, Ink()).plain.splitlines()) == 20


@pytest.mark.parametrize("metric", ["curvature", "dormant_proportion", "effective_rank"])
def test_a_difference_has_no_log_scale(eleven_runs: Snapshot, metric: str) -> None:
    view = build_view(eleven_runs)
    a, b, *_ = view.groups
    pair = Pair("bp", "cbp", metric)
    chart = difference_chart(compare(a, b, metric, 4), pair, Style("#0072B2", "x"), 120)
    assert chart.measure.scale == ("percent" if metric == "dormant_proportion" else "linear")
    assert ("percentage points" in pair.title) == (metric == "dormant_proportion")


async def test_keys_and_clicks_choose_the_two_settings(eleven_runs: Snapshot) -> None:
    async with app_showing(eleven_runs).run_test(size=(80, 24)) as pilot:
        screen = await open_comparison(pilot)
        assert names(screen) == ["cbp", "bp"]
        await pilot.press("n")
        assert names(screen) == ["l2", "bp"]
        await pilot.press("N", "a")
        assert names(screen) == ["cbp", "l2"]
        await pilot.press("o", "A")
        assert names(screen) == ["l2", "bp"]
        await pilot.click("#first")
        await pilot.click("#second")
        assert (screen.first, screen.second) == ("cbp", "snp step_size=0.001")
        await pilot.press("n")
        await until(pilot, lambda: str(screen.chart_view.border_title).startswith("bp - cbp"))
        assert {run.dir.experiment for run in screen.selected()} == {"bp", "cbp"}


async def test_the_cursor_shows_the_difference_at_a_task_and_a_range_zooms(eleven_runs: Snapshot) -> None:
    async with app_showing(eleven_runs).run_test(size=(80, 24)) as pilot:
        screen = await open_comparison(pilot)
        assert text_of(screen).startswith("tasks 83-84")
        await pilot.press("shift+left", "shift+left", "left", "right")
        assert screen.viewport.cursor is not None
        assert not text_of(screen).startswith("tasks 83-84")
        await pilot.press("+", "comma", "full_stop", "minus", "+")
        assert screen.viewport.window is not None
        await pilot.press("escape")
        assert screen.viewport == Viewport()
        await pilot.hover(screen.chart_view, offset=(40, 5))
        assert screen.viewport.cursor is not None
        await pilot.press("0", "escape")
        assert not screen.is_current


async def test_a_key_chooses_another_metric_and_an_equal_frame_draws_nothing(eleven_runs: Snapshot) -> None:
    async with app_showing(eleven_runs).run_test(size=(80, 24)) as pilot:
        screen = await open_comparison(pilot)
        await pilot.press("]", "b")
        await until(pilot, lambda: "curvature" in str(screen.chart_view.border_title))
        app = screen.dashboard
        await until(pilot, lambda: app.view is not None and app.view.request.settings == app.settings)
        assert app.view
        drawn = screen.chart_view.num_drawn
        app.post_message(SnapshotFetched(build_view(eleven_runs, app.view.request)))
        await pilot.pause()
        assert screen.chart_view.num_drawn == drawn


async def test_a_compared_setting_that_vanishes_is_named_and_can_come_back(eleven_runs: Snapshot) -> None:
    async with app_showing(eleven_runs).run_test(size=(80, 24)) as pilot:
        screen = await open_comparison(pilot)
        screen.dashboard.change(query="method:bp,l2")
        await until(pilot, lambda: text_of(screen) == "cbp is hidden by the filter; n and a choose others")
        assert not screen.chart_view.display
        await pilot.press("n")
        await until(pilot, lambda: bool(screen.chart_view.display))
        screen.dashboard.change(query="nothing")
        await until(pilot, lambda: text_of(screen) == "no run matches the filter")
        screen.dashboard.change(query="")
        await until(pilot, lambda: bool(screen.chart_view.display))


async def test_the_comparison_before_the_first_bin_says_so() -> None:
    waiting_runs = waiting(1)
    (run,) = waiting_runs.runs
    other = replace(run, dir=type(run.dir)(run.dir.path.parents[2] / "bp" / "default" / "seed_000"))
    async with app_showing(replace(waiting_runs, runs=(other, run))).run_test(size=(80, 24)) as pilot:
        screen = await open_comparison(pilot, None)
        assert text_of(screen) == "no task with test accuracy is finished in both yet"
        assert not screen.chart_view.display
        await pilot.press("left", "+", "0", "]")


async def test_the_view_names_the_keys_that_differ(eleven_runs: Snapshot) -> None:
    async with app_showing(eleven_runs).run_test(size=(160, 40)) as pilot:
        screen = await open_comparison(pilot)
        assert "they differ in agent (bp, cbp)" in text_of(screen)
        assert "momentum" not in text_of(screen)
