"""`lop export` and `lop import-results` from the command line."""

import builtins
import json
import pickle
import signal

import pytest
import torch
from typer.testing import CliRunner

from lop_tui import cli
from tests.cli.test_views import lop, refused
from tests.helpers import make_run, tiny


@pytest.fixture
def runs_dir(tmp_path):
    for seed in range(2):
        make_run(tmp_path / "runs", "cbp", seed, num_tasks=4, num_epochs=2)
    make_run(tmp_path / "runs", "bp", 0, num_tasks=4, num_epochs=2, tasks_done=1, state="stopped")
    return tmp_path / "runs"


def export(runs_dir, form, path, *more):
    return "export", "--runs-dir", runs_dir, "--format", form, "-o", path, *more


def test_export_names_its_file_and_incomplete_runs(runs_dir, tmp_path):
    output = lop(*export(runs_dir, "csv", tmp_path / "x.csv"))
    assert f"csv: {tmp_path / 'x.csv'} (3 runs)" in output
    assert "not all tasks done, only recorded rows are written: 1 run (bp/default/seed_000)" in output
    lop(*export(runs_dir, "csv", tmp_path / "y.csv", "--where", "method:cbp"))
    assert len((tmp_path / "y.csv").read_text().splitlines()) == 1 + 2 * 4


def test_invalid_arguments_are_refused_in_one_line(runs_dir, tmp_path, monkeypatch, capsys):
    def error_of(*arguments):
        line = refused(monkeypatch, capsys, *arguments)
        assert line.count("\n") == 1
        return line

    target = tmp_path / "x.csv"
    lop(*export(runs_dir, "csv", target))
    assert "exists; replace it with --force" in error_of(*export(runs_dir, "csv", target))
    lop(*export(runs_dir, "csv", target, "--force"))
    assert 'did you mean "csv"' in error_of(*export(runs_dir, "cvs", tmp_path / "z"))
    assert "matches none of the 3 runs" in error_of(*export(runs_dir, "csv", tmp_path / "z", "--where", "l2"))
    assert "no runs in" in error_of(*export(tmp_path / "none", "csv", tmp_path / "z"))
    make_run(tmp_path / "new", "bp", tasks_done=0, state="queued")
    assert "nothing to export" in error_of(*export(tmp_path / "new", "csv", tmp_path / "z"))
    assert str(target) in error_of(*export(runs_dir, "csv", target / "below"))
    assert "no such file or directory" in error_of("import-results", tmp_path / "nowhere", "--runs-dir", runs_dir)
    assert "no results there" in error_of("import-results", runs_dir, "--runs-dir", runs_dir)
    assert not (tmp_path / "z").exists()


@pytest.fixture(params=[signal.SIGTERM, signal.SIGHUP])
def number(request):
    """Return a signal with its default handler, whatever this process had set."""
    before = signal.signal(request.param, signal.SIG_DFL)
    yield request.param
    signal.signal(request.param, before)


def test_an_export_ended_by_a_signal_leaves_no_file(runs_dir, tmp_path, monkeypatch, number):
    def ended(*_):
        assert len(list(tmp_path.iterdir())) == 2  # the export is half written
        signal.raise_signal(number)

    monkeypatch.setattr("lop_engine.exchange.files.table_on_disk", ended)
    result = CliRunner().invoke(cli.app, list(map(str, export(runs_dir, "npz", tmp_path / "x.npz", "--epochs"))))
    assert result.exit_code == 128 + number
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    assert signal.getsignal(number) is signal.SIG_DFL


@pytest.mark.parametrize(("form", "package"), [("parquet", "pyarrow"), ("tensorboard", "tensorboardX")])
def test_a_missing_package_is_named_with_its_install_command(runs_dir, tmp_path, monkeypatch, capsys, form, package):
    find = builtins.__import__

    def without(name, *rest):
        if name.split(".")[0] == package:
            raise ImportError(name)
        return find(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    output = refused(monkeypatch, capsys, *export(runs_dir, form, tmp_path / "x"))
    assert f"pip install '{package}" in output
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_imported_runs_are_listed_and_not_resumed(tmp_path):
    path = tmp_path / "old/cbp/0/0"
    path.parent.mkdir(parents=True)
    table = torch.zeros(4, 2)
    table[:2] = 0.75
    path.write_bytes(pickle.dumps({"test_accuracies": table, "losses": table}))
    runs_dir = ("--runs-dir", tmp_path / "runs")
    output = lop("import-results", tmp_path / "old", *runs_dir)
    assert "cbp/default: 1 run, 2 of 4 tasks" in output
    assert "ignored, unknown: losses" in output
    assert "configuration unknown: cbp" in output
    assert "nothing to resume" in lop("resume", *runs_dir)
    assert "ends after 2 of 4 tasks" in lop("status", *runs_dir)
    assert str(path) in lop("show", "cbp", *runs_dir)


def test_imported_runs_are_not_trained_on(runs_dir, tmp_path, monkeypatch, capsys):
    lop(*export(runs_dir, "pickle", tmp_path / "old"))
    lop("import-results", tmp_path / "old", "--runs-dir", tmp_path / "new")
    config = tmp_path / "bp.json"
    config.write_text(json.dumps(tiny(agent="bp")))
    output = refused(monkeypatch, capsys, "run", config, "--seeds", "2", "--runs-dir", tmp_path / "new")
    assert "bp/default/seed_000: was imported" in output
    assert "its records are kept (1 finished task, 1 epoch)" in output
    assert "--fresh" not in output
