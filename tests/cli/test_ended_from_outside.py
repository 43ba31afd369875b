"""Runs whose pipe, directory or worker disappears during training, and runs in the background."""

import os
import re
import shutil
import signal
import subprocess
import sys

import pytest

from lop_engine.runs.directory import find_runs
from tests.cli.test_run import is_training, lop, start, wait_for, write_config


def test_detach_returns_at_once_and_training_continues(here):
    write_config(here / "cbp.json")
    launched = lop("run", "cbp.json", "--detach")
    assert launched.returncode == 0
    assert "training in the background" in launched.stdout
    wait_for(lambda: all(run.read_status().state == "finished" for run in find_runs(here / "runs")))
    pid = int(re.search(r"process (\d+)", launched.stdout)[1])

    def is_gone() -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        return False

    wait_for(is_gone)


def test_a_closed_pipe_stops_the_training_without_a_traceback(here):
    write_config(here / "cbp.json", num_tasks=4000)
    piped = f"{sys.executable} -m lop_tui run cbp.json | head -1"
    result = subprocess.run(["bash", "-c", piped], capture_output=True, text=True, timeout=90, check=False)
    assert "Traceback" not in result.stderr
    [run] = find_runs(here / "runs")
    assert run.read_status().state == "stopped"


@pytest.mark.long
def test_a_run_directory_removed_during_training_is_an_error_and_other_runs_continue(here):
    write_config(here / "cbp.json", num_tasks=10)
    process = start("run", "cbp.json", "--seeds", "3", "--workers", "1", "--runs-per-worker", "1")
    wait_for(lambda: is_training(here))
    shutil.rmtree(here / "runs/cbp/default/seed_002")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "cbp/default/seed_002: its directory is gone" in out
    assert "Traceback" not in out + err
    assert [run.read_status().state for run in find_runs(here / "runs")] == ["finished", "finished"]


@pytest.mark.long
def test_a_worker_stopped_by_a_signal_fails_the_command(here):
    write_config(here / "cbp.json", num_tasks=4000)
    process = start("run", "cbp.json")
    wait_for(lambda: is_training(here))
    [run] = find_runs(here / "runs")
    os.kill(run.read_status().pid, signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "stopped: by another command" in out
    assert "Traceback" not in out + err
