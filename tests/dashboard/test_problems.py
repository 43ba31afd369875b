"""Problems, methods and metrics that are not installed here, and several problems in one directory."""

from pathlib import Path
from typing import Any

import pytest
from textual.content import Content
from textual.widgets import Static

from lop_engine.experiment import lookup
from lop_engine.runs.views import Snapshot
from lop_tui.dashboard import read_numbers, render_once
from lop_tui.dashboard.model import build_rows, build_view
from lop_tui.dashboard.reader import SnapshotFetched
from lop_tui.dashboard.settings import Request, Settings, load_settings, save_settings
from lop_tui.dashboard.table import fit_table
from lop_tui.dashboard.views.compare.screen import CompareScreen
from lop_tui.dashboard.views.overview.charts import ChartGrid
from lop_tui.dashboard.views.overview.panels import RunsTable
from lop_tui.dashboard.views.overview.screen import OverviewScreen
from lop_tui.dashboard.views.seeds.epochs import EpochChart
from lop_tui.dashboard.views.seeds.heat_map import HeatMap
from lop_tui.dashboard.views.seeds.screen import SeedsScreen
from lop_tui.dashboard.widgets.chart import ChartView
from lop_tui.dashboard.widgets.lines import ProblemTabs
from tests.dashboard.conftest import app_showing, first_frame, read, screen_text, settled, until
from tests.helpers import make_run
from tests.toys import REGRESSION, STREAM, described, make_toy

BY_BACKPROP = {**REGRESSION, "method": {"name": "bp"}}


@pytest.fixture
def regression(tmp_path: Path) -> Snapshot:
    """Make runs of two methods with two seeds each."""
    for seed in range(2):
        make_toy(tmp_path, "fast", seed)
        make_toy(tmp_path, "slow", seed, tasks_done=20, state="stopped", components=BY_BACKPROP)
    return read(tmp_path)


def request_for(name: str, **changes: Any) -> Request:
    return Request(Settings(problem=name, **changes))


def test_charts_are_the_headline_and_other_recorded_metrics(regression: Snapshot) -> None:
    view = build_view(regression)
    assert [chart.measure.heading for chart in view.charts] == ["squared error, log scale", "drift of the weights"]
    assert view.metric == "toy_error"
    assert view.charts[0].lines[0].marks == ()


def test_the_axis_is_in_the_problem_s_unit(regression: Snapshot) -> None:
    chart = build_view(regression, Request(Settings(bin_size=10))).charts[0]
    assert (chart.x_unit, chart.x.high) == ("examples", 20_000)
    assert chart.lines[0].x.tolist() == [2750, 7750, 12750, 17750]  # the middles of ten tasks of 500 examples
    assert chart.lines[1].x.tolist() == [2750, 7750]
    hours = build_view(regression, Request(Settings(x_unit="hours"))).charts[0]
    assert hours.x_unit == "minutes"


def test_colours_and_names_come_from_the_method(regression: Snapshot) -> None:
    fast, slow = build_view(regression).rows
    assert (fast.method, fast.style.colour) == ("dropout", "#AA3377")
    assert (slow.method, slow.style.colour) == ("bp", lookup.method("bp").colour)


def test_the_table_has_the_headline_and_the_methods(regression: Snapshot) -> None:
    table = fit_table(build_view(regression).rows, 120)
    assert table.columns == ("experiment", "method", "seeds", "progress", "tasks", "squared error", "rate", "ETA")
    cells = [str(cell) for cell in table.rows["fast"]]
    assert (cells[0], cells[1], cells[5].split()[0][:3]) == ("━━ fast", "dropout", "0.5")
    narrow = fit_table(build_view(regression).rows, 60)
    assert narrow.columns[0] == "experiment"
    assert "squared error" in narrow.columns


@pytest.mark.parametrize("title", ["seeds", "rate", "method", "accuracy", "x" * 150, "漢字" * 30])
def test_a_metric_s_title_is_never_another_column(tmp_path: Path, title: str) -> None:
    own = {**REGRESSION, "metrics": [described("toy_error", title)]}
    make_toy(tmp_path, components=own)
    for width in (40, 80, 160):
        table = fit_table(build_view(read(tmp_path)).rows, width)
        assert len(set(table.columns)) == len(table.columns)


def test_there_is_no_method_column_if_experiments_are_named_after_their_methods(eleven_runs: Snapshot) -> None:
    assert "experiment" not in fit_table(build_view(eleven_runs).rows, 160).columns


def test_an_empty_chart_says_why_the_network_lacks_the_metric(tmp_path: Path) -> None:
    components = {**STREAM, "problem": {**STREAM["problem"], "charts": ["online_accuracy", "stable_rank"]}}
    make_toy(tmp_path, components=components, metrics=["online_accuracy"])
    assert [chart.remark for chart in build_view(read(tmp_path)).charts] == ["", "a flat network has no hidden units"]


def test_an_undescribed_metric_is_shown_by_its_name(tmp_path: Path) -> None:
    make_toy(tmp_path, components={}, metrics=["some_new_number"], problem="another")
    view = build_view(read(tmp_path))
    assert [chart.measure.title for chart in view.charts] == ["some new number"]
    assert (view.shown.problem.title, view.rows[0].measure.title) == ("another", "some new number")
    assert "some new number" in render_once(tmp_path, 80, 24, coloured=False)


def test_a_chosen_metric_of_another_problem_falls_back_to_the_headline(regression: Snapshot) -> None:
    for metric in ("test_accuracy", "gone", None):
        view = build_view(regression, Request(Settings(metric=metric), heat_of="fast", compare=("fast", "slow")))
        assert view.metric == "toy_error"
        assert view.seeds
        assert view.seeds.heat.measure.name == "toy_error"
        assert last_difference(view.difference) != 0
    assert build_view(regression, Request(Settings(metric="drift"))).metric == "drift"


def last_difference(difference: Any) -> float:
    return float(difference.mean[-1])


def test_saved_settings_may_name_another_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    chosen = Settings(problem="toy_regression", metric="not_yet_read", bin_size=5)
    save_settings(tmp_path, chosen)
    assert load_settings(tmp_path) == chosen


def test_a_frame_shows_and_averages_one_problem(three_problems: Snapshot) -> None:
    view = build_view(three_problems)
    assert (view.shown.problem.name, [row.label for row in view.rows]) == ("continual_imagenet", ["bp", "cbp"])
    assert view.shown.others == (("toy_regression", 3), ("toy_stream", 1))
    toy = build_view(three_problems, request_for("toy_regression"))
    assert [row.label for row in toy.rows] == ["fast"]
    assert {run.problem_name for run in toy.runs} == {"toy_regression"}
    assert toy.shown.others == (("toy_stream", 1), ("continual_imagenet", 4))
    assert build_view(three_problems, request_for("gone")).shown.problem.name == "continual_imagenet"


def test_a_filter_chooses_the_problem_too(three_problems: Snapshot) -> None:
    view = build_view(three_problems, Request(Settings(query="problem:toy_stream", problem="toy_regression")))
    assert (view.shown.problem.name, view.shown.others, view.num_hidden) == ("toy_stream", (), 7)
    none = build_view(three_problems, Request(Settings(query="seed:77", problem="toy_stream")))
    assert (none.phase, none.runs, none.shown.others) == ("none match", (), ())


def test_all_ended_includes_the_runs_of_other_problems(tmp_path: Path) -> None:
    make_run(tmp_path, "bp", 0)
    make_run(tmp_path, "bp", 1)
    make_toy(tmp_path, state="queued", tasks_done=0)
    view = build_view(read(tmp_path))
    assert (view.phase, view.all_ended) == ("ended", False)
    assert build_view(read(tmp_path), Request(Settings(query="method:bp"))).all_ended


def test_the_progress_of_lop_run_has_rows_of_every_problem(three_problems: Snapshot) -> None:
    rows = {row.label: row.measure.name for row in build_rows(three_problems.runs)}
    assert rows == {
        "bp": "test_accuracy",
        "cbp": "test_accuracy",
        "fast": "toy_error",
        "stream": "online_accuracy",
    }


def test_watch_once_shows_one_problem_and_says_how_to_see_others(tmp_path: Path, three_problems: Snapshot) -> None:
    text = render_once(tmp_path, 200, 60, coloured=False)
    assert 'showing Continual ImageNet alone (4 runs); --where "problem:toy_regression" for Toy regression' in text
    assert "fast" not in text
    toy = render_once(tmp_path, 200, 60, coloured=False, query="problem:toy_regression")
    assert "squared error, log scale, by example (bins of 1 task)" in toy
    assert "alone" not in toy
    assert "test acc" not in toy
    narrow = render_once(tmp_path, 60, 60, coloured=False).splitlines()
    assert " ".join(narrow[1:4]).count("--where") == 2


def test_json_has_the_settings_of_every_problem_with_their_own_metrics(
    tmp_path: Path, three_problems: Snapshot
) -> None:
    settings = {one["label"]: one for one in read_numbers(tmp_path)["settings"]}
    assert {label: one["problem"] for label, one in settings.items()} == {
        "bp": "continual_imagenet",
        "cbp": "continual_imagenet",
        "fast": "toy_regression",
        "stream": "toy_stream",
    }
    assert set(settings["fast"]["metrics"]) == {"toy_error", "drift"}
    assert settings["fast"]["method"] == "dropout"


def test_a_setting_with_seeds_of_two_problems_is_shown_as_two(tmp_path: Path) -> None:
    make_toy(tmp_path, "mixed", 0)
    make_toy(tmp_path, "mixed", 1, components=STREAM)
    make_toy(tmp_path, "mixed", 2, components=STREAM)
    settings = read_numbers(tmp_path)["settings"]
    assert [(one["problem"], one["seeds"]) for one in settings] == [("toy_stream", [1, 2]), ("toy_regression", [0])]
    (row,) = build_view(read(tmp_path)).rows
    assert (row.tasks_total, row.value_seeds) == (80, "")


def test_runs_that_cannot_be_read_are_counted_once(tmp_path: Path, three_problems: Snapshot) -> None:
    broken = make_toy(tmp_path, "broken")
    broken.run_json.write_text("[")
    numbers = read_numbers(tmp_path)
    assert sum(numbers["states"].values()) == 9
    assert [one["label"] for one in numbers["settings"]] == ["bp", "broken", "cbp", "fast", "stream"]
    assert [notice["run"] for notice in numbers["notices"]] == ["broken/default/seed_000"]


def test_control_characters_in_a_component_name_are_removed(tmp_path: Path) -> None:
    make_run(tmp_path, "bp", 0)
    make_run(tmp_path, "bp", 1)
    make_toy(tmp_path, components={**REGRESSION, "problem": {**REGRESSION["problem"], "name": "a b\x1b[31m"}})
    text = render_once(tmp_path, 160, 40, coloured=False)
    assert "\x1b" not in text
    assert '--where "problem:a?b??31m"' in text
    assert render_once(tmp_path, 160, 40, coloured=False, query="problem:a?b??31m").startswith(f"1 run in {tmp_path}:")


async def test_a_key_shows_the_next_problem_in_all_later_frames(three_problems: Snapshot) -> None:
    saved: list[Settings] = []
    async with app_showing(three_problems, keep=saved.append).run_test(size=(160, 48)) as pilot:
        app = await first_frame(pilot)
        tabs, table = app.screen.query_one(ProblemTabs), app.screen.query_one(RunsTable)
        line = " Continual ImageNet (4 runs)   Toy regression (3 runs)   Toy stream (1 run)   v: next"
        assert (str(tabs.render()), marked(tabs)) == (line, "Continual ImageNet (4 runs)")
        app.screen.query_one(ChartGrid)
        await pilot.press("left", "v")
        await settled(pilot)
        assert (str(tabs.render()), marked(tabs)) == (line, "Toy regression (3 runs)")
        assert [column.label.plain for column in table.ordered_columns][:2] == ["experiment", "method"]
        assert isinstance(app.screen, OverviewScreen)
        assert app.screen.viewport.cursor is None
        assert saved[-1].problem == "toy_regression"
        titles = [chart.border_title for chart in app.query(ChartView) if chart.display]
        assert titles == ["1 squared error, log scale", "2 drift of the weights"]
        assert {chart.border_subtitle for chart in app.query(ChartView) if chart.display} == {"examples"}
        again = build_view(three_problems, app.wants)
        app.post_message(SnapshotFetched(again))
        await until(pilot, lambda: app.view is again)
        assert marked(tabs) == "Toy regression (3 runs)"
        await pilot.press("v", "v")
        await until(pilot, lambda: marked(tabs) == "Continual ImageNet (4 runs)")


def marked(tabs: ProblemTabs) -> str:
    """Return the active tab."""
    shown = tabs.render()
    assert isinstance(shown, Content)
    return "".join(
        shown.plain[one.start : one.end] for one in shown.spans if getattr(one.style, "reverse", False)
    ).strip()


async def test_a_click_on_a_tab_shows_its_problem(three_problems: Snapshot) -> None:
    async with app_showing(three_problems).run_test(size=(100, 30)) as pilot:
        app = await first_frame(pilot)
        await settled(pilot)
        tabs = app.screen.query_one(ProblemTabs)
        await pilot.click(ProblemTabs, offset=(str(tabs.render()).index("Toy stream") + 3, 0))
        await until(pilot, lambda: app.view is not None and app.view.shown.problem.name == "toy_stream")
        await until(pilot, lambda: marked(tabs) == "Toy stream (1 run)")


async def test_tabs_that_do_not_fit_begin_with_the_shown_problem(three_problems: Snapshot) -> None:
    for width in (20, 40, 60, 80):
        async with app_showing(three_problems).run_test(size=(width, 24)) as pilot:
            app = await first_frame(pilot)
            await pilot.press("v")
            await settled(pilot)
            tabs = app.screen.query_one(ProblemTabs)
            assert "Toy" in marked(tabs)
            assert len(str(tabs.render())) <= width


async def test_a_single_problem_has_no_tabs_or_key(regression: Snapshot) -> None:
    async with app_showing(regression).run_test(size=(120, 40)) as pilot:
        app = await first_frame(pilot)
        await settled(pilot)
        assert not app.screen.query_one(ProblemTabs).display
        await pilot.press("v")
        assert app.settings.problem is None
        assert app.check_action("problem", ()) is False
        assert app.screen.check_action("published", ()) is False


async def test_a_key_changes_the_problem_in_the_views_of_seeds_and_comparison(three_problems: Snapshot) -> None:
    async with app_showing(three_problems).run_test(size=(160, 48)) as pilot:
        app = await first_frame(pilot)
        await pilot.press("e")
        await settled(pilot)
        await pilot.press("v")
        await until(pilot, lambda: isinstance(app.screen, SeedsScreen) and app.screen.label == "fast")
        await settled(pilot)
        assert app.screen.query_one(HeatMap).border_title == "fast: seed by example"
        charts = [chart.border_title for chart in app.screen.query(EpochChart) if chart.display]
        assert charts == ["seed 0, task 40: squared error, log scale", "seed 0, task 40: drift of the weights"]
        await pilot.press("v", "v")
        await until(pilot, lambda: isinstance(app.screen, SeedsScreen) and app.screen.label == "bp")
        await pilot.press("c")
        await settled(pilot)
        assert isinstance(app.screen, CompareScreen)
        assert app.screen.query_one(ChartView).border_title == "cbp - bp: test accuracy, percentage points"
        await pilot.press("v")
        verdict = app.screen.query_one("#verdict", Static)
        await until(pilot, lambda: str(verdict.render()) == "a comparison takes two methods or settings")


async def test_the_comparison_is_in_the_problem_s_unit(regression: Snapshot) -> None:
    async with app_showing(regression, settings=Settings(bin_size=10)).run_test(size=(160, 48)) as pilot:
        app = await first_frame(pilot)
        await pilot.press("c")
        await settled(pilot)
        words = str(app.screen.query_one("#verdict", Static).render())
        assert words.startswith("examples 5001-10000: ")
        assert app.screen.query_one(ChartView).border_subtitle == "examples"


async def test_the_seed_table_names_the_rise_of_a_metric_that_should_be_low(regression: Snapshot) -> None:
    async with app_showing(regression).run_test(size=(160, 48)) as pilot:
        await first_frame(pilot)
        await pilot.press("e", "left")
        await settled(pilot)
        table = pilot.app.screen.query_one("SeedTable")
        headers = [str(column.label) for column in table.ordered_columns]  # type: ignore[attr-defined]
        assert headers == ["seed ▲", "state", "tasks", "last", "best", "rise"]
        assert "examples 19" in str(pilot.app.screen.query_one(HeatMap).border_subtitle)


async def test_charts_are_added_when_more_metrics_are_recorded(tmp_path: Path) -> None:
    names = [f"metric_{i}" for i in range(40)]
    make_toy(tmp_path, "few", metrics=names[:2], components={}, problem="another")
    few = read(tmp_path)
    make_toy(tmp_path, "many", metrics=names, components={}, problem="another")
    many = read(tmp_path)
    async with app_showing(few).run_test(size=(120, 40)) as pilot:
        app = await first_frame(pilot)
        await settled(pilot)
        app.post_message(SnapshotFetched(build_view(many, app.wants)))
        grid = app.screen.query_one(ChartGrid)
        await until(pilot, lambda: grid.num_charts == 40)
        await until(pilot, lambda: grid.page == "charts 1-6 of 40")
        await pilot.press("left_square_bracket")
        await until(pilot, lambda: any("40 metric 39" in str(one.border_title) for one in grid.query(ChartView)))
        last = [one for one in grid.query(ChartView) if one.display]
        assert [one.place for one in last] == [36, 37, 38, 39]
        await until(pilot, lambda: "3" in last[-1].render().plain)


async def test_runs_without_any_metric_give_a_frame_in_every_view(tmp_path: Path) -> None:
    make_toy(tmp_path, components={}, metrics=[], problem="another", state="running")
    async with app_showing(read(tmp_path)).run_test(size=(80, 24)) as pilot:
        app = await first_frame(pilot)
        await pilot.press("e", "escape", "1", "right_square_bracket", "g", "t", "escape")
        await settled(pilot)
        assert app.error is None


async def test_new_columns_are_as_wide_as_their_cells_immediately(three_problems: Snapshot) -> None:
    async with app_showing(three_problems).run_test(size=(120, 40)) as pilot:
        app = await first_frame(pilot)
        table = app.screen.query_one(RunsTable)
        table.show(build_view(three_problems, request_for("toy_regression")).rows)
        assert [column.content_width for column in table.ordered_columns][1:3] == [7, 10]  # dropout, 3 finished


async def test_titles_are_text_and_not_markup(tmp_path: Path) -> None:
    titles = ["[bold]error[/", "speed [m/s]"]
    own = {
        "problem": {**REGRESSION["problem"], "title": "[red]Toy", "x_unit": "[/bits]"},
        "metrics": [described(name, title) for name, title in zip(["toy_error", "b"], titles, strict=True)],
    }
    for name in ("fast", "slow"):
        make_toy(tmp_path, name, components={**REGRESSION, **own})
    make_run(tmp_path, "bp")
    async with app_showing(read(tmp_path)).run_test(size=(160, 48)) as pilot:
        app = await first_frame(pilot)
        for key in ("left", "t", "escape", "1", "1", "e", "left", "escape", "escape", "c", "left"):
            await pilot.press(key)
            await settled(pilot)
            assert app.error is None
        assert "[red]Toy (" in str(app.screen.query_one(ProblemTabs).render())
        await pilot.press("escape", "escape")
        await settled(pilot)
        shown = screen_text(app)
        assert all(title in shown for title in titles)
