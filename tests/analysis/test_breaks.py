"""Every picture marks where values stop being finite, a run diverges or a loss becomes too large."""

import re
from dataclasses import replace

import numpy as np
import pytest

from lop_engine.analysis import group_runs
from lop_engine.analysis.seeds import breaks
from lop_engine.runs.reading import RunsReader
from lop_engine.runs.records import task_document
from lop_engine.runs.store import TableWriter
from lop_tui import figures
from lop_tui.dashboard import render_once
from lop_tui.dashboard.drawing.heatmap import draw_heat
from lop_tui.dashboard.drawing.plots import Ink
from lop_tui.dashboard.model import build_view
from lop_tui.dashboard.settings import Request
from tests.cli.test_views import lop
from tests.helpers import make_run

METRIC = "test_accuracy"
NAN = float("nan")


def make(runs_dir, seed, values, metric=METRIC, num_tasks=40, state="finished"):
    """Make a run with these values of a metric, one for each task."""
    run_dir = make_run(runs_dir, "bp", seed, num_tasks=num_tasks, tasks_done=0, state=state)
    with TableWriter(run_dir.tasks_json, "tasks") as table:
        for task, value in enumerate(values):
            table.append(task_document(task, {}, 1.0, {metric: value}))
    run_dir.write_status(replace(run_dir.read_status(), tasks_done=len(values)))
    return run_dir


def view_of(runs_dir, seed):
    return next(run for run in RunsReader(runs_dir).read().runs if run.seed == seed)


@pytest.mark.parametrize(
    ("values", "state", "expected"),
    [
        ([0.5] * 40, "finished", []),
        ([0.5] * 10 + [NAN] * 30, "finished", [11]),
        ([0.5, NAN, NAN, 0.5, NAN, *[0.5] * 35], "finished", [2, 5]),
        ([0.5] * 12, "diverged", [13]),
        ([0.5] * 12 + [NAN], "diverged", [13]),
        ([0.5] * 12, "running", []),
    ],
)
def test_a_break_is_the_first_task_with_non_finite_values_or_divergence(tmp_path, values, state, expected):
    make(tmp_path, 0, values, state=state)
    assert breaks(view_of(tmp_path, 0), METRIC).tolist() == expected


@pytest.mark.parametrize(("metric", "expected"), [("train_loss", [8]), ("curvature", [])])
def test_a_loss_that_is_too_large_is_a_break_and_is_flagged(tmp_path, metric, expected):
    make(tmp_path, 0, [2.0] * 7 + [3e20] * 33, metric)
    run = view_of(tmp_path, 0)
    assert breaks(run, metric).tolist() == expected
    flag = "train loss above 1e+06 in 33 of 40 tasks, first in task 8"
    assert (flag in run.flags) == bool(expected)
    assert (flag in lop("status", "--runs-dir", tmp_path)) == bool(expected)


@pytest.fixture
def runs_dir(tmp_path):
    make(tmp_path, 0, [0.6] * 40)
    make(tmp_path, 1, [0.6] * 20 + [NAN] * 20)
    make(tmp_path, 2, [0.6] * 9, state="diverged")
    return tmp_path


def test_a_chart_marks_breaks_and_explains_the_mark_in_its_legend(runs_dir):
    view = build_view(RunsReader(runs_dir).read())
    [chart] = [one for one in view.charts if one.measure.name == METRIC]
    assert chart.lines[0].breaks == (10, 21)
    text = render_once(runs_dir, 100, 40, coloured=False, metrics=[METRIC])
    assert "! not finite or diverged" in text
    rows = [line for line in text.splitlines() if "┤" in line or "│" in line]
    assert sum(line.count("!") for line in rows) == 2


def test_the_legend_of_a_chart_without_breaks_does_not_mention_them(tmp_path):
    make(tmp_path, 0, [0.6] * 40)
    assert "!" not in render_once(tmp_path, 100, 40, coloured=False, metrics=[METRIC])


@pytest.mark.parametrize("ink", [Ink(coloured=True), Ink(coloured=False), Ink(markers="ascii")])
def test_a_heat_map_marks_breaks_in_the_rows_of_their_seeds(runs_dir, ink):
    request = Request(wants={"heat_of": "bp"})
    heat = build_view(RunsReader(runs_dir).read(), request).seeds.heat
    assert heat.breaks == ((1, 21), (2, 10))
    lines = draw_heat(heat, 100, 20, ink).plain.splitlines()
    marked = [line for line in lines if "!" in line and "not finite" not in line]
    assert len(marked) == 2
    assert marked[0].index("!") > marked[1].index("!")
    assert "! not finite or diverged" in lines[0]


@pytest.mark.parametrize("draw", [figures.draw_seeds, figures.draw_heatmap])
def test_figures_of_seeds_mark_breaks_and_explain_the_mark_in_their_legend(runs_dir, draw):
    figure = draw(group_runs(RunsReader(runs_dir).read().runs), METRIC)
    marks = [tuple(point) for one in figure.axes[0].collections for point in np.asarray(one.get_offsets())]
    assert {10, 21} <= {round(x) for x, _ in marks}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["not finite or diverged"]


def test_plot_and_report_mark_breaks(runs_dir, tmp_path):
    figure = figures.draw(group_runs(RunsReader(runs_dir).read().runs), [METRIC], figures.Look(reference=True))
    names = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    assert "not finite or diverged" in names
    lop("report", "--runs-dir", runs_dir, "-o", tmp_path / "report.html")
    assert re.search("not finite or diverged", (tmp_path / "report.html").read_text())
