"""`lop stop`, `resume`, `logs` and `rm` on real runs."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import psutil
import pytest

from lop_engine.runs.directory import find_runs
from lop_engine.runs.reading import RunsReader
from lop_engine.runs.store import read_table
from lop_tui.commands.training import conclude, identities
from lop_tui.words.console import Console
from tests.cli.test_run import lop, write_config
from tests.helpers import make_run


@pytest.fixture
def start(here):
    """Start `lop run` and wait until a run has recorded a task; kill remaining processes at the end."""
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
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.05)


def states(here) -> dict[str, str]:
    return {view.dir.name: view.state for view in RunsReader(here / "runs").read().runs}


def without_times(path) -> list[dict]:
    return [{key: value for key, value in one.items() if key != "seconds"} for one in read_table(path)]


@pytest.mark.long
def test_stop_and_resume_lose_nothing(here, start):
    write_config(here / "cbp.json", num_tasks=60)  # no run ends before the stop
    process = start("cbp.json", "--seeds", "3", "--workers", "2", "--runs-per-worker", "1")
    stopped = lop("stop")
    assert stopped.returncode == 0, stopped.stderr
    assert "3 runs stopped; resume with lop resume" in stopped.stdout
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "stopped: by another command" in out
    assert set(states(here).values()) == {"stopped"}
    assert lop("stop").stdout.startswith("nothing to stop")
    resumed = lop("resume", "--workers", "2", "--runs-per-worker", "1")
    assert resumed.returncode == 0, resumed.stderr + resumed.stdout
    assert re.search(r"3 runs on 2 workers .*, 2 from checkpoints", resumed.stdout)
    assert set(states(here).values()) == {"finished"}
    assert "3 of 3 runs are finished already" in lop("resume").stdout
    whole = lop("run", "cbp.json", "--seeds", "0,1", "--runs-dir", "whole", "--workers", "2")
    assert whole.returncode == 0
    for mine, other in zip(find_runs(here / "runs"), find_runs(here / "whole"), strict=False):
        for name in ("tasks.json", "epochs.json"):
            assert without_times(mine.path / name) == without_times(other.path / name)


@pytest.mark.long
def test_a_second_command_waits_for_a_free_core(here, start):
    write_config(here / "cbp.json", num_tasks=4000)
    write_config(here / "bp.json", num_tasks=2, agent="bp")
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})  # the commands inherit it
    try:
        start("cbp.json", "--seeds", "1")
        command = [sys.executable, "-m", "lop_tui", "run", "bp.json", "--seeds", "1"]
        second = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    finally:
        os.sched_setaffinity(0, cores)
    assert any("waiting: other workers of runs use all cores" in line for line in second.stdout)
    [bp, cbp] = find_runs(here / "runs")
    assert (bp.read_status().state, cbp.read_status().state) == ("queued", "running")
    assert lop("stop", "cbp").returncode == 0
    out, _ = second.communicate(timeout=60)
    assert second.returncode == 0, out
    assert bp.read_status().started_at > cbp.read_status().heartbeat_at


@pytest.mark.long
def test_the_closing_table_counts_all_seeds_of_a_setting(here):
    write_config(here / "bp.json", num_tasks=2, agent="bp")
    assert lop("run", "bp.json", "--seeds", "1").returncode == 0
    row = "│ bp         │     3 │     2 │"
    assert row in lop("run", "bp.json", "--seeds", "1,2").stdout
    last = max(find_runs(here / "runs"))
    last.write_status(replace(last.read_status(), state="stopped"))
    assert row in lop("resume").stdout


@pytest.mark.long
def test_a_stopped_seed_leaves_its_worker_and_resumes_beside_it(here, start):
    write_config(here / "cbp.json", num_tasks=2000)
    start("cbp.json", "--seeds", "3", "--workers", "1", "--seeds-per-worker", "3")
    wait_for(lambda: set(states(here).values()) == {"running"})
    first, second, third = find_runs(here / "runs")
    stopped = lop("stop", "cbp/default/1")
    assert stopped.stdout.startswith("1 run stopped"), stopped.stdout + stopped.stderr
    assert states(here) == {first.name: "running", second.name: "stopped", third.name: "running"}
    num_tasks = len(read_table(second.tasks_json))
    before = len(read_table(third.tasks_json))
    wait_for(lambda: len(read_table(third.tasks_json)) > before + 2)
    assert len(read_table(second.tasks_json)) == num_tasks
    assert second.read_status().tasks_done == num_tasks
    refused = lop("run", "cbp.json", "--seeds", "3")
    assert refused.returncode == 2
    assert "is being trained now" in refused.stderr
    resumed = lop("resume", "cbp/default/1", "--detach")
    assert resumed.returncode == 0, resumed.stderr
    wait_for(lambda: len(read_table(second.tasks_json)) > num_tasks + 2)
    assert second.read_status().pid != first.read_status().pid
    assert lop("stop", "--now").returncode == 0
    assert set(states(here).values()) == {"stopped"}
    for run_dir in (first, second, third):
        assert [one["task"] for one in read_table(run_dir.tasks_json)] == list(range(run_dir.read_status().tasks_done))


@pytest.mark.long
def test_stopping_a_setting_stops_its_worker_and_no_other(here, start):
    write_config(here / "cbp.json", num_tasks=2000)
    write_config(here / "bp.json", num_tasks=2000, agent="bp")
    start("cbp.json", "bp.json", "--seeds", "2", "--workers", "2", "--runs-per-worker", "2")
    wait_for(lambda: set(states(here).values()) == {"running"})
    assert lop("stop", "cbp").returncode == 0
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


@pytest.mark.long
def test_a_worker_that_dies_is_reported_and_its_seeds_are_tried_again(here, start):
    write_config(here / "cbp.json", num_tasks=20)
    process = start("cbp.json", "--seeds", "2", "--workers", "1", "--runs-per-worker", "2")
    [pid] = {run.read_status().pid for run in find_runs(here / "runs")}
    os.kill(pid, signal.SIGKILL)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, out
    assert out.count("worker killed by signal 9 (SIGKILL); out of memory?; trying again (1 of 1)") == 2
    assert set(states(here).values()) == {"finished"}
    assert all(len(read_table(run.tasks_json)) == 20 for run in find_runs(here / "runs"))


def test_without_retries_a_killed_worker_fails_its_run(here, start):
    write_config(here / "cbp.json", num_tasks=2000)
    process = start("cbp.json", "--seeds", "1", "--retries", "0")
    [run] = find_runs(here / "runs")
    os.kill(run.read_status().pid, signal.SIGKILL)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "trying again" not in out
    assert states(here) == {"cbp/default/seed_000": "failed"}


def test_names_that_match_no_run_are_refused(here):
    make_run(here / "runs", "cbp")
    for command in (["stop", "cpb"], ["resume", "cpb"], ["rm", "cpb"]):
        refused = lop(*command)
        assert refused.returncode == 2
        assert '"cpb" names no run in runs; did you mean "cbp"? (there are cbp, cbp/default)' in refused.stderr
    assert "no runs in nowhere" in lop("stop", "cbp", "--runs-dir", "nowhere").stderr


def test_resume_refuses_an_invalid_run_json(here):
    run = make_run(here / "runs", "bp", state="stopped")
    config = json.loads(run.run_json.read_text())
    config["spec"]["step_szie"] = 1
    run.run_json.write_text(json.dumps(config))
    refused = lop("resume")
    assert refused.returncode == 2
    assert 'did you mean "step_size"' in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.long
def test_a_path_or_experiment_name_does_not_select_other_experiments_of_the_same_method(here):
    write_config(here / "cbp.json", num_tasks=1)
    write_config(here / "cbp_slow.json", num_tasks=1)
    assert lop("run", "cbp.json", "cbp_slow.json", "--seeds", "1").returncode == 0
    assert lop("rm", "runs/cbp/default/seed_000", "--yes").stdout == "1 run removed\n"
    assert list(states(here)) == ["cbp_slow/default/seed_000"]
    refused = lop("rm", "", "--yes")
    assert refused.returncode == 2
    assert lop("rm", "cbp", "--yes").stdout == "1 run removed\n"  # no experiment has this name, so it means the method


def test_a_stop_while_a_detached_launcher_starts_is_obeyed(here):
    write_config(here / "cbp.json", num_tasks=4000)
    for pause_s in (0, 0.6):
        assert (
            lop(
                "run",
                "cbp.json",
                "--seeds",
                "2",
                "--workers",
                "1",
                "--runs-per-worker",
                "1",
                "--detach",
                "--fresh",
                "--yes",
            ).returncode
            == 0
        )
        time.sleep(pause_s)
        assert lop("stop").returncode == 0
        wait_for(lambda: not workers_of(here))
        time.sleep(1.5)
        assert set(states(here).values()) == {"stopped"}
        assert not workers_of(here)


@pytest.mark.long
def test_resume_in_the_background_queues_the_named_runs_and_returns(here):
    write_config(here / "cbp.json", num_tasks=3)
    assert lop("run", "cbp.json", "--seeds", "3").returncode == 0
    for run in find_runs(here / "runs"):
        status = json.loads(run.status_json.read_text())
        run.status_json.write_text(json.dumps(status | {"state": "stopped"}))
    refused = lop("resume", "--detach", "--device", "cuda:7")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert set(states(here).values()) == {"stopped"}
    resumed = lop("resume", "cbp/default/0", "cbp/default/1", "--detach")
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout.startswith("2 runs, 2 from checkpoints\ntraining in the background (process ")
    assert not set(list(states(here).values())[:2]) & {"stopped", "lost", "failed"}
    wait_for(lambda: not workers_of(here))
    assert list(states(here).values()) == ["finished", "finished", "stopped"]
    assert lop("resume", "cbp/default/0", "--detach").stdout.endswith("nothing to resume\n")


def workers_of(here) -> list[int]:
    """Return lop's processes whose working directory is this one: launchers and workers."""
    pids = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            command = process.cmdline()
            if any(word in ("lop_tui", "lop_engine.worker") for word in command) and process.cwd() == str(here):
                pids.append(process.pid)
    return pids


def test_a_second_signal_does_not_interrupt_a_clean_end(here, start):
    write_config(here / "cbp.json", num_tasks=2000)
    process = start("cbp.json", "--seeds", "2", "--workers", "1", "--runs-per-worker", "2")
    [pid] = {run.read_status().pid for run in find_runs(here / "runs")}
    for _ in range(3):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGALRM)
        time.sleep(0.004)
    out, _ = process.communicate(timeout=30)
    assert "trying again" not in out
    assert set(states(here).values()) == {"stopped"}


@pytest.mark.long
def test_a_running_run_with_damaged_records_can_be_stopped(here, start):
    write_config(here / "cbp.json", num_tasks=2000)
    start("cbp.json", "--seeds", "1")
    [run] = find_runs(here / "runs")
    wait_for(lambda: len(read_table(run.tasks_json)) > 3)
    with open(run.tasks_json, "r+b") as file:
        file.seek(30)
        file.write(b"\x00" * 20)
    stopped = lop("stop", "cbp")
    assert "1 run stopped" in stopped.stdout
    assert run.read_status().state == "stopped"


@pytest.mark.long
def test_an_unreadable_run_does_not_block_the_others(here):
    write_config(here / "cbp.json", num_tasks=2)
    assert lop("run", "cbp.json", "--seeds", "2").returncode == 0
    first, second = find_runs(here / "runs")
    first.status_json.write_text("{")
    status = json.loads(second.status_json.read_text())
    second.status_json.write_text(json.dumps(status | {"state": "stopped"}))
    resumed = lop("resume")
    assert resumed.returncode == 0, resumed.stderr
    assert "left out: cbp/default/seed_000" in resumed.stdout
    assert second.read_status().state == "finished"


@pytest.mark.long
def test_resume_refuses_missing_records_and_missing_checkpoints(here):
    write_config(here / "cbp.json", num_tasks=2)
    assert lop("run", "cbp.json", "--seeds", "1").returncode == 0
    [run] = find_runs(here / "runs")
    records = run.tasks_json.read_bytes()
    run.tasks_json.unlink()
    assert "tasks.json holds 0 of 2 finished tasks; restore it from a backup" in lop("doctor").stdout
    run.tasks_json.write_bytes(records)
    run.checkpoint.unlink()
    run.previous_checkpoint.unlink()
    status = json.loads(run.status_json.read_text())
    run.status_json.write_text(json.dumps(status | {"state": "stopped"}))
    ended = lop("resume")
    assert ended.returncode == 1
    assert "checkpoint.pt: missing, so the run cannot resume; its records are kept (2 finished tasks, " in ended.stdout
    assert "--fresh" not in ended.stdout
    assert run.tasks_json.read_bytes() == records


def test_a_run_started_over_by_another_command_is_not_counted_as_trained(here, capsys):
    same, replaced, gone = (make_run(here / "runs", "bp", seed) for seed in range(3))
    planned = identities([same, replaced, gone])
    config = json.loads(replaced.run_json.read_text())
    replaced.run_json.write_text(json.dumps(config | {"id": "another"}))
    shutil.rmtree(gone.path)
    assert conclude(Console(), here / "runs", planned) == 1
    output = capsys.readouterr().out
    assert "bp/default/seed_001 was started over by another lop command" in output
    assert "bp/default/seed_002: its directory is gone" in output
    assert "seed_000" not in output
