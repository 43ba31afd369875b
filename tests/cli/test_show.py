"""`lop list` and `lop show` on generated runs."""

import io
import json

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from lop_engine.analysis.groups import by_problem
from lop_engine.experiment import lookup
from lop_engine.runs.directory import write_json
from lop_engine.runs.reading import RunsReader
from lop_engine.text import byte_size
from lop_tui import cli
from lop_tui.words import formats
from lop_tui.words.one_run import sparkline
from lop_tui.words.runs import table_of_settings
from tests.cli.test_views import lop, refused
from tests.helpers import make_run


@pytest.fixture
def runs_dir(tmp_path):
    for seed in range(3):
        make_run(tmp_path, "cbp", seed, num_tasks=60)
    make_run(tmp_path, "bp", 0, setting="step_size=0.1", tasks_done=7, state="failed", error="out of luck")
    make_run(tmp_path, "bp", 1, setting="step_size=0.1", tasks_done=0, state="queued")
    return tmp_path


def test_list_has_a_line_for_each_setting(runs_dir):
    shown = lop("list", "--runs-dir", runs_dir)
    assert "3 finished" in shown
    assert "0-7/40" in shown
    assert "seed_000" not in shown


def test_list_as_json_prints_only_json(runs_dir):
    bp, cbp = json.loads(lop("list", "--json", "--runs-dir", runs_dir))["settings"]
    assert (bp["states"], bp["tasks_done"]) == ({"failed": 1, "queued": 1}, [0, 7])
    assert (cbp["seeds"], cbp["num_tasks"]) == (3, 60)
    assert 0.8 < cbp["test_accuracy_last_tenth"] < 1
    assert cbp["bytes"] == sum(path.stat().st_size for path in (runs_dir / "cbp").rglob("*") if path.is_file())


def test_list_shows_the_number_of_seeds_in_each_mean(runs_dir):
    make_run(runs_dir, "cbp", 3, num_tasks=60, tasks_done=30, state="stopped")
    assert " n=3/4 " in lop("list", "--runs-dir", runs_dir)
    bp, cbp = json.loads(lop("list", "--json", "--runs-dir", runs_dir))["settings"]
    assert (cbp["seeds"], cbp["num_seeds"]) == (4, 3)
    assert cbp["standard_error"] > 0
    assert (bp["num_seeds"], bp["standard_error"]) == (1, None)


def test_list_names_the_runs_that_cannot_be_read(runs_dir):
    (runs_dir / "cbp/default/seed_001/run.json").write_text("{")
    assert "cannot be read: cbp/default/seed_001: " in lop("list", "--runs-dir", runs_dir)


def test_markup_in_directory_names_is_printed_literally_by_list(tmp_path):
    make_run(tmp_path, "a\x1b[31m\n[red]b")
    shown = lop("list", "--runs-dir", tmp_path)
    assert "a[red]b" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1.0 KiB"),
        (9.96 * 2**10, "10 KiB"),
        (300 * 2**10, "300 KiB"),
        (1000 * 2**10, "1.0 MiB"),
        (3.42 * 2**20, "3.4 MiB"),
        (140 * 2**30, "140 GiB"),
        (2.5 * 2**40, "2.5 TiB"),
        (5000 * 2**40, "5000 TiB"),
    ],
)
def test_sizes_have_a_suitable_unit(num_bytes, text):
    assert byte_size(num_bytes) == text


def test_a_small_run_has_a_size(tmp_path):
    run_dir = make_run(tmp_path, "cbp", num_tasks=40)
    size = sum(file.stat().st_size for file in run_dir.path.iterdir())
    assert size < 100_000
    assert f" {byte_size(size)} " in lop("list", "--runs-dir", tmp_path)


def test_long_names_leave_room_for_numbers_in_list(tmp_path):
    make_run(tmp_path, "x" * 100)
    console = Console(width=80, record=True, file=io.StringIO())
    [problem] = by_problem(RunsReader(tmp_path).read().runs)
    console.print(table_of_settings(problem, 80, is_alone=True))
    shown = console.export_text()
    assert all(word in shown for word in ("default", "40/40", "1 finished", "KiB"))


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_list_refuses_an_empty_selection_of_runs(runs_dir, monkeypatch, capsys, more):
    assert "list: no runs in" in refused(monkeypatch, capsys, "list", "--runs-dir", runs_dir / "none", *more)
    output = refused(monkeypatch, capsys, "list", "--where", "zzz", "--runs-dir", runs_dir, *more)
    assert "matches none of the 5 runs" in output


@pytest.mark.parametrize("width", [40, 60, 80])
def test_names_and_values_are_shown_in_a_narrow_terminal(runs_dir, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    shown = lop("show", "cbp/0", "--runs-dir", runs_dir)
    view = RunsReader(runs_dir).read().runs[2]
    for metric, values in view.series.items():
        assert lookup.metric(metric).label in shown
        assert f" {formats.short_value(values[-1], lookup.metric(metric).scale)} " in shown


def test_show_prints_configuration_progress_last_tasks_and_the_error(runs_dir):
    run_dir = next((runs_dir / "bp").rglob("seed_000")) / "run.json"
    write_json(run_dir, json.loads(run_dir.read_text()) | {"versions": {"lop": "0.1.0", "torch": "2.5"}})
    shown = lop("show", "bp/step_size=0.1/0", "--runs-dir", runs_dir)
    for part in ("failed, 7 of 40 tasks", "torch 2.5", "step_size 0.01", "task 7", "test accuracy", "out of luck"):
        assert part in shown


def test_show_as_json_has_config_status_and_last_tasks(runs_dir):
    shown = json.loads(lop("show", "cbp/0", "--json", "--runs-dir", runs_dir))
    assert (shown["run"], shown["tasks_done"]) == ("cbp/default/seed_000", 60)
    assert shown["config"]["spec"]["agent"] == "cbp"
    assert shown["last"][-1]["task"] == 59


def test_show_refuses_several_runs(runs_dir, monkeypatch, capsys):
    assert "names 3 runs; choose one of" in refused(monkeypatch, capsys, "show", "cbp", "--runs-dir", runs_dir)


def test_show_prints_the_error_of_an_unreadable_run(runs_dir):
    path = runs_dir / "cbp/default/seed_001/run.json"
    path.write_text("{")
    assert "error: " in lop("show", "cbp/1", "--runs-dir", runs_dir)


def test_sparklines_are_ascii_in_an_ascii_terminal(runs_dir):
    result = CliRunner(charset="ascii").invoke(cli.app, ["show", "cbp/0", "--runs-dir", str(runs_dir)])
    assert result.exit_code == 0
    assert result.stdout.isascii()


def test_a_sparkline_rises_with_its_values_and_has_gaps_for_missing_ones():
    assert sparkline(np.array([0, 1, np.nan, 7])) == "▁▂ █"
    assert sparkline(np.array([2.0, 2.0])) == "▅▅"
    assert sparkline(np.array([np.nan])) == " "
