"""`lop list` and `lop show` over runs made for them."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from lop_engine.rundir import write_json
from lop_tui import cli
from lop_tui.commands.show import sparkline
from tests.cli.test_views import lop, refused
from tests.helpers import make_run


@pytest.fixture
def runs_dir(tmp_path):
    for seed in range(3):
        make_run(tmp_path, "cbp", seed, num_tasks=60)
    make_run(tmp_path, "bp", 0, setting="step_size=0.1", tasks_done=7, state="failed", error="out of luck")
    make_run(tmp_path, "bp", 1, setting="step_size=0.1", tasks_done=0, state="queued")
    return tmp_path


def test_list_has_a_line_a_setting(runs_dir):
    shown = lop("list", "--runs-dir", runs_dir)
    assert "3 finished" in shown
    assert "0-7/40" in shown
    assert "seed_000" not in shown


def test_list_as_json_is_json_alone(runs_dir):
    bp, cbp = json.loads(lop("list", "--json", "--runs-dir", runs_dir))["settings"]
    assert (bp["states"], bp["tasks_done"]) == ({"failed": 1, "queued": 1}, [0, 7])
    assert (cbp["seeds"], cbp["num_tasks"]) == (3, 60)
    assert 0.8 < cbp["test_accuracy_last_tenth"] < 1
    assert cbp["bytes"] == sum(path.stat().st_size for path in (runs_dir / "cbp").rglob("*") if path.is_file())


def test_list_says_when_there_is_nothing(tmp_path):
    assert "no runs in" in lop("list", "--runs-dir", tmp_path)
    assert json.loads(lop("list", "--json", "--runs-dir", tmp_path))["settings"] == []


def test_show_tells_configuration_progress_last_tasks_and_the_error(runs_dir):
    run_dir = next((runs_dir / "bp").rglob("seed_000")) / "run.json"
    write_json(run_dir, json.loads(run_dir.read_text()) | {"versions": {"lop": "0.1.0", "torch": "2.5"}})
    shown = lop("show", "bp/step_size=0.1/0", "--runs-dir", runs_dir)
    for part in ("failed, 7 of 40 tasks", "torch 2.5", "step_size 0.01", "task 7", "test accuracy", "out of luck"):
        assert part in shown


def test_show_as_json_holds_config_status_and_last_tasks(runs_dir):
    shown = json.loads(lop("show", "cbp/0", "--json", "--runs-dir", runs_dir))
    assert (shown["run"], shown["tasks_done"]) == ("cbp/default/seed_000", 60)
    assert shown["config"]["spec"]["agent"] == "cbp"
    assert shown["last"][-1]["task"] == 59


def test_show_wants_one_run(runs_dir, monkeypatch, capsys):
    assert "names 3 runs; choose one of" in refused(monkeypatch, capsys, "show", "cbp", "--runs-dir", runs_dir)


def test_show_speaks_of_a_run_that_cannot_be_read(runs_dir):
    path = runs_dir / "cbp/default/seed_001/run.json"
    path.write_text("{")
    assert "error: " in lop("show", "cbp/1", "--runs-dir", runs_dir)


def test_a_stream_without_bars_gets_plain_characters(runs_dir):
    result = CliRunner(charset="ascii").invoke(cli.app, ["show", "cbp/0", "--runs-dir", str(runs_dir)])
    assert result.exit_code == 0
    assert result.stdout.isascii()


def test_a_sparkline_rises_with_its_values_and_leaves_gaps():
    assert sparkline(np.array([0, 1, np.nan, 7])) == "▁▂ █"
    assert sparkline(np.array([2.0, 2.0])) == "▅▅"
    assert sparkline(np.array([np.nan])) == " "
