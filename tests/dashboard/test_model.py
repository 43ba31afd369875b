"""The contents of frames, without a screen."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest
from textual.color import Color

from lop_engine.analysis import default_bin, group_runs, summarise
from lop_engine.experiment.problems import CONTINUAL_IMAGENET
from lop_engine.runs.reading import RunsReader
from lop_engine.runs.views import Snapshot
from lop_tui.dashboard import render_once
from lop_tui.dashboard.drawing.plots import Ink, draw
from lop_tui.dashboard.model import ViewBuilder, build_view
from lop_tui.dashboard.once import as_dict
from lop_tui.dashboard.settings import Request, Settings
from lop_tui.dashboard.table import STATE_COLOURS, describe_states, fit_table
from lop_tui.words.formats import count, duration, place, rate, significant, with_error
from tests.dashboard.conftest import FAR_FUTURE, ended, read, unreadable, waiting
from tests.helpers import append_tasks, make_metrics, make_run


def test_rows_have_states_progress_and_speed(eleven_runs: Snapshot) -> None:
    bp, cbp, l2, snp = build_view(eleven_runs).rows
    assert [row.label for row in (bp, cbp, l2, snp)] == ["bp", "cbp", "l2", "snp step_size=0.001"]
    assert bp.states == (("running", 1), ("finished", 2))
    assert l2.states == (("failed", 1), ("running", 2))
    assert (cbp.tasks_done, cbp.tasks_total, cbp.progress) == (252, 360, pytest.approx(0.7))
    assert cbp.tasks_per_min == pytest.approx(3 * 60 * 2.5 / 10)
    assert cbp.eta_s == pytest.approx(36 * 10 / 2.5)
    assert (snp.value, snp.tasks_per_min, snp.eta_s, snp.short_label) == ("", None, None, "snp 0.001")


def test_the_accuracy_equals_that_of_the_analysis(eleven_runs: Snapshot) -> None:
    summary = summarise(group_runs(eleven_runs.runs)[1])
    row = build_view(eleven_runs).rows[1]
    assert row.value == f"{100 * summary.last:.1f} ± {100 * summary.last_standard_error:.1f}"
    assert row.value_seeds == ""
    assert build_view(eleven_runs).rows[2].value_seeds == "n=2/3"


def test_the_eta_of_a_queued_seed_assumes_the_present_workers(eleven_runs: Snapshot) -> None:
    runs = [replace(run, state="queued") if run.seed == 2 else run for run in eleven_runs.runs]
    (row,) = build_view(replace(eleven_runs, runs=tuple(run for run in runs if run.experiment == "cbp"))).rows
    assert row.eta_s == pytest.approx(3 * 36 / (2 * 60 * 2.5 / 10) * 60)


def test_charts_share_axis_and_bin_and_are_reused_without_new_tasks(eleven_runs: Snapshot) -> None:
    builder = ViewBuilder()
    view = builder.build(eleven_runs)
    assert {(chart.x.low, chart.x.high, chart.bin_size) for chart in view.charts} == {(0, 120, default_bin(120))}
    again = builder.build(ended(eleven_runs))
    assert all(one is other for one, other in zip(again.charts, view.charts, strict=True))
    fewer = builder.build(replace(eleven_runs, runs=eleven_runs.runs[1:]))
    assert all(one is not other for one, other in zip(fewer.charts, view.charts, strict=True))


def test_a_new_task_rebuilds_only_the_charts_and_lines_that_it_changes(tmp_path: Path) -> None:
    run = make_run(tmp_path, "bp", num_tasks=40, tasks_done=10, state="running", heartbeat_at=FAR_FUTURE)
    make_run(tmp_path, "cbp", num_tasks=40, tasks_done=10, state="running", heartbeat_at=FAR_FUTURE)
    reader, builder = RunsReader(tmp_path), ViewBuilder()
    before = builder.build(reader.read()).charts[0]
    assert builder.build(reader.read()).charts[0] is before
    append_tasks(run, make_metrics("bp", 40, 0), 10, 12)
    after = builder.build(reader.read(), Request(Settings(bin_size=1))).charts[0]
    assert after is not before
    assert after.lines[1] is before.lines[1]
    assert len(after.lines[0].curve.task) == 12


def test_every_recorded_metric_has_a_chart_after_the_usual_ones(eleven_runs: Snapshot) -> None:
    metrics = [chart.measure.name for chart in build_view(eleven_runs).charts]
    assert metrics == [*CONTINUAL_IMAGENET.charts, "train_accuracy"]
    assert [chart.measure.name for chart in build_view(waiting()).charts] == list(CONTINUAL_IMAGENET.charts)


def test_a_filter_hides_runs_and_changes_no_colour(eleven_runs: Snapshot) -> None:
    everything = build_view(eleven_runs)
    view = build_view(eleven_runs, Request(Settings(query="method:cbp,l2 -state:failed")))
    assert [row.label for row in view.rows] == ["cbp", "l2"]
    assert (view.num_runs, view.num_hidden) == (5, 6)
    assert [row.style for row in view.rows] == [everything.rows[1].style, everything.rows[2].style]
    assert build_view(eleven_runs, Request(Settings(query="seed:77"))).phase == "none match"


def test_the_x_axis_counts_tasks_steps_or_hours(tmp_path: Path) -> None:
    make_run(tmp_path, "bp", num_tasks=40, spec={"train_images": 600, "mini_batch_size": 100})
    snapshot = RunsReader(tmp_path).read()
    x = {
        unit: build_view(snapshot, Request(Settings(x_unit=unit, bin_size=10))).charts[0].lines[0].x  # type: ignore[arg-type]
        for unit in ("tasks", "steps", "hours")
    }
    assert x["tasks"].tolist() == [5.5, 15.5, 25.5, 35.5]
    assert x["steps"].tolist() == (x["tasks"] * 10 * 12).tolist()  # 10 epochs of 1,200 images
    assert x["hours"] == pytest.approx(x["tasks"] * 1.5 / 60), "less than an hour is shown in minutes"


@pytest.mark.parametrize(("task_s", "unit", "high"), [(1.5, "minutes", 1), (80, "minutes", 100), (100, "hours", 2)])
def test_less_than_an_hour_is_shown_in_minutes(tmp_path: Path, task_s: float, unit: str, high: float) -> None:
    make_run(tmp_path, "bp", num_tasks=40)
    snapshot = RunsReader(tmp_path).read()
    runs = tuple(replace(run, seconds=np.full(40, task_s)) for run in snapshot.runs)
    chart = build_view(replace(snapshot, runs=runs), Request(Settings(x_unit="hours"))).charts[0]
    assert (chart.x_unit, chart.x.high) == (unit, high)
    assert chart.lines[0].x[-1] == pytest.approx(40 * task_s / (60 if unit == "minutes" else 3600))


def test_bins_depend_on_the_range_that_is_shown(tmp_path: Path) -> None:
    make_run(tmp_path, "bp", num_tasks=2000)
    snapshot = RunsReader(tmp_path).read()
    assert build_view(snapshot).charts[0].bin_size == 50
    assert build_view(snapshot, Request(window=(100.0, 200.0))).charts[0].bin_size == 2
    assert build_view(snapshot, Request(Settings(bin_size=25), (100.0, 200.0))).charts[0].bin_size == 25


def test_smoothing_keeps_the_raw_line_too(eleven_runs: Snapshot) -> None:
    plain = build_view(eleven_runs).charts[0].lines[0]
    smoothed = build_view(eleven_runs, Request(Settings(smoothing=5))).charts[0].lines[0]
    assert plain.smooth is None
    assert smoothed.smooth is not None
    assert smoothed.curve.mean.tolist() == plain.curve.mean.tolist()
    assert smoothed.smooth.std() < plain.curve.mean.std()


def test_published_levels_are_shown_only_for_the_protocol_of_the_paper(tmp_path: Path) -> None:
    paper = {"momentum": 0.9, "num_showings": 250, "mini_batch_size": 100, "dataset": "imagenet32"}
    make_run(tmp_path, "bp", num_tasks=2000, num_epochs=250, spec=paper)
    make_run(tmp_path, "cbp", num_tasks=2000)
    snapshot = RunsReader(tmp_path).read()
    bp, cbp = build_view(snapshot).charts[0].lines
    assert bp.marks == ((25.5, 0.843), (1975.5, 0.74))
    assert cbp.marks == ()
    assert build_view(snapshot).charts[1].lines[0].marks == ()
    assert build_view(snapshot, Request(Settings(show_published=False))).charts[0].lines[0].marks == ()


def test_a_replay_shows_the_runs_at_an_earlier_task(eleven_runs: Snapshot) -> None:
    view = build_view(ended(eleven_runs), Request(replay_at=30))
    assert max(int(line.curve.task[-1]) for line in view.charts[0].lines if len(line.x)) <= 30
    assert view.rows[0].states == (("running", 3),)
    assert not view.all_ended
    assert view.last_task == 120


def test_json_numbers_equal_those_of_the_charts(eleven_runs: Snapshot) -> None:
    view = build_view(eleven_runs)
    numbers = orjson.loads(orjson.dumps(as_dict(view)))["settings"]
    assert numbers[1]["metrics"]["test_accuracy"]["mean"] == view.charts[0].lines[1].curve.mean.tolist()
    assert numbers[2]["metrics"]["test_accuracy"]["num_seeds"][-1] == 2
    assert numbers[3]["metrics"] == {}


def test_notices_are_short_and_unreadable_runs_come_first(eleven_runs: Snapshot) -> None:
    notices = build_view(unreadable(eleven_runs)).notices
    assert [notice.run for notice in notices] == ["bp/default/seed_000", "l2/default/seed_002"]
    assert notices[1].text == "failed: RuntimeError: out of memory"


def test_the_phase_of_a_frame_follows_the_states_of_its_runs(eleven_runs: Snapshot) -> None:
    assert build_view(Snapshot(Path("x"), directory_exists=False)).phase == "no directory"
    assert build_view(Snapshot(Path("x"))).phase == "no runs"
    assert build_view(waiting()).phase == "no tasks"
    assert build_view(eleven_runs).phase == "running"
    assert build_view(ended(eleven_runs)).phase == "ended"


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_the_table_fits_its_width(eleven_runs: Snapshot, width: int) -> None:
    table = fit_table(build_view(eleven_runs).rows, width)
    widths = [max(len(c), *(cells[i].cell_len for cells in table.rows.values())) for i, c in enumerate(table.columns)]
    assert sum(widths) + 2 * len(widths) <= width
    assert "test acc. %" in table.columns
    assert ("progress" in table.columns) == (width >= 100)


def test_states_are_counted_in_words() -> None:
    assert str(describe_states((("running", 2),))) == "2 running"
    assert str(describe_states((("running", 1), ("finished", 1)))) == "1 running, 1 finished"
    assert str(describe_states((("failed", 1), ("finished", 3)))) == "1 failed, 3 finished"
    assert str(describe_states((("diverged", 1), ("running", 3)), full=False)) == "1 div 3 run"


def test_numbers_and_durations_are_formatted() -> None:
    assert [duration(s) for s in (4, 59.9, 240, 3900, 86399, 180000)] == ["4s", "1m", "4m", "1h05m", "1d00h", "2d02h"]
    assert [count(n) for n in (950, 99_999, 150_000, 2_400_000)] == ["950", "99999", "150k", "2.4M"]
    assert [rate(r) for r in (12, 3.42, 0.135)] == ["12/min", "3.4/min", "8.1/h"]
    assert [significant(x) for x in (0, 0.01234, 61.27, 1234.5, 3e-7)] == ["0", "0.0123", "61.3", "1234", "3.00e-07"]
    assert [place(93.4, "tasks"), place(3.8e6, "steps"), place(0.52, "hours")] == [
        "task 93",
        "3.8M steps",
        "0.520 hours",
    ]
    assert [with_error(0.0213, 0.0004), with_error(61.27, 0.4)] == ["0.0213 ± 0.0004", "61.3 ± 0.4"]
    assert [with_error(1.3281, 0.0012), with_error(61.2734, 0.001)] == ["1.328 ± 0.001", "61.27 ± 0.00"]


@pytest.mark.parametrize("size", [(20, 6), (36, 9), (66, 26), (200, 55)])
def test_a_chart_has_the_requested_size(eleven_runs: Snapshot, size: tuple[int, int]) -> None:
    width, height = size
    for chart in build_view(eleven_runs).charts:
        for show_seeds in (False, True):
            lines = draw(chart, width, height, Ink(), show_seeds=show_seeds).plain.split("\n")
            assert len(lines) == height
            assert {len(line) for line in lines} == {width}


def test_watch_once_is_plain_text_of_the_requested_width(tmp_path: Path, eleven_runs: Snapshot) -> None:
    text = render_once(tmp_path, 80, 24, coloured=False)
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 80
    assert all(
        word in text for word in ("snp 0.001", "1 run 2 done", "RuntimeError: out of memory", "test accuracy", "xx")
    )
    assert "\x1b[" in render_once(tmp_path, 80, 24, coloured=True)


def test_watch_once_gives_advice_for_an_empty_directory(tmp_path: Path) -> None:
    assert "lop run cfg/demo/bp.json" in render_once(tmp_path, 200, 24)
    assert "There is no directory" in render_once(tmp_path / "missing", 80, 24)


def test_a_single_seed_has_no_standard_error(tmp_path: Path) -> None:
    make_run(tmp_path, "bp", 0, tasks_done=40)
    make_run(tmp_path, "bp", 1, tasks_done=20)
    (row,) = build_view(read(tmp_path)).rows
    assert "±" not in row.value
    assert row.value_seeds == "n=1/2"


@pytest.mark.parametrize("background", ["#121212", "#E0E0E0", "#242F38", "#D0D0D0"])
def test_colours_of_states_are_readable_on_dark_and_light(background: str) -> None:
    for colour in filter(None, STATE_COLOURS.values()):
        low, high = sorted((luminance(colour), luminance(background)))
        assert (high + 0.05) / (low + 0.05) > 2.6


def luminance(colour: str) -> float:
    """Return the relative luminance, as defined by the web guidelines (WCAG)."""
    parts = [
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in Color.parse(colour).normalized
    ]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def test_records_with_unexpected_contents_still_give_a_frame(tmp_path: Path) -> None:
    run = make_run(tmp_path, "bp", num_tasks=40)
    lines = (
        run.tasks_json.read_text()
        .replace('"seconds":1.5', '"seconds":1e308', 9)
        .replace('"seconds":1.5', '"seconds":-3', 9)
    )
    run.tasks_json.write_text(lines)
    run.write_status(replace(run.read_status(), state="running", epochs_per_s=1e-320, num_epochs=9))
    (tmp_path / "bp" / "default" / f"seed_{'9' * 30}").mkdir()
    snapshot = RunsReader(tmp_path).read()
    for unit in ("tasks", "steps", "hours"):
        view = build_view(snapshot, Request(Settings(x_unit=unit, show_seeds=True), heat_of="bp"))  # type: ignore[arg-type]
        assert len(view.charts) == 7
        assert fit_table(view.rows, 160).rows.keys() == {"bp"}


def test_long_names_are_shortened_in_the_middle(tmp_path: Path) -> None:
    make_run(tmp_path, "bp", setting="step_size=0.01," + "x" * 100 + "=7")
    table = fit_table(build_view(RunsReader(tmp_path).read()).rows, 100)
    assert "test acc. %" in table.columns
    [(name, *_)] = table.rows.values()
    assert name.plain.startswith("━━ bp step_size")
    assert name.plain.endswith("x=7")
