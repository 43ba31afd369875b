"""Generated records of several methods and a sweep, and `lop plot` on them."""

import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from lop_engine.analysis import group_runs
from lop_engine.experiment.run import load_runs
from lop_engine.runs.reading import RunsReader
from lop_engine.runs.records import epoch_document
from lop_engine.runs.store import TableWriter
from lop_tui import cli
from tests.helpers import ROOT, append_tasks, make_metrics, make_run

CFG = ROOT / "cfg"


SMALL = ("--size", "4x2.6", "--dpi", "60")


def lop(*arguments) -> str:
    result = CliRunner().invoke(cli.app, [str(word) for word in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(monkeypatch, capsys, *arguments) -> str:
    monkeypatch.setattr(sys, "argv", ["lop", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "Traceback" not in error
    return error


def groups_in(runs_dir):
    return group_runs(RunsReader(runs_dir).read().runs)


def record_epochs(run, tasks, num_epochs=8):
    with TableWriter(run.epochs_json, "epochs") as table:
        for task in tasks:
            for epoch in range(num_epochs):
                learned = 1 - 0.5 * np.exp(-epoch / (2 + task / 20)) + 0.01 * run.seed
                table.append(epoch_document(task, epoch, {"train_accuracy": learned, "test_accuracy": 0.9 * learned}))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Make three methods of three seeds, one unfinished; a sweep of three step sizes; and the linear baseline."""
    runs_dir = tmp_path_factory.mktemp("made") / "runs"
    for method in ("l2", "cbp"):
        for seed in range(3):
            behind = (method, seed) == ("l2", 2)
            run = make_run(runs_dir, method, seed, num_tasks=60, tasks_done=30 if behind else 60)
            record_epochs(run, (0, 29) if behind else (0, 29, 59))
    for step_size, method in ((0.01, "bp"), (0.001, "l2"), (0.0001, "snp")):  # generated curves of other methods
        for seed in range(3):
            spec = {"step_size": step_size, "agent": "bp"}
            setting = f"step_size={step_size}"
            run = make_run(runs_dir, "bp", seed, setting=setting, num_tasks=60, tasks_done=0, spec=spec)
            append_tasks(run, make_metrics(method, 60, seed), 0, 60)
    for seed in range(2):
        make_run(runs_dir, "linear", seed, num_tasks=60)
    return runs_dir


def paper_runs(runs_dir, *names):
    """Make the first 100 tasks of two seeds of the paper's files."""
    for run in (run for name in names for run in load_runs(CFG / f"{name}.json", seeds=[0, 1])):
        spec = run.spec.to_dict()
        made = make_run(runs_dir, run.experiment, run.seed, setting=run.setting, tasks_done=0, spec=spec)
        append_tasks(made, make_metrics(run.experiment, 150, run.seed), 0, 100)
