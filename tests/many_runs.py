"""Kill, stop and resume many small runs under a low limit of open files; compare them with uninterrupted runs."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from lop_engine.runs.directory import RunDir, find_runs
from lop_engine.runs.reading import RunsReader
from lop_engine.runs.store import read_table
from tests.helpers import tiny

METRICS = ["test_accuracy", "train_accuracy", "weight_magnitude"]


def lop(limit: int, *arguments: str) -> subprocess.Popen[str]:
    """Start `lop` with a hard limit of `limit` open files."""
    command = ["sh", "-c", f'ulimit -n {limit} && exec "$@"', "sh", sys.executable, "-m", "lop_tui", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def documents(run_dir: RunDir) -> list[list[dict]]:
    """Return all records of a run, without the times."""
    return [[{**one, "seconds": None} for one in read_table(path)] for path in run_dir.records]


def num_epochs(run_dir: RunDir) -> int:
    return len(read_table(run_dir.epochs_json))


def wait_for(condition, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.05)


def check(here: Path, num_runs: int, limit: int, num_tasks: int) -> None:
    """Train `num_runs` runs without interruption, and again with a kill -9 and a `lop stop`. Compare every document."""
    spec = tiny(agent="bp", network="mlp", num_features=2, num_hidden_layers=1, num_showings=2, metrics_every=1)
    spec |= {"num_tasks": num_tasks, "metrics": METRICS, "checkpoint_every_s": 1}
    (here / "mlp.json").write_text(json.dumps(spec))
    options = ["--seeds", str(num_runs), "--seeds-per-worker", str(num_runs), "--workers", "1", "--retries", "0"]
    command = ["run", str(here / "mlp.json"), *options, "--runs-dir"]
    broken, whole = here / "broken", here / "whole"

    killed = lop(limit, *command, str(broken))
    wait_for(lambda: len(runs := list(find_runs(broken))) == num_runs and num_epochs(runs[-1]) > num_tasks // 2, killed)
    os.kill(next(find_runs(broken)).read_status().pid, signal.SIGKILL)
    killed.communicate(timeout=300)
    assert killed.returncode == 1
    runs = list(find_runs(broken))
    places = [num_epochs(run_dir) for run_dir in runs]
    assert 0 < min(places) <= max(places) < 2 * num_tasks

    stopped = lop(limit, *command, str(broken))
    wait_for(lambda: num_epochs(runs[-1]) > num_tasks, stopped)
    stopping = lop(limit, "stop", "--runs-dir", str(broken))
    output = stopping.communicate(timeout=300)[0]
    assert stopping.returncode == 0, output
    stopped.communicate(timeout=300)
    assert {run_dir.read_status().state for run_dir in runs} in ({"stopped"}, {"finished"})  # fast machines finish

    for runs_dir in (broken, whole):
        ended = lop(limit, *command, str(runs_dir))
        output = ended.communicate(timeout=600)[0]
        assert ended.returncode == 0, output
    assert {view.state for view in RunsReader(broken).read().runs} == {"finished"}
    for mine, other in zip(runs, find_runs(whole), strict=True):
        assert len(documents(mine)[0]) == num_tasks
        assert documents(mine) == documents(other)
