"""Two problems of an installed package (tests/toy_package), trained and then shown by commands that do not load it."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as parquet
import pytest
from typer.testing import CliRunner

from lop_engine.experiment import lookup
from lop_engine.runs.directory import find_runs
from lop_engine.runs.store import read_table
from lop_tui import cli
from tests.cli.test_views import lop, refused
from tests.helpers import ROOT, make_run

PACKAGE = ROOT / "tests/toy_package"
NETWORK = {"num_features": 6, "num_hidden_layers": 1}
REGRESSION = {"problem": "toy_regression", "agent": ["bp", "toy_decay"], "step_size": 0.01, "num_tasks": 30} | NETWORK
STREAM = {"problem": "toy_stream", "agent": "cbp", "step_size": 0.05, "num_tasks": 30} | NETWORK

#: Words that must not appear in views of these problems.
NOT_OF_REGRESSION = re.compile(r"accuracy|test %|train %|curvature(?!_)|cross.entropy|32x32|Dohare", re.IGNORECASE)
NOT_OF_STREAM = re.compile(r"test accuracy|test %|curvature(?!_)|online error|32x32|Dohare", re.IGNORECASE)


@pytest.fixture(autouse=True)
def _forget_components(monkeypatch):
    """Forget other packages' components, so that each test reads them from run.json again."""
    monkeypatch.setattr(lookup, "from_run_json", {kind: {} for kind in lookup.from_run_json})


def train(directory: Path, *arguments: object, wait: bool = True) -> subprocess.Popen[str]:
    """Run `lop ARGUMENT...` in `directory` with the package installed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "lop_tui", *map(str, arguments)],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": str(PACKAGE), "OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if wait:
        process.output = process.communicate(timeout=120)[0]
        assert process.returncode == 0, process.output
    return process


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Make runs of both toy problems and of Continual ImageNet in one directory."""
    directory = tmp_path_factory.mktemp("problems")
    (directory / "fit.json").write_text(json.dumps(REGRESSION))
    (directory / "stream.json").write_text(json.dumps(STREAM))
    shown = train(directory, "run", "fit.json", "stream.json", "--seeds", 2, "--workers", 2).output
    assert "toy regression: online error" in shown
    assert "toy stream: train accuracy, %" in shown
    for method in ("bp", "cbp"):
        for seed in range(3):
            make_run(directory / "runs", method, seed, num_tasks=60)
    return directory


@pytest.fixture
def runs_dir(place, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return place / "runs"


TOYS = pytest.mark.parametrize(
    ("problem", "headline", "unwanted"),
    [
        ("toy_regression", "online error", NOT_OF_REGRESSION),
        ("toy_stream", "train accuracy", NOT_OF_STREAM),
    ],
    ids=["regression", "stream"],
)


@TOYS
@pytest.mark.parametrize("command", ["status", "list", "report", "plot", "watch"])
@pytest.mark.long
def test_a_view_of_a_problem_shows_its_headline_and_nothing_of_another_problem(
    runs_dir, problem, headline, unwanted, command
):
    where = ["--where", f"problem:{problem}"]
    if command == "watch":
        shown = lop("watch", runs_dir, "--once", *where)
    elif command in ("report", "plot"):
        file = Path("page.html" if command == "report" else "figure.svg")
        lop(command, *(["all"] if command == "plot" else []), "--runs-dir", runs_dir, "-o", file, *where)
        shown = re.sub(r"<(style|defs).*?</\1>|base64,[^\"]*", "", file.read_text(), flags=re.DOTALL)
    else:
        shown = lop(command, "--runs-dir", runs_dir, *where)
    assert headline in shown.lower().replace("train %", "train accuracy")
    assert unwanted.search(shown) is None


@TOYS
@pytest.mark.parametrize(
    "arguments",
    [
        ["--kind", "tasks"],
        ["--kind", "metrics"],
        ["--kind", "methods"],
        ["--kind", "seeds"],
        ["--kind", "seeds", "--heatmap"],
        ["--kind", "within-task"],
        ["--reference", "--tasks", "5-20"],
    ],
)
def test_every_kind_of_figure_shows_one_problem(runs_dir, problem, headline, unwanted, arguments):
    lop("plot", *arguments, "--runs-dir", runs_dir, "--where", f"problem:{problem}", "-o", "figure.svg")
    figure = Path("figure.svg").read_text()
    assert headline in figure
    assert unwanted.search(figure) is None


def test_the_x_axis_counts_in_the_problem_s_unit(runs_dir):
    lop("plot", "--runs-dir", runs_dir, "--where", "problem:toy_regression", "-o", "figure.svg")
    figure = Path("figure.svg").read_text()
    assert "examples (bins of 60)" in figure
    assert ">1.5k<" in figure
    lop("plot", "--runs-dir", runs_dir, "--where", "problem:toy_stream", "-o", "figure.svg")
    assert ">task<" in Path("figure.svg").read_text()


def test_a_method_of_the_package_keeps_its_colour_and_name_in_figures_and_tables(runs_dir):
    where = ["--where", "problem:toy_regression"]
    lop("plot", "--runs-dir", runs_dir, *where, "-o", "figure.svg")
    assert "#aa3377" in Path("figure.svg").read_text()
    settings = json.loads(lop("list", "--json", "--runs-dir", runs_dir, *where))["settings"]
    assert [one["method"] for one in settings] == ["bp", "toy_decay"]
    rows = json.loads(lop("status", "--json", "--runs-dir", runs_dir, "--where", "method:toy_decay"))["runs"]
    assert [(row["setting"], row["method"], row["problem"]) for row in rows] == [
        ("agent=toy_decay", "toy_decay", "toy_regression")
    ] * 2


def test_lists_have_a_separate_table_for_each_problem(runs_dir):
    for command in ("status", "list"):
        tables = re.split(
            r"^ *(Continual ImageNet|toy regression|toy stream)\s*$", lop(command, "--runs-dir", runs_dir), flags=re.M
        )
        by_title = dict(zip(tables[1::2], tables[2::2], strict=True))
        assert list(by_title) == ["Continual ImageNet", "toy regression", "toy stream"]
        assert NOT_OF_REGRESSION.search(by_title["toy regression"]) is None
        assert NOT_OF_STREAM.search(by_title["toy stream"]) is None
        assert "test %" in by_title["Continual ImageNet"]
        assert "fit" not in by_title["Continual ImageNet"]
    settings = json.loads(lop("list", "--json", "--runs-dir", runs_dir))["settings"]
    by_problem = {one["problem"]: one for one in settings}
    assert by_problem["continual_imagenet"]["test_accuracy_last_tenth"] > 0.5
    assert "test_accuracy_last_tenth" not in by_problem["toy_regression"]
    assert by_problem["toy_regression"]["headline"] == "toy_rmse"
    of_toy = by_problem["toy_regression"]
    assert of_toy["headline_last_tenth"] == of_toy["toy_rmse_last_tenth"] > 0


def test_views_that_draw_or_average_show_one_problem_and_say_how_to_switch(runs_dir):
    output = lop("plot", "--runs-dir", runs_dir, "-o", "figure.svg")
    assert "showing Continual ImageNet alone (6 runs)" in output
    assert '--where "problem:toy_regression" for toy regression (4 runs)' in output
    figure = Path("figure.svg").read_text()
    assert "test accuracy (%)" in figure
    assert "fit agent" not in figure
    assert "showing Continual ImageNet alone" in lop("report", "--runs-dir", runs_dir, "-o", "page.html")
    page = Path("page.html").read_text()
    assert "Not on this page: toy regression (4 runs), toy stream (2 runs)" in page
    assert "fit agent" not in page


def test_a_report_compares_with_backprop_or_the_named_baseline(runs_dir):
    where = ["--where", "problem:toy_regression", "--runs-dir", runs_dir]
    lop("report", "-o", "page.html", *where)
    assert "Against fit agent=bp, seed by seed" in Path("page.html").read_text()
    lop("report", "-o", "page.html", "--baseline", "toy_decay", *where)
    page = Path("page.html").read_text()
    assert "Against fit agent=toy_decay, seed by seed" in page
    assert "Online error minus that of fit agent=toy_decay: mean over pairs" in page


def test_compare_uses_the_headline_metric_of_the_problem_and_refuses_two_problems(runs_dir, monkeypatch, capsys):
    shown = lop("compare", "fit/agent=bp", "fit/agent=toy_decay", "--runs-dir", runs_dir)
    assert "fit agent=toy_decay - fit agent=bp: online error" in shown
    assert NOT_OF_REGRESSION.search(shown) is None
    error = refused(monkeypatch, capsys, "compare", "bp", "stream", "--runs-dir", runs_dir)
    assert "bp/default is of Continual ImageNet and stream/default of toy stream" in error
    assert error.count("\n") == 1


def test_keys_of_a_method_do_not_change_the_protocol(runs_dir):
    for names in (["fit/agent=bp", "fit/agent=toy_decay"], ["bp", "cbp"]):
        (comparison,) = json.loads(lop("compare", *names, "--json", "--runs-dir", runs_dir))["comparisons"]
        assert comparison["protocol_differences"] == {}
        assert "protocol" not in " ".join(comparison["remarks"])


@pytest.mark.parametrize("epochs", [[], ["--epochs"]])
def test_an_export_has_columns_for_method_problem_and_examples(runs_dir, epochs):
    lop("export", "--format", "csv", "-o", "all.csv", *epochs, "--runs-dir", runs_dir)
    with open("all_epochs.csv" if epochs else "all.csv") as file:
        rows = list(csv.DictReader(file))
    of_regression = [row for row in rows if row["problem"] == "toy_regression"]
    assert {row["method"] for row in of_regression} == {"bp", "toy_decay"}
    assert all(float(row["examples"]) == 60 * int(row["task"]) for row in of_regression)
    assert {row["test_accuracy"] for row in of_regression} == {"NaN"}
    (run, *_) = [run for run in find_runs(runs_dir) if run.experiment == "fit"]
    recorded = [document["toy_rmse"] for document in read_table(run.tasks_json)]
    assert [float(row["toy_rmse"]) for row in of_regression][: len(recorded)] == recorded
    assert {row["examples"] for row in rows if row["problem"] != "toy_regression"} <= {"NaN"}


def test_parquet_has_the_columns_of_the_problem_and_pickle_is_refused(runs_dir, monkeypatch, capsys):
    where = ["--where", "problem:toy_regression", "--runs-dir", runs_dir]
    lop("export", "--format", "parquet", "-o", "all.parquet", *where)
    table = parquet.read_table("all.parquet")
    assert table.column_names[4:6] == ["method", "problem"]
    assert {"examples", "seconds", "num_features"} < set(table.column_names)
    assert "test_accuracy" not in table.column_names
    error = refused(monkeypatch, capsys, "export", "--format", "pickle", "-o", "pickles", *where)
    assert "pickle is the form of Continual ImageNet, not of problem toy_regression" in error


def test_check_and_doctor_name_what_they_cannot_check(runs_dir):
    result = CliRunner().invoke(cli.app, ["check", "--runs-dir", str(runs_dir), "--where", "problem:toy_stream"])
    assert result.exit_code == 3
    assert "stream: no results are published for problem toy_stream" in result.stdout
    result = CliRunner().invoke(cli.app, ["doctor", "--runs-dir", str(runs_dir)])
    assert "stream/default/seed_000: problem toy_stream: not part of lop" in " ".join(result.stdout.split())
    assert "wrong stream" not in result.stdout


def test_show_omits_the_default_values_of_a_package(runs_dir):
    shown = " ".join(lop("show", "fit/agent=toy_decay/0", "--runs-dir", runs_dir).split())
    assert "num_features 6" in shown
    assert "toy_examples" not in shown
    assert "metrics_every" not in shown
    assert "online error" in shown


def test_views_never_load_the_package(runs_dir, monkeypatch):
    monkeypatch.syspath_prepend(PACKAGE)
    for module in [name for name in sys.modules if name.partition(".")[0] == "toys"]:
        monkeypatch.delitem(sys.modules, module)
    lop("plot", "all", "--runs-dir", runs_dir, "--where", "problem:toy_regression", "-o", "figure.svg")
    lop("report", "--runs-dir", runs_dir, "--where", "problem:toy_stream", "-o", "page.html")
    lop("compare", "fit/agent=bp", "fit/agent=toy_decay", "--runs-dir", runs_dir)
    lop("export", "--format", "csv", "-o", "all.csv", "--runs-dir", runs_dir)
    for command in ("list", "status"):
        lop(command, "--runs-dir", runs_dir)
    lop("show", "fit/agent=bp/0", "--runs-dir", runs_dir)
    lop("watch", runs_dir, "--once")
    CliRunner().invoke(cli.app, ["doctor", "--runs-dir", str(runs_dir)])
    assert not [name for name in sys.modules if name.partition(".")[0] == "toys"]


@pytest.mark.parametrize("config", [REGRESSION, STREAM], ids=["regression", "stream"])
@pytest.mark.long
def test_a_dry_run_estimates_how_long_it_takes(tmp_path, config):
    (tmp_path / "toy.json").write_text(json.dumps(config | {"agent": "bp"}))
    shown = train(tmp_path, "run", "toy.json", "--seeds", 2, "--dry-run").output
    assert "images" not in shown
    assert re.search(r"about \d+ (s|min) on this machine", shown)


@pytest.mark.long
def test_a_killed_run_resumes_to_the_same_records(tmp_path):
    config = REGRESSION | {"agent": "toy_decay", "num_tasks": 60, "checkpoint_every_s": 0}
    (tmp_path / "long.json").write_text(json.dumps(config))
    train(tmp_path, "run", "long.json", "--seeds", "0,", "--runs-dir", "whole", "--workers", 1)
    process = train(tmp_path, "run", "long.json", "--seeds", "0,", "--runs-dir", "cut", "--retries", 0, wait=False)
    [run] = _wait_for(lambda: [run for run in find_runs(tmp_path / "cut") if _is_under_way(run)])
    os.kill(run.read_status().pid, signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == 1
    assert len(read_table(run.tasks_json)) < 60
    train(tmp_path, "resume", "--runs-dir", "cut")
    [whole] = find_runs(tmp_path / "whole")
    assert [_numbers(one) for one in read_table(run.tasks_json)] == [
        _numbers(one) for one in read_table(whole.tasks_json)
    ]


def _is_under_way(run) -> bool:
    return run.checkpoint.exists() and run.read_status().tasks_done >= 2


def _wait_for(find):
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if value := find():
            return value
        time.sleep(0.05)
    raise TimeoutError


def _numbers(document):
    return {key: value for key, value in document.items() if key != "seconds"}
