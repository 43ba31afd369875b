"""`lop stop`, `resume`, `logs` and `rm` on real runs."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from lop_engine.rundir import RunDir, find_runs
from lop_engine.runs import RunsReader
from lop_engine.selection import select
from lop_engine.store import read_table
from tests.cli.test_run import lop, write_config
from tests.helpers import make_run


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def start(here):
    """Start `lop run` and wait until a run has recorded a task; kill what is left at the end."""
    started: list[subprocess.Popen] = []

    def run(*arguments: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "lop_tui", "run", *arguments]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
        wait_for(
            lambda: any(run.tasks_json.exists() and read_table(run.tasks_json) for run in find_runs(here / "runs"))
        )
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()
    for run_dir in find_runs(here / "runs"):
        status = run_dir.read_status()
        if status.state == "running" and status.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(status.pid, signal.SIGKILL)


def wait_for(condition, limit_s: float = 60) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)


def states(here) -> dict[str, str]:
    return {view.dir.name: view.state for view in RunsReader(here / "runs").read().runs}


def without_times(path) -> list[dict]:
    return [{key: value for key, value in one.items() if key != "seconds"} for one in read_table(path)]


def test_stop_and_resume_lose_nothing(here, start):
    write_config(here / "cbp.json", num_tasks=25)
    process = start("cbp.json", "--seeds", "4", "--workers", "2", "--seeds-per-worker", "1")
    stopped = lop("stop")
    assert stopped.returncode == 0, stopped.stderr
    assert "4 runs stopped; go on with lop resume" in stopped.stdout
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "stopped: from outside" in out
    assert set(states(here).values()) == {"stopped"}
    assert lop("stop").stdout.startswith("nothing to stop")
    resumed = lop("resume", "--workers", "2")
    assert resumed.returncode == 0, resumed.stderr + resumed.stdout
    assert re.search(r"4 runs on 2 workers .*, 2 from checkpoints", resumed.stdout)
    assert set(states(here).values()) == {"finished"}
    assert "4 of 4 runs are finished already" in lop("resume").stdout
    whole = lop("run", "cbp.json", "--seeds", "0,1", "--runs-dir", "whole", "--workers", "2")
    assert whole.returncode == 0
    for mine, other in zip(find_runs(here / "runs"), find_runs(here / "whole"), strict=False):
        for name in ("tasks.json", "epochs.json"):
            assert without_times(mine.path / name) == without_times(other.path / name)


def test_stopping_one_seed_stops_those_in_its_worker_and_no_others(here, start):
    write_config(here / "cbp.json", num_tasks=2000)
    write_config(here / "bp.json", num_tasks=2000, agent="bp")
    start("cbp.json", "bp.json", "--seeds", "2", "--workers", "2", "--seeds-per-worker", "2")
    wait_for(lambda: set(states(here).values()) == {"running"})
    stopped = lop("stop", "cbp/default/1")
    assert "in the same worker, and so stopped with it: cbp/default/seed_000" in stopped.stdout
    assert states(here) == {
        "bp/default/seed_000": "running",
        "bp/default/seed_001": "running",
        "cbp/default/seed_000": "stopped",
        "cbp/default/seed_001": "stopped",
    }
    refused = lop("rm", "bp", "--yes")
    assert refused.returncode == 2
    assert "bp/default/seed_000 is running and 1 more; lop stop first" in refused.stderr
    assert lop("stop", "--now").returncode == 0
    removed = lop("rm", "bp", "--yes")
    assert (removed.returncode, removed.stdout) == (0, "2 runs removed\n")
    assert sorted(path.name for path in (here / "runs").iterdir()) == ["cbp"]


def test_a_worker_that_dies_is_reported_and_its_seeds_are_tried_again(here, start):
    write_config(here / "cbp.json", num_tasks=60)
    process = start("cbp.json", "--seeds", "2", "--workers", "1", "--seeds-per-worker", "2")
    [pid] = {run.read_status().pid for run in find_runs(here / "runs")}
    os.kill(pid, signal.SIGKILL)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, out
    assert out.count("worker killed by signal 9 (SIGKILL); out of memory?; trying again (1 of 1)") == 2
    assert set(states(here).values()) == {"finished"}
    assert all(len(read_table(run.tasks_json)) == 60 for run in find_runs(here / "runs"))


def test_retries_end(here, start):
    write_config(here / "cbp.json", num_tasks=2000)
    process = start("cbp.json", "--seeds", "1", "--retries", "0")
    [run] = find_runs(here / "runs")
    os.kill(run.read_status().pid, signal.SIGKILL)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "trying again" not in out
    assert states(here) == {"cbp/default/seed_000": "failed"}


def test_logs_shows_the_end_and_follows_until_the_run_ends(here):
    write_config(here / "cbp.json", num_tasks=30)
    assert lop("run", "cbp.json", "--seeds", "1").returncode == 0
    [run] = find_runs(here / "runs")
    whole = run.log.read_text().splitlines()
    assert len(whole) == 31
    assert lop("logs", "cbp", "-n", "3").stdout.splitlines() == whole[-3:]
    assert lop("logs", "cbp/default/0", "-n", "1000").stdout.splitlines() == whole
    assert lop("logs", "cbp", "-f", "-n", "1").stdout.splitlines() == whole[-1:]
    assert 'did you mean "cbp"' in lop("logs", "cpb").stderr


def test_logs_of_several_runs(here):
    for seed in range(2):
        make_run(here / "runs", "bp", seed)
    refused = lop("logs", "bp")
    assert refused.returncode == 2
    assert "names 2 runs with 2 logs; choose one of bp/default/seed_000, bp/default/seed_001" in refused.stderr
    assert "no log yet" in lop("logs", "bp/default/1").stderr


def test_rm_asks(here):
    make_run(here / "runs", "bp")
    refused = lop("rm", "bp", stdin=subprocess.DEVNULL)
    assert refused.returncode == 2
    assert "Say so with --yes" in refused.stderr
    assert states(here) == {"bp/default/seed_000": "finished"}


@pytest.mark.parametrize(
    ("selectors", "chosen"),
    [
        ([], ["a0", "a1", "a10", "b0", "c0"]),
        (["bp"], ["a0", "a1", "a10", "b0"]),
        (["bp/step_size=0.1"], ["a0", "a1", "a10"]),
        (["bp/*=0.1"], ["a0", "a1", "a10"]),
        (["0"], ["a0", "b0", "c0"]),
        (["seed_000"], ["a0", "b0", "c0"]),
        (["1-10"], ["a1", "a10"]),
        (["bp/0"], ["a0", "b0"]),
        (["*/*/1"], ["a1"]),
        (["cbp", "1"], ["a1", "c0"]),
        (["runs/bp/step_size=0.1/seed_010/"], ["a10"]),
        (["*bp"], ["a0", "a1", "a10", "b0", "c0"]),
    ],
)
def test_selectors(here, selectors, chosen):
    names = {"a": ("bp", "step_size=0.1"), "b": ("bp", "step_size=0.01"), "c": ("cbp", "default")}
    by_dir: dict[RunDir, str] = {}
    for name in ["a0", "a1", "a10", "b0", "c0"]:
        method, setting = names[name[0]]
        by_dir[make_run(here / "runs", method, int(name[1:]), setting=setting)] = name
    found = select(RunsReader(here / "runs").read(), selectors)
    assert sorted(by_dir[RunDir(view.dir.path)] for view in found) == sorted(chosen)


def test_selectors_that_name_nothing(here):
    make_run(here / "runs", "cbp")
    for command in (["stop", "cpb"], ["resume", "cpb"], ["rm", "cpb"]):
        refused = lop(*command)
        assert refused.returncode == 2
        assert '"cpb" names no run in runs; did you mean "cbp"? (there are cbp, cbp/default)' in refused.stderr
    assert "no runs in nowhere" in lop("stop", "cbp", "--runs-dir", "nowhere").stderr


def test_resume_of_what_cannot_be_read(here):
    run = make_run(here / "runs", "bp", state="stopped")
    config = json.loads(run.run_json.read_text())
    config["spec"]["step_szie"] = 1
    run.run_json.write_text(json.dumps(config))
    refused = lop("resume")
    assert refused.returncode == 2
    assert 'did you mean "step_size"' in refused.stderr
    assert "Traceback" not in refused.stderr
