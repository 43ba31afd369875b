"""`lop status`, `lop plot` and `lop watch --once` on generated runs."""

import hashlib
import json
import math
import re
import sys
import time

import pytest
from matplotlib.image import imread
from typer.testing import CliRunner

from lop_engine.analysis import group_runs
from lop_engine.experiment import lookup
from lop_engine.experiment.problems import CONTINUAL_IMAGENET
from lop_engine.experiment.registry import METRICS as ALL_METRICS
from lop_engine.runs.reading import RunsReader
from lop_tui import cli, figures
from lop_tui.words.palette import assign_colours
from tests.helpers import make_run


def lop(*arguments) -> str:
    result = CliRunner().invoke(cli.app, [str(word) for word in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(monkeypatch, capsys, *arguments) -> str:
    monkeypatch.setattr(sys, "argv", ["lop", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    return capsys.readouterr().err


@pytest.fixture
def runs_dir(tmp_path):
    for method in ("bp", "cbp"):
        for seed in range(3):
            make_run(tmp_path / "runs", method, seed, num_tasks=90)
    return tmp_path / "runs"


def test_status_lists_every_run_with_its_state(runs_dir):
    make_run(runs_dir, "l2", 0, state="running", tasks_done=5, heartbeat_at=time.time())
    make_run(runs_dir, "snp", 4, state="failed", tasks_done=0, error="out of luck")
    shown = lop("status", "--runs-dir", runs_dir)
    assert shown.count("finished") == 6
    assert "5/40" in shown
    assert "snp/default/seed_004: out of luck" in shown


def test_status_as_json_prints_only_json_with_the_last_values(runs_dir):
    rows = json.loads(lop("status", "--json", "--runs-dir", runs_dir))["runs"]
    assert rows[0]["run"] == "bp/default/seed_000"
    assert {row["state"] for row in rows} == {"finished"}
    view = RunsReader(runs_dir).read().runs[0]
    assert rows[0]["last"] == {name: view.series[name][-1] for name in CONTINUAL_IMAGENET.metrics}
    assert rows[0]["tasks_done"] == rows[0]["num_tasks"] == 90


def test_status_of_an_empty_directory_advises_lop_run(tmp_path):
    assert "start some with lop run" in lop("status", "--runs-dir", tmp_path)
    assert json.loads(lop("status", "--json", "--runs-dir", tmp_path))["runs"] == []


def test_status_accepts_a_selection_of_runs(runs_dir):
    rows = json.loads(lop("status", "--json", "--where", "method:cbp -seed:<2", "--runs-dir", runs_dir))["runs"]
    assert [row["run"] for row in rows] == ["cbp/default/seed_002"]
    shown = lop("status", "--where", "-cbp", "--runs-dir", runs_dir)
    assert "bp/default/seed_001" in shown
    assert "cbp/default" not in shown
    assert "none of the 6 runs" in lop("status", "--where", "state:failed", "--runs-dir", runs_dir)
    assert json.loads(lop("status", "--json", "--where", "snp", "--runs-dir", runs_dir))["runs"] == []


def test_status_refuses_an_invalid_filter_with_a_suggestion(runs_dir, monkeypatch, capsys):
    error = refused(monkeypatch, capsys, "status", "--where", "sed:3", "--runs-dir", runs_dir)
    assert 'unknown key "sed"; did you mean "seed"?' in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
@pytest.mark.long
def test_plot_writes_each_format_deterministically(runs_dir, tmp_path, suffix):
    digests = set()
    for name in ("one", "two"):
        path = tmp_path / f"{name}.{suffix}"
        assert str(path) in lop("plot", "all", "--runs-dir", runs_dir, "-o", path)
        digests.add(hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(digests) == 1


def test_plot_draws_each_method_in_its_colour(runs_dir, tmp_path):
    lop("plot", "--runs-dir", runs_dir, "-o", tmp_path / "figure.png")
    pixels = (imread(tmp_path / "figure.png")[..., :3] * 255).round().astype(int).reshape(-1, 3)
    for method in ("bp", "cbp"):
        colour = lookup.method(method).colour.lstrip("#")
        rgb = [int(colour[i : i + 2], 16) for i in (0, 2, 4)]
        assert (abs(pixels - rgb).max(1) < 3).sum() > 300, method


def test_a_figure_contains_the_numbers_of_the_analysis(runs_dir):
    groups = group_runs(RunsReader(runs_dir).read().runs)
    panel = figures.draw(groups, ["test_accuracy"]).axes[0]
    for group, line in zip(groups, panel.lines, strict=True):
        curve = group.curve("test_accuracy")
        assert list(line.get_xdata()) == list(curve.task)
        assert list(line.get_ydata()) == list(curve.mean * 100)


@pytest.mark.parametrize(("tasks", "limits"), [((1, 60), (0, 60)), ((31, math.inf), (30, 90.5)), ((31, 60), (30, 60))])
def test_a_figure_of_some_tasks_shows_the_same_bins(runs_dir, tasks, limits):
    groups = group_runs(RunsReader(runs_dir).read().runs)
    panel = figures.draw(groups, ["curvature"], figures.Look(tasks=tasks)).axes[0]
    assert panel.get_xlim() == limits
    for group, line in zip(groups, panel.lines, strict=True):
        curve = group.curve("curvature")
        shown = (curve.task > limits[0]) & (curve.task < limits[1])
        assert list(line.get_xdata()) == list(curve.task[shown])
        assert list(line.get_ydata()) == list(curve.mean[shown])


@pytest.mark.parametrize(
    ("log", "scales"), [(None, ["log", "linear"]), (True, ["log", "log"]), (False, ["linear"] * 2)]
)
def test_a_figure_has_the_requested_scale(runs_dir, log, scales):
    groups = group_runs(RunsReader(runs_dir).read().runs)
    panels = figures.draw(groups, ["curvature", "test_accuracy"], figures.Look(log=log)).axes
    assert [panel.get_yscale() for panel in panels] == scales
    assert panels[1].get_ylim()[1] <= 100


def test_plot_accepts_a_selection_of_runs_and_tasks(runs_dir, tmp_path):
    figure = tmp_path / "figure.svg"
    chosen = ["--where", "method:cbp seed:0-1", "--tasks", "-60", "--log"]
    lop("plot", *chosen, "--runs-dir", runs_dir, "-o", figure)
    assert "cbp (n=2/2)" in figure.read_text()
    assert "bp (n=3/3)" not in figure.read_text()
    make_run(runs_dir, "snp", 0, num_tasks=90, tasks_done=9, state="stopped")
    output = lop("plot", "--tasks", "30-", "--runs-dir", runs_dir, "-o", figure)
    assert "left out: snp, which has no complete bin among these tasks" in output


def test_plot_names_runs_that_it_left_out_and_counts_seeds(runs_dir, tmp_path):
    make_run(runs_dir, "snp", 0, num_tasks=90, tasks_done=1, state="stopped")
    assert "left out: snp" in lop("plot", "--runs-dir", runs_dir, "-o", tmp_path / "figure.svg")
    assert "cbp (n=3/3)" in (tmp_path / "figure.svg").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["test_acuracy"], 'did you mean "test_accuracy"?'),
        (["-o", "figure.gif"], "choose one of .png, .svg, .pdf"),
        (["--runs-dir", "nowhere"], "no runs in nowhere"),
        (["-o", "/proc/figure.png"], "/proc/figure.png"),
        (["--where", "state:failed"], "matches none of the 6 runs"),
        (["--where", "state:failde"], 'did you mean "failed"?'),
        (["--tasks", "some"], '--tasks "some": write the first and last task'),
        (["--tasks", "60-30"], "to a later one"),
        (["--tasks", "0-30"], "from a task of 1 or more"),
        (["--tasks", "500-"], "contains no complete bin"),
        (["--bin", "500"], None),
    ],
)
def test_plot_refuses_invalid_arguments_in_one_line(runs_dir, monkeypatch, capsys, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    if message is None:  # a bin longer than the run is the mean of the whole run
        lop("plot", *arguments)
        return
    error = refused(monkeypatch, capsys, "plot", *arguments)
    assert message in error
    assert error.count("\n") == 1


def test_every_metric_is_described_in_the_order_of_the_records():
    assert tuple(lookup.metric_names()) == tuple(ALL_METRICS)
    assert set(CONTINUAL_IMAGENET.charts) <= set(CONTINUAL_IMAGENET.metrics)
    accuracy, curvature, rank = (lookup.metric(name) for name in ("test_accuracy", "curvature", "effective_rank"))
    assert (accuracy.heading, accuracy.label, accuracy.factor) == ("test accuracy, %", "test accuracy (%)", 100)
    assert (curvature.heading, curvature.label, curvature.factor) == ("curvature, log scale", "curvature", 1)
    assert (rank.heading, rank.label) == ("effective rank", "effective rank")


def test_watch_once_prints_a_frame_without_a_terminal(runs_dir):
    frame = lop("watch", runs_dir, "--once")
    assert "cbp" in frame
    assert "test accuracy" in frame
    assert "\x1b" not in frame


def test_a_frame_counts_the_runs_and_names_their_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed in range(2):
        make_run(tmp_path / "runs", "cbp", seed)
    assert lop("watch", "--once").startswith("2 runs in runs: 2 finished\n")


def test_watch_accepts_a_filter_and_refuses_an_invalid_one(runs_dir, monkeypatch, capsys):
    frame = lop("watch", runs_dir, "--once", "--where", "method:cbp")
    assert "cbp" in frame
    assert "bp " not in frame.replace("cbp", "")
    assert 'did you mean "method"?' in refused(monkeypatch, capsys, "watch", runs_dir, "--json", "--where", "methd:cbp")


def test_watch_as_json_has_the_numbers_of_the_frame(runs_dir):
    numbers = json.loads(lop("watch", runs_dir, "--json"))
    by_label = {setting["label"]: setting for setting in numbers["settings"]}
    groups = {group.label: group for group in group_runs(RunsReader(runs_dir).read().runs)}
    assert by_label.keys() == groups.keys()
    for label, group in groups.items():
        curve = by_label[label]["metrics"]["test_accuracy"]
        expected = group.curve("test_accuracy", curve["bin_size"])
        assert (curve["task"], curve["mean"]) == (expected.task.tolist(), expected.mean.tolist())


def test_watch_without_a_terminal_is_refused(runs_dir, monkeypatch, capsys):
    assert "--once" in refused(monkeypatch, capsys, "watch", runs_dir)


def test_the_colour_of_a_method_does_not_depend_on_other_runs():
    own = {name: lookup.method(name).colour for name in ("bp", "cbp")}
    assert assign_colours([("bp", "bp"), ("cbp", "cbp")]) == own
    many = [(f"bp step_size={10.0**-i:g}", "bp") for i in range(3)] + [("mine", "unknown"), ("cbp", "cbp")]
    colours = assign_colours(many)
    assert list(colours) == [label for label, _ in many]
    assert colours["cbp"] == own["cbp"]
    assert len(set(colours.values())) == len(many)


def test_colours_depend_on_the_method_and_not_on_the_experiment_name():
    own = {name: lookup.method(name).colour for name in ("bp", "cbp", "snp")}
    colours = assign_colours([("bp", "cbp"), ("cbp", "snp"), ("tuned", "bp"), ("tuned again", "bp")])
    assert (colours["bp"], colours["cbp"], colours["tuned"]) == (own["cbp"], own["snp"], own["bp"])
    assert colours["tuned again"] not in own.values()


def test_every_view_colours_by_the_method_of_the_spec(tmp_path):
    make_run(tmp_path / "runs", "slow", num_tasks=90, spec={"agent": "bp", "weight_decay": 1e-4})
    lop("plot", "--runs-dir", tmp_path / "runs", "-o", tmp_path / "figure.svg")
    assert lookup.method("l2").colour.lower() in (tmp_path / "figure.svg").read_text()
    lop("report", "--runs-dir", tmp_path / "runs", "-o", tmp_path / "page.html")
    assert f"background: {lookup.method('l2').colour}" in (tmp_path / "page.html").read_text()


def headings(frame: str) -> list[str]:
    return [line.partition(", by task")[0] for line in frame.splitlines() if ", by task" in line]


def test_watch_once_shows_accuracy_curvature_dormancy_and_ranks(runs_dir):
    assert headings(lop("watch", runs_dir, "--once")) == [
        "test accuracy, %",
        "curvature, log scale",
        "dormant units, %",
        "effective rank",
        "stable rank",
    ]


def test_watch_once_shows_the_requested_metrics(runs_dir, monkeypatch, capsys):
    options = ["--metric", "weight_magnitude", "--metric", "train_accuracy", "--metric", "srank"]
    frame = lop("watch", runs_dir, "--once", *options)
    assert headings(frame) == ["weight magnitude", "train accuracy, %"]
    assert "srank: not recorded" in frame
    output = refused(monkeypatch, capsys, "watch", runs_dir, "--once", "--metric", "stable_ranks")
    assert 'no metric "stable_ranks"; did you mean "stable_rank"?' in output
    assert "--once" in refused(monkeypatch, capsys, "watch", runs_dir, "--metric", "srank")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_watch_once_in_an_encoding_without_drawing_characters_is_ascii(runs_dir, monkeypatch, encoding):
    make_run(runs_dir, "b" * 100, num_tasks=90)
    monkeypatch.setenv("COLUMNS", "80")
    frame = CliRunner(charset=encoding).invoke(cli.app, ["watch", str(runs_dir), "--once"]).stdout
    assert frame.isascii()
    assert "?" not in frame
    assert "+-" in frame
    assert len(headings(frame)) == 5
    starts = {line.index("test acc. %") for line in frame.splitlines() if "test acc. %" in line}
    values = [line for line in frame.splitlines() if re.search(r"\d \+- \d", line)]
    assert values
    assert all(line[start - 1] == " " and line[start] != " " for line in values for start in starts)
