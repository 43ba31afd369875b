"""The frame, without a screen."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lop_engine.analysis import default_bin, group_runs
from lop_engine.runs import RunsReader, Snapshot
from lop_tui.dashboard import render_once
from lop_tui.dashboard.axes import nice_step, task_axis, value_axis
from lop_tui.dashboard.formats import count, duration, rate, significant, with_error
from lop_tui.dashboard.model import build_view
from lop_tui.dashboard.plots import Ink, draw
from lop_tui.dashboard.table import describe_states, fit_table
from tests.dashboard.conftest import FAR_FUTURE, ended, unreadable, waiting
from tests.helpers import append_tasks, make_metrics, make_run


def test_rows_tell_states_progress_and_speed(eleven_runs: Snapshot) -> None:
    bp, cbp, l2, snp = build_view(eleven_runs).rows
    assert [row.label for row in (bp, cbp, l2, snp)] == ["bp", "cbp", "l2", "snp step_size=0.001"]
    assert bp.states == (("running", 1), ("finished", 2))
    assert l2.states == (("failed", 1), ("running", 2))
    assert (cbp.tasks_done, cbp.tasks_total, cbp.progress) == (252, 360, pytest.approx(0.7))
    assert cbp.tasks_per_min == pytest.approx(3 * 60 * 2.5 / 10)
    assert cbp.eta_s == pytest.approx(36 * 10 / 2.5)
    assert (snp.accuracy, snp.tasks_per_min, snp.eta_s, snp.short_label) == ("", None, None, "snp 0.001")


def test_the_accuracy_is_that_of_the_analysis(eleven_runs: Snapshot) -> None:
    curve = group_runs(eleven_runs.runs)[1].curve("test_accuracy")
    row = build_view(eleven_runs).rows[1]
    assert row.accuracy == f"{100 * curve.mean[-1]:.1f} ± {100 * curve.standard_error[-1]:.1f}"
    assert row.accuracy_seeds == ""
    assert build_view(eleven_runs).rows[2].accuracy_seeds == "n=2/3"


def test_a_queued_seed_waits_for_the_same_workers(eleven_runs: Snapshot) -> None:
    runs = [replace(run, state="queued") if run.seed == 2 else run for run in eleven_runs.runs]
    (row,) = build_view(replace(eleven_runs, runs=tuple(run for run in runs if run.experiment == "cbp"))).rows
    assert row.eta_s == pytest.approx(3 * 36 / (2 * 60 * 2.5 / 10) * 60)


def test_charts_share_axis_and_bin_and_are_kept_when_nothing_is_new(eleven_runs: Snapshot) -> None:
    view = build_view(eleven_runs)
    assert {(chart.x.low, chart.x.high, chart.bin_size) for chart in view.charts} == {(0, 120, default_bin(120))}
    assert build_view(ended(eleven_runs), view).charts is view.charts
    fewer = replace(eleven_runs, runs=eleven_runs.runs[1:])
    assert build_view(fewer, view).charts is not view.charts


def test_a_new_task_makes_new_charts(tmp_path: Path) -> None:
    run = make_run(tmp_path, "bp", num_tasks=40, tasks_done=10, state="running", heartbeat_at=FAR_FUTURE)
    reader = RunsReader(tmp_path)
    before = build_view(reader.read())
    assert build_view(reader.read(), before).charts is before.charts
    append_tasks(run, make_metrics("bp", 40, 0), 10, 12)
    after = build_view(reader.read(), before)
    assert after.charts is not before.charts
    assert len(after.charts[0].lines[0].curve.task) == 12


def test_notices_are_short_and_the_unreadable_come_first(eleven_runs: Snapshot) -> None:
    notices = build_view(unreadable(eleven_runs)).notices
    assert [notice.run for notice in notices] == ["bp/default/seed_000", "l2/default/seed_002"]
    assert notices[1].text == "failed: RuntimeError: out of memory"


def test_phases(eleven_runs: Snapshot) -> None:
    assert build_view(Snapshot(Path("x"), directory_exists=False)).phase == "no directory"
    assert build_view(Snapshot(Path("x"))).phase == "no runs"
    assert build_view(waiting()).phase == "no tasks"
    assert build_view(eleven_runs).phase == "running"
    assert build_view(ended(eleven_runs)).phase == "ended"


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_the_table_fits(eleven_runs: Snapshot, width: int) -> None:
    table = fit_table(build_view(eleven_runs).rows, width)
    widths = [max(len(c), *(cells[i].cell_len for cells in table.rows.values())) for i, c in enumerate(table.columns)]
    assert sum(widths) + 2 * len(widths) <= width
    assert "test acc. %" in table.columns
    assert ("progress" in table.columns) == (width >= 80)


def test_states_in_words() -> None:
    assert str(describe_states((("running", 2),))) == "2 running"
    assert str(describe_states((("running", 1), ("finished", 1)))) == "1/2 finished"
    assert str(describe_states((("failed", 1), ("finished", 3)))) == "1 failed, 3 finished"
    assert str(describe_states((("diverged", 1), ("running", 3)), full=False)) == "1 div 3 run"


def test_numbers_in_words() -> None:
    assert [duration(s) for s in (4, 59.9, 240, 3900, 86399, 180000)] == ["4s", "1m", "4m", "1h05m", "1d00h", "2d02h"]
    assert [count(n) for n in (950, 99_999, 150_000, 2_400_000)] == ["950", "99999", "150k", "2.4M"]
    assert [rate(r) for r in (12, 3.42, 0.135)] == ["12/min", "3.4/min", "8.1/h"]
    assert [significant(x) for x in (0, 0.01234, 61.27, 1234.5, 3e-7)] == ["0", "0.0123", "61.3", "1234", "3.00e-07"]
    assert [with_error(0.0213, 0.0004), with_error(61.27, 0.4)] == ["0.0213 ± 0.0004", "61.3 ± 0.4"]


def test_axes_have_round_limits() -> None:
    assert [nice_step(span, 5) for span in (1, 7, 30, 100)] == [0.2, 2, 10, 20]
    assert [task_axis(done, 300).high for done in (0, 1, 7, 40, 120, 250)] == [300, 2, 10, 50, 200, 300]
    accuracy = value_axis([np.array([0.52, 0.893])], "percent", from_zero=False, least_span=10)
    assert (accuracy.low, accuracy.high) == (50, 90)
    assert accuracy.ticks(5) == [(50, "50"), (60, "60"), (70, "70"), (80, "80"), (90, "90")]
    curvature = value_axis([np.array([0.0, 3e-4, np.nan, 0.04])], "log", from_zero=False, least_span=0)
    assert [label for _, label in curvature.ticks(4)] == ["0.001", "0.01"]


@pytest.mark.parametrize("scale", ["linear", "percent", "log"])
@pytest.mark.parametrize("values", [[], [np.nan], [0.0], [0.0, 0.0], [1e-12, np.inf], [0.3, 0.3]])
def test_every_axis_has_room(scale: str, values: list[float]) -> None:
    axis = value_axis([np.array(values)], scale, from_zero=True, least_span=1e-3)  # type: ignore[arg-type]
    assert axis.low < axis.high
    assert len(axis.ticks(3)) >= 1
    assert np.isfinite(axis.place(np.array([0.0, 1.0]))).all()


@pytest.mark.parametrize("size", [(20, 6), (36, 9), (66, 26), (200, 55)])
def test_a_chart_has_the_size_it_is_given(eleven_runs: Snapshot, size: tuple[int, int]) -> None:
    width, height = size
    for chart in build_view(eleven_runs).charts:
        for show_seeds in (False, True):
            lines = draw(chart, width, height, Ink(), show_seeds).plain.split("\n")
            assert len(lines) == height
            assert {len(line) for line in lines} == {width}


def test_once_is_plain_text_of_that_width(tmp_path: Path, eleven_runs: Snapshot) -> None:
    text = render_once(tmp_path, 80, 24, coloured=False)
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 80
    assert all(word in text for word in ("snp 0.001", "2/3 done", "RuntimeError: out of memory", "test accuracy", "xx"))
    assert "\x1b[" in render_once(tmp_path, 80, 24, coloured=True)


def test_once_has_advice_for_an_empty_directory(tmp_path: Path) -> None:
    assert "lop run cfg/demo/bp.json" in render_once(tmp_path, 200, 24)
    assert "There is no directory" in render_once(tmp_path / "missing", 80, 24)
