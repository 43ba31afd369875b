"""`--stop-when` of `lop run` and `lop resume`."""

import json

import pytest
from typer.testing import CliRunner

from lop_engine.runs.directory import find_runs
from lop_tui import cli
from tests.cli.test_run import here as here
from tests.cli.test_run import lop, write_config
from tests.cli.test_views import refused
from tests.helpers import make_run, tiny

RULE = "test_accuracy>=0 for 2 tasks"


def statuses(here) -> list[tuple]:
    return [(one.state, one.rule, one.rule_task) for one in (run.read_status() for run in find_runs(here / "runs"))]


@pytest.mark.long
def test_a_run_ended_by_a_rule_resumes_only_on_request(here):
    write_config(here / "cbp.json")
    done = lop("run", "cbp.json", "--seeds", "2", "--stop-when", RULE)
    assert done.returncode == 0, done.stderr
    assert statuses(here) == [("ended-by-rule", RULE, 2)] * 2
    assert f"2 of 2 seeds ended by rule ({RULE}: seed 0 after task 2, seed 1 after task 2)" in done.stdout

    again = lop("run", "cbp.json", "--seeds", "2")
    assert "2 of 2 runs are ended by a rule already" in again.stdout
    assert f'began with stop_when=["{RULE}"] and keeps it ([] was asked for)' in again.stdout
    assert "nothing to resume" in lop("resume").stdout
    assert statuses(here) == [("ended-by-rule", RULE, 2)] * 2

    resumed = lop("resume", "cbp/default/0", "--stop-when", "none")
    assert resumed.returncode == 0, resumed.stderr
    assert statuses(here) == [("finished", None, None), ("ended-by-rule", RULE, 2)]
    assert json.loads((here / "runs/cbp/default/seed_000/run.json").read_text())["spec"]["stop_when"] == []


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (["test_acc<0.5"], 'did you mean "test_accuracy"'),
        (["train_loss>3"], "do not record train_loss"),
        (["test_accuracy<0.5 for 1000 tasks"], "the runs have only 3 tasks"),
        (["test_accuracy>150%"], "lies between 0 and 1"),
        (["none", RULE], "--stop-when none: means no rule"),
    ],
)
@pytest.mark.parametrize("command", ["run", "resume"])
def test_an_invalid_rule_is_refused_before_anything_changes(here, monkeypatch, capsys, command, rules, message):
    write_config(here / "cbp.json")
    if command == "resume":
        make_run(here / "runs", "cbp", state="stopped", tasks_done=1, spec=tiny())
    before = statuses(here)
    options = [word for rule in rules for word in ("--stop-when", rule)]
    output = refused(monkeypatch, capsys, command, *(["cbp.json"] if command == "run" else []), *options)
    assert message in output
    assert "--stop-when" in output
    assert statuses(here) == before


def test_an_invalid_rule_in_a_file_is_refused_with_the_name_of_the_file(here, monkeypatch, capsys):
    write_config(here / "cbp.json", stop_when="test_accuracy<0.5 for 3 epochs")
    assert 'cbp.json: key "stop_when"' in refused(monkeypatch, capsys, "run", "cbp.json", "--dry-run")


@pytest.mark.parametrize(
    ("rule", "is_idle"),
    [("seed:7", True), ("seed:1", False), ("-method:cbp", True), ("step_size:5", True), ("progress:>50%", False)],
)
def test_a_rule_that_matches_no_run_is_noted(here, rule, is_idle):
    write_config(here / "cbp.json")
    rule = f"test_accuracy<0.5 {rule}"
    result = CliRunner().invoke(
        cli.app, ["run", "cbp.json", "--seeds", "2", "--dry-run", "--no-estimate", "--stop-when", rule]
    )
    assert result.exit_code == 0
    assert (f'note: rule "{rule}" will end none of these runs: none matches ' in result.stdout) is is_idle
