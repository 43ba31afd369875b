"""Commands with several `--runs-dir` read them like one directory, and refuse different runs with the same name."""

import json
import re
import shutil

import pytest
from typer.testing import CliRunner

import lop_engine
from lop_engine.errors import UserError
from lop_engine.runs.directory import RunDir, write_json
from lop_tui import cli
from lop_tui.commands.check import NOTHING_JUDGED
from tests.cli.test_views import lop, refused
from tests.helpers import append_tasks, make_metrics, make_run


@pytest.fixture
def two(tmp_path, monkeypatch):
    """Make seeds 0-3 of bp and cbp, two of each in `laptop`, two in `cluster`, and all of them in `all`."""
    monkeypatch.chdir(tmp_path)
    for method in ("bp", "cbp"):
        for seed in range(4):
            place = "laptop" if seed % 2 else "cluster"
            run_dir = make_run(tmp_path / place, method, seed)
            config = run_dir.read_config()
            write_json(run_dir.run_json, config | {"id": f"{method}-{seed}"})
            shutil.copytree(run_dir.path, tmp_path / "all" / method / "default" / run_dir.path.name)
    return tmp_path


BOTH = "--runs-dir", "laptop", "--runs-dir", "cluster"
ALL = "--runs-dir", "all"
COMMANDS = [
    ("list",),
    ("list", "--json"),
    ("status", "--json"),
    ("show", "bp/default/2", "--json"),
    ("compare", "bp", "cbp"),
    ("compare", "bp", "cbp", "--json"),
    ("best", "--json"),
    ("table", "--format", "csv"),
    ("power", "bp", "cbp", "--json"),
    ("diff",),
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_two_directories_read_together_give_the_output_of_one(two, words):
    together, in_one = lop(*words, *BOTH), lop(*words, *ALL)
    together = together.replace("laptop, cluster", "all")
    for place in ("laptop", "cluster"):
        together = together.replace(f'"{place}/', '"all/')
    assert without_ages(together) == without_ages(in_one)
    assert in_one


def without_ages(shown: str) -> str:
    """Return the output of `lop list` without the ages of files, which may differ by a second."""
    return re.sub(r"\d+s ago", "ago", shown)


def test_exports_of_two_directories_have_all_seeds(two):
    lop("export", "--format", "csv", "-o", "both.csv", *BOTH)
    lop("export", "--format", "csv", "-o", "one.csv", *ALL)
    assert (two / "both.csv").read_text() == (two / "one.csv").read_text()
    assert "figure: figure.svg" in lop("plot", "-o", "figure.svg", *BOTH)
    lop("report", "-o", "report.html", *BOTH)
    assert "<title>lop: laptop, cluster</title>" in (two / "report.html").read_text()


def test_figures_and_reports_are_written_to_the_first_directory_by_default(two):
    assert "report: laptop/report.html" in lop("report", *BOTH)
    assert "figure: laptop/" in lop("plot", *BOTH)


def test_check_reads_both_directories(two):
    done = CliRunner().invoke(cli.app, ["check", "--json", *BOTH])
    assert done.exit_code == NOTHING_JUDGED
    in_one = json.loads(CliRunner().invoke(cli.app, ["check", "--json", *ALL]).stdout)
    assert json.loads(done.stdout) == in_one | {"runs_dir": "laptop, cluster"}


def test_different_runs_with_the_same_seed_are_refused_by_name(two, monkeypatch, capsys):
    make_run(two / "laptop", "bp", 2)
    output = refused(monkeypatch, capsys, "list", *BOTH)
    assert "laptop/bp/default/seed_002 and cluster/bp/default/seed_002 are different runs" in output


def test_runs_without_an_id_do_not_count_as_copies(two, monkeypatch, capsys):
    for place in ("laptop", "cluster"):
        make_run(two / place, "l2", 0)
    assert "l2/default/seed_000" in refused(monkeypatch, capsys, "compare", "bp", "cbp", *BOTH)


def test_of_two_copies_of_a_run_only_the_more_advanced_is_shown(two):
    behind = two / "laptop" / "cbp" / "default" / "seed_002"
    shutil.copytree(two / "cluster" / "cbp" / "default" / "seed_002", behind)
    (behind / "tasks.json").unlink()
    append_tasks(RunDir(behind), make_metrics("cbp", 40, 2), 0, 7)
    assert lop("table", "--format", "csv", *BOTH) == lop("table", "--format", "csv", *ALL)
    assert len(json.loads(lop("status", "--json", *BOTH))["runs"]) == 8


def test_the_same_directory_named_twice_is_read_once(two):
    (two / "link").symlink_to("all")
    assert len(json.loads(lop("status", "--json", "--runs-dir", "link", *ALL))["runs"]) == 8


def test_a_directory_without_runs_is_named(two, monkeypatch, capsys):
    output = refused(monkeypatch, capsys, "table", "--runs-dir", "laptop", "--runs-dir", "clutser")
    assert "no runs in clutser" in output


def test_a_path_only_matches_runs_of_its_directory(two, monkeypatch, capsys):
    assert lop("show", "cluster/bp/default/seed_002", *BOTH) == lop("show", "bp/default/2", *BOTH)
    assert "names no run" in refused(monkeypatch, capsys, "show", "laptop/bp/default/seed_002", *BOTH)


def test_seeds_whose_configurations_differ_are_refused(two, monkeypatch, capsys):
    make_run(two / "laptop", "bp", 7, spec={"step_size": 0.5})
    output = refused(monkeypatch, capsys, "compare", "bp", "cbp", *BOTH)
    assert "step_size" in output


def test_watch_shows_the_runs_of_several_directories_together(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for place, seed in (("a", 0), ("b", 1)):
        make_run(tmp_path / place, "bp", seed)
    for arguments in (["a", "b"], ["a", "--runs-dir", "b"]):
        frame = json.loads(lop("watch", *arguments, "--json"))
        assert frame["settings"][0]["seeds"] == [0, 1]
        assert frame["runs_dir"] == "a, b"
        assert "2 runs in a, b: 2 finished" in lop("watch", *arguments, "--once")


def test_load_reads_several_directories(tmp_path):
    for place, seed in (("a", 0), ("b", 1)):
        make_run(tmp_path / place, "bp", seed)
    table = lop_engine.load([tmp_path / "a", str(tmp_path / "b")])
    assert sorted(set(table["seed"])) == [0, 1]


def test_load_refuses_different_runs_with_the_same_seed(tmp_path):
    for place in ("a", "b"):
        make_run(tmp_path / place, "bp", 0)
    with pytest.raises(UserError, match="different runs of the same setting and seed"):
        lop_engine.load([tmp_path / "a", tmp_path / "b"])
