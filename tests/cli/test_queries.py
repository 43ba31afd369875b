"""Conditions as arguments and after ``--where`` in every command that takes runs."""

import json

import pytest
from typer.testing import CliRunner

from lop_engine import load
from lop_engine.experiment import lookup
from lop_engine.runs.directory import find_runs, write_json
from lop_engine.runs.reading import RunsReader
from lop_engine.runs.selection import names_of, select
from lop_tui import cli
from lop_tui.dashboard import read_numbers, render_once
from tests.cli.test_views import lop, refused
from tests.helpers import make_run

LOW = "test_accuracy<0.75"
"""Of the runs below, the last test accuracy of bp alone is so low."""


@pytest.fixture
def runs_dir(tmp_path):
    for method in ("bp", "cbp", "l2"):
        for seed in range(3):
            make_run(tmp_path / "runs", method, seed, num_tasks=20)
    make_run(tmp_path / "runs", "snp", 0, state="queued", num_tasks=20, tasks_done=0)
    return tmp_path / "runs"


def names_of_selected(runs_dir, *selectors):
    return [view.dir.name.replace("/default/seed_00", " ") for view in select(RunsReader(runs_dir).read(), selectors)]


@pytest.mark.parametrize(
    ("selectors", "names"),
    [
        (["method:cbp", "seed:0-1"], ["cbp 0", "cbp 1"]),
        (["method:cbp seed:0-1"], ["cbp 0", "cbp 1"]),
        (["bp", "cbp", "seed:0"], ["bp 0", "cbp 0"]),
        (["bp cbp seed:0"], ["bp 0", "cbp 0"]),
        (["bp", "method:bp,cbp"], ["bp 0", "bp 1", "bp 2"]),  # a name matches as a whole: bp does not match cbp
        ([LOW], ["bp 0", "bp 1", "bp 2"]),
        ([LOW, "seed>0"], ["bp 1", "bp 2"]),
        (
            ["cbp", "l2", "test_accuracy>0.75", "step_size:0.01", "2"],
            ["cbp 0", "cbp 1", "cbp 2", "l2 0", "l2 1", "l2 2"],
        ),
        (["method:cbp -002"], ["cbp 0", "cbp 1"]),
        (["state:queued"], ["snp 0"]),
    ],
)
def test_names_are_alternatives_and_conditions_must_all_hold(runs_dir, selectors, names):
    assert names_of_selected(runs_dir, *selectors) == names


def test_every_command_that_takes_runs_takes_conditions(runs_dir, tmp_path):
    here = ["--runs-dir", runs_dir]
    assert "bp/default/seed_000" in lop("show", LOW, "seed:0", *here)
    assert "bp/default/seed_000" in lop("show", "--where", f"{LOW} seed:0", *here)
    assert "nothing to stop" in lop("stop", LOW, *here)
    assert "nothing to resume" in lop("resume", "--where", LOW, *here)
    shown = lop("status", "--where", LOW, *here)
    assert "bp/default/seed_002" in shown
    assert "cbp/default" not in shown
    assert "cbp" not in lop("list", "--where", LOW, *here)
    assert "2 settings" in lop("diff", "test_accuracy>0.75", *here)
    assert (
        json.loads(lop("compare", "method:cbp seed:0-1", LOW, "--json", *here))["comparisons"][0]["b"] == "bp/default"
    )
    assert "figure:" in lop("plot", "--where", LOW, "-o", tmp_path / "one.png", *here)
    assert {run["experiment"] for run in json.loads(lop("status", "--json", "--where", LOW, *here))["runs"]} == {"bp"}
    assert set(load(runs_dir, where=f"-seed:2 -state:queued {LOW}")["seed"]) == {0, 1}
    assert "cbp" not in render_once(runs_dir, 100, 40, coloured=False, query=LOW)


def test_commands_name_the_runs_that_lack_the_value_of_a_condition(runs_dir):
    note = "1 run has no value of test_accuracy and cannot match"
    for command in (["status", "--json", "--where", LOW], ["show", LOW, "seed:0"], ["list", "--where", LOW]):
        done = CliRunner().invoke(cli.app, [*command, "--runs-dir", str(runs_dir)])
        assert done.exit_code == 0
        assert note in done.stderr
        assert note not in done.stdout
    assert {"run": "filter", "text": note} in read_numbers(runs_dir, LOW)["notices"]
    with pytest.warns(UserWarning, match=note):
        load(runs_dir, where=LOW)


def test_rm_lists_the_matching_runs_and_removes_only_those(runs_dir, monkeypatch, capsys):
    assert "Remove? Confirm with --yes" in refused(monkeypatch, capsys, "rm", LOW, "seed>0", "--runs-dir", runs_dir)
    shown = lop("rm", LOW, "seed>0", "--yes", "--runs-dir", runs_dir)
    assert shown.startswith("2 of 10 runs match: bp/default/seed_001, bp/default/seed_002\n")
    assert "2 runs removed" in shown
    assert len(list(find_runs(runs_dir))) == 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["test_acuracy<0.5"], 'unknown key "test_acuracy"; did you mean "test_accuracy"?'),
        (["accuracy<0.5"], 'did you mean "train_accuracy", "test_accuracy" or "online_accuracy"?'),
        (["test_accuracy"], '"test_accuracy" names no run'),
        (["test_accuracy"], 'write "test_accuracy<0.5" or "test_accuracy:0.5"'),
        (["bpp"], 'did you mean "bp"?'),
        (["test_accuracy<0.01"], "none of the 10 runs in"),
        (["method:cbp", "method:bp"], "for either write method:cbp,bp"),
        (["step_size:3"], "their step_size: 0.01"),
        (["cbp", "--where", LOW], "none of the 3 runs of cbp"),
        ([], "rm: name runs"),
    ],
)
def test_nothing_is_done_if_a_word_matches_no_run(runs_dir, monkeypatch, capsys, arguments, message):
    assert message in refused(monkeypatch, capsys, "rm", *arguments, "--yes", "--runs-dir", runs_dir)
    assert len(list(find_runs(runs_dir))) == 10


def test_the_advice_after_a_stop_by_state_names_the_runs(runs_dir):
    make_run(runs_dir, "snp", 1, state="queued", num_tasks=20, tasks_done=0)
    shown = lop("stop", "state:queued", "--runs-dir", runs_dir)
    assert shown.startswith("2 of 11 runs match: snp/default/seed_000, snp/default/seed_001\n")
    assert "lop resume snp/default/0-1 " in shown


def test_names_of_runs_select_these_runs(tmp_path):
    for seed in (0, 1, 2, 5, 7, 8):
        make_run(tmp_path, "bp", seed, setting="hidden=[1]", num_tasks=1)
    runs = [run for run in RunsReader(tmp_path).read().runs if run.seed != 1]
    names = names_of(runs)
    assert len(names) == 4  # seeds 0, 2, 5, 7-8
    assert [run.dir for run in select(RunsReader(tmp_path).read(), names)] == [run.dir for run in runs]


def test_conditions_accept_the_metrics_and_keys_of_other_packages(tmp_path, monkeypatch):
    monkeypatch.setattr(lookup, "from_run_json", {kind: {} for kind in lookup.from_run_json})
    run_dir = make_run(tmp_path, "mine", 0, num_tasks=1)
    described = {"name": "my_own_metric", "title": "mine", "from_zero": True, "least_span": 0}
    spec = {"my_own_key": 3, "num_tasks": 1}
    write_json(
        run_dir.run_json, {"spec": spec, "components": {"metrics": [described | {"unit": "", "scale": "linear"}]}}
    )
    run_dir.tasks_json.write_text('{"tasks": {\n"1": {"task":0,"my_own_metric":0.25,"seconds":1.0}\n}}\n')
    here = ["--runs-dir", tmp_path]
    assert "mine" in lop("list", "--where", "my_own_key:3", *here)
    assert "mine" in lop("list", "--where", "my_own_metric<0.3", *here)
