"""Pairs of real commands on one runs directory at the same time: no document is lost, duplicated or mixed up."""

import os
import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from lop_engine.experiment.run import Run, load_runs
from lop_engine.launch import prepare_run_dirs, resolve_runs
from lop_engine.runs.directory import RunDir, find_runs
from lop_engine.runs.locks import other_launcher
from lop_engine.runs.reading import RunsReader
from lop_engine.runs.store import TableWriter, read_table
from tests.cli.test_run import write_config
from tests.faults.conftest import IS_LONG
from tests.faults.stub.recording import mark, write_checkpoint

STUB = Path(__file__).with_name("stub")
NUM_TASKS = 12
COMMANDS = {
    "run": ["run", "cbp.json", "--seeds", "4"],
    "run others": ["run", "cbp.json", "--seeds", "2-6"],
    "run fresh": ["run", "cbp.json", "--seeds", "4", "--fresh", "--yes"],
    "run detached": ["run", "cbp.json", "--seeds", "4", "--detach"],
    "resume": ["resume"],
    "resume detached": ["resume", "--detach"],
    "stop": ["stop"],
    "rm": ["rm", "cbp", "--yes"],
    "doctor": ["doctor", "--repair"],
}
STATES = ("finished", "stopped", "queued", "failed")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path / "cbp.json", num_tasks=NUM_TASKS, num_showings=1)
    return tmp_path


def start(*arguments: str) -> subprocess.Popen:
    path = os.pathsep.join(filter(None, [str(STUB), os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [sys.executable, "-m", "lop_tui", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
    )


def make_started_runs(rng: random.Random) -> list[RunDir]:
    """Make some of seeds 0 to 3, each with records and a checkpoint that covers most of them."""
    runs: list[Run] = load_runs(Path("cbp.json"), seeds=[seed for seed in range(4) if rng.random() < 0.7])
    for run_dir in prepare_run_dirs(Path("runs"), resolve_runs(runs).runs).to_train:
        state = rng.choice(STATES)
        tasks = NUM_TASKS if state == "finished" else rng.randrange(NUM_TASKS)
        identity = mark(run_dir.read_id())
        for name, path in (("tasks", run_dir.tasks_json), ("epochs", run_dir.epochs_json)):
            with TableWriter(path, name) as table:
                table.extend({"task": task, "test_accuracy": identity} for task in range(tasks))
        write_checkpoint(run_dir.checkpoint, tasks)
        run_dir.write_status(replace(run_dir.read_status(), state=state, tasks_done=tasks, launcher=None))
    return find_all()


def find_all() -> list[RunDir]:
    return list(find_runs(Path("runs")))


def documents(run_dir: RunDir) -> list[int]:
    """Return the tasks in both record files, and check that all documents are of this run."""
    tasks, epochs = read_table(run_dir.tasks_json), read_table(run_dir.epochs_json)
    assert [one["task"] for one in tasks] == list(range(len(tasks))), run_dir
    assert [one["task"] for one in epochs] == list(range(len(epochs))), run_dir
    assert abs(len(tasks) - len(epochs)) <= 1
    assert {one["test_accuracy"] for one in tasks + epochs} <= {mark(run_dir.read_id())}, f"{run_dir}: mixed"
    return [one["task"] for one in tasks]


def wait_for_quiet() -> None:
    """Wait until no worker runs and no launcher has a queue."""
    deadline = time.monotonic() + 60
    while any(view.state == "running" or other_launcher(view.status) for view in RunsReader(Path("runs")).read().runs):
        assert time.monotonic() < deadline, "workers or queued runs remain"
        time.sleep(0.05)


@pytest.mark.parametrize("number", range(200 if IS_LONG else 20))
def test_two_commands_at_once_leave_consistent_runs(here, number):
    rng = random.Random(number)
    before = {run_dir: (run_dir.read_id(), len(documents(run_dir))) for run_dir in make_started_runs(rng)}
    names = rng.choices(list(COMMANDS), k=2)
    first = start(*COMMANDS[names[0]])
    time.sleep(rng.choice([0, 0, 0.2, 0.5, 0.8]))
    second = start(*COMMANDS[names[1]])
    outputs = [process.communicate(timeout=90)[0] for process in (first, second)]
    wait_for_quiet()

    what = "\n".join(
        f"{name} ended with {process.returncode}:\n{output}"
        for name, process, output in zip(names, (first, second), outputs, strict=True)
    )
    for process, output in zip((first, second), outputs, strict=True):
        assert process.returncode in (0, 1, 2), what
        assert output.strip(), what
        assert "Traceback" not in output, what
    for log in Path("runs").rglob("*.log"):
        assert "Traceback" not in log.read_text(), log.read_text()
    removes = any(
        name in ("run fresh", "rm") and process.returncode != 2
        for name, process in zip(names, (first, second), strict=True)
    )
    after = {run_dir: (run_dir.read_id(), len(documents(run_dir))) for run_dir in find_all()}
    for run_dir, (identity, num_documents) in before.items():
        if not removes:
            assert after[run_dir][0] == identity, what
            assert after[run_dir][1] >= num_documents, what

    whole = start(*COMMANDS["run"])
    output = whole.communicate(timeout=90)[0]
    assert whole.returncode == 0, f"{what}\nafterwards:\n{output}"
    for run_dir in find_all():
        if run_dir.seed < 4:
            assert len(documents(run_dir)) == NUM_TASKS
            assert run_dir.read_status().state == "finished"
