"""`lop run --launcher slurm` on a real Slurm, whose jobs are preempted, killed, requeued and cancelled."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from lop_engine.launch import ending as stopping
from lop_engine.launch import stop_runs, wait_for_status
from lop_engine.runs.directory import RunDir, find_runs
from lop_engine.runs.reading import RunsReader
from lop_engine.runs.store import read_table
from lop_engine.runs.views import RunView
from tests.cluster.jobs import slurm, submit, wait_for, wait_until_ended
from tests.cluster.test_worker_under_slurm import documents
from tests.helpers import TINY, tiny

LONG = {"num_tasks": 80, "num_showings": 2, "metrics_every": 1, "checkpoint_every_s": 0.5}


@pytest.fixture
def here(tmp_path, monkeypatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for method in ("bp", "cbp"):
        (tmp_path / f"{method}.json").write_text(json.dumps(tiny(agent=method, **LONG)))
    yield tmp_path
    subprocess.run(["scancel", "--user", str(os.getuid())], check=True, timeout=30)
    wait_for(lambda: not slurm("squeue", "-h", "-t", "pending,running,completing"))


def lop(*words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, "-m", "lop_tui", *words], capture_output=True, text=True, timeout=300)
    assert done.returncode == status, done.stdout + done.stderr
    return done


def on_cluster(*words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    command, *others = words
    time_limit = [] if any(word.startswith("time=") for word in others) else ["--slurm", "time=30"]
    return lop(command, "--launcher", "slurm", *time_limit, *others, status=status)


def views() -> tuple[RunView, ...]:
    return RunsReader(Path("runs")).read().runs


def states() -> dict[RunDir, str]:
    return {view.dir: view.state for view in views()}


def wait_for_runs(condition: Callable[[list[str]], bool], limit_s: float = 100) -> None:
    try:
        wait_for(lambda: condition(list(states().values())), limit_s)
    except AssertionError:
        queue = slurm("squeue", "-r", "-t", "all", "-o", "%i %T %r")
        raise AssertionError(f"{[(view.dir.name, view.state, view.job_note) for view in views()]}\n{queue}") from None


def tasks_of(run_dir: RunDir) -> int:
    return len(read_table(run_dir.tasks_json)) if run_dir.tasks_json.exists() else 0


def a_run_in_progress(but_not: set[str]) -> RunDir:
    """Return a run that has finished some tasks and trains the next, whose job was not yet disturbed."""
    run_dirs: list[RunDir] = []

    def look() -> bool:
        for run_dir in find_runs(Path("runs")):
            status = run_dir.read_status()
            if status.state == "running" and status.job not in but_not and 2 <= tasks_of(run_dir) < 60:
                run_dirs.append(run_dir)
        return bool(run_dirs)

    wait_for(look, 60)
    return run_dirs[0]


@pytest.mark.timeout(600)
def test_preempted_killed_and_requeued_jobs_record_the_same_as_local_runs(here):
    """The jobs of six seeds of two methods are preempted, killed, requeued by hand and warned of their time limit."""
    output = on_cluster("run", "bp.json", "cbp.json", "--seeds", "6").stdout
    assert "12 tasks of 2 job arrays" in output  # this cluster allows 8 tasks in an array
    touched: set[str] = set()

    killed = a_run_in_progress(touched)
    os.kill(killed.read_status().pid, signal.SIGKILL)
    touched.add(killed.read_status().job)

    requeued = a_run_in_progress(touched).read_status().job
    slurm("scontrol", "requeue", requeued)
    touched.add(requeued)

    warned = a_run_in_progress(touched).read_status()
    psutil.Process(warned.pid).parent().send_signal(signal.SIGUSR2)  # as Slurm warns the batch process
    touched.add(warned.job)

    a_run_in_progress(touched)
    urgent = submit(["sleep", "3"], "--partition=high", "--cpus-per-task=3")
    assert wait_until_ended(urgent, 90) == "COMPLETED"

    wait_for_runs(lambda states: set(states) == {"finished"}, 150)
    assert_as_here("bp.json", "cbp.json", "--seeds", "6")
    restarts = slurm("squeue", "-h", "-r", "-t", "all", "-o", "%i %T")
    assert "FAILED" not in restarts


def test_runs_of_a_failed_node_resume_where_slurm_restarts_their_job(here):
    on_cluster("run", "bp.json", "--seeds", "2", "--slurm", "cpus=2")
    a_run_in_progress(set())
    assert len({view.status.job for view in views()}) == 1
    assert len({view.status.pid for view in views()}) == 2
    slurm("scontrol", "update", "nodename=localhost", "state=down", "reason=tried")
    wait_for_runs(lambda states: "queued" in states)
    assert "BeginTime" in lop("status").stdout
    wait_for_runs(lambda states: set(states) == {"finished"})
    assert_as_here("bp.json", "--seeds", "2")


def assert_as_here(*words: str) -> None:
    """Compare the records of all runs with those of the same runs trained locally."""
    lop("run", *words, "--runs-dir", "here")
    for ours, theirs in zip(find_runs(Path("runs")), find_runs(Path("here")), strict=True):
        assert documents(ours) == documents(theirs), ours.name


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--slurm", "partition=nowhere"], "invalid partition specified: nowhere"),
        (["--slurm", "memory=9000G"], "node configuration is not available"),
        (["--slurm", "partitoin=low"], 'unknown option "partitoin"; did you mean "partition"?'),
        (["--slurm", "time=soon"], 'time "soon"'),
        (["--slurm", "time=61"], "time=61 (1:01:00) is too long: partition low allows 1:00:00"),
        (
            ["--slurm", "partition=short,high", "--slurm", "time=2:00:00"],
            "partition high allows 1:00:00, partition short",
        ),
        (["--slurm", "partition=short", "--slurm", "time=1"], "time=1 (0:01:00) is too short: a job needs"),
        (["--slurm", "cpus=5"], "node configuration is not available"),
    ],
)
def test_options_that_the_cluster_refuses_are_reported_in_one_line_before_anything_is_written(here, words, message):
    refused = on_cluster("run", "bp.json", "--seeds", "2", *words, status=2)
    assert message in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert not (here / "runs").exists()
    assert not slurm("squeue", "-h")


def test_a_dry_run_shows_the_script_and_submits_nothing(here):
    output = on_cluster("run", "bp.json", "--seeds", "3", "--slurm", "partition=high", "--dry-run").stdout
    for line in ("--array=0-2%3", "--partition=high", "--time=30", "--signal=B:USR2@90", "--requeue"):
        assert f"#SBATCH {line}\n" in output
    assert not (here / "runs").exists()
    assert not slurm("squeue", "-h")


def test_a_job_without_a_time_gets_the_limit_of_its_partition_and_starts(here):
    """It also trains when its setup script unsets the variables that distinguish a job from an interactive shell."""
    setup = "unset SLURM_LOCALID SLURM_PROCID SLURM_NODEID SLURM_NTASKS ENVIRONMENT"
    (here / "tiny.json").write_text(json.dumps(TINY))
    for partition, limit in {"low": "1:00:00", "short": "0:10:00", "short,low": "0:10:00"}.items():
        words = ["run", "tiny.json", "--launcher", "slurm", "--slurm", f"partition={partition}", "--dry-run"]
        assert f"({limit}), the limit of partition {partition.partition(',')[0]}" in lop(*words).stdout
    output = lop("run", "tiny.json", "--seeds", "1", "--launcher", "slurm", "--slurm", f"setup={setup}").stdout
    assert "note: no time given; asking for time=60 (1:00:00), the limit of partition low" in output
    [job] = {view.status.job for view in views()}
    assert "TimeLimit=01:00:00" in slurm("scontrol", "show", "job", job)
    wait_for_runs(lambda states: states == ["finished"])
    assert views()[0].status.job == job


def test_the_reason_why_jobs_will_wait_is_printed_and_they_are_submitted(here):
    (here / "tiny.json").write_text(json.dumps(TINY))
    assert (
        "partition closed is DOWN" in on_cluster("run", "tiny.json", "--slurm", "partition=closed", "--dry-run").stdout
    )
    slurm("scontrol", "update", "nodename=localhost", "state=drain", "reason=tried")
    try:
        output = on_cluster("run", "tiny.json", "--seeds", "1").stdout
        assert "no node can start a task now (localhost drained): the jobs wait until one is back" in output
    finally:
        slurm("scontrol", "update", "nodename=localhost", "state=resume")
    wait_for_runs(lambda states: states == ["finished"])


def test_a_run_in_an_interactive_allocation_is_a_local_run(here):
    (here / "tiny.json").write_text(json.dumps(TINY))
    run = [sys.executable, "-m", "lop_tui", "run", "tiny.json", "--seeds", "1"]
    subprocess.run(["salloc", "--time=5", *run], check=True, timeout=100, capture_output=True)
    subprocess.run(["srun", "--time=5", *run, "--runs-dir", "step"], check=True, timeout=100, capture_output=True)
    for runs_dir in ("runs", "step"):
        [run_dir] = find_runs(Path(runs_dir))
        assert (run_dir.read_status().state, run_dir.read_status().job) == ("finished", None)


def test_stop_ends_running_and_pending_jobs_and_resume_submits_them_again(here):
    (here / "lop.toml").write_text('[slurm]\npartition = "low"\narray_parallelism = 1\n')
    on_cluster("run", "bp.json", "--seeds", "2")
    wait_for_runs(lambda now: sorted(now) == ["queued", "running"])
    waiting = json.loads(lop("status", "--json").stdout)["runs"][1]
    assert "JobArrayTaskLimit" in waiting["job_note"]
    assert "1 running, 1 queued" in lop("watch", "--once").stdout
    wait_for(lambda: "from task 0, epoch 0" in lop("logs", "bp/default/0").stdout)
    lop("stop")
    assert set(states().values()) == {"stopped"}
    wait_for(lambda: not slurm("squeue", "-h", "-t", "pending,running"), 30)
    refused = lop("run", "bp.json", "--seeds", "2", status=2).stderr
    assert "was submitted to Slurm: resume there with --launcher slurm, or on this machine with" in refused
    lop("resume")  # in the same partition, with the same options
    assert {view.status.job_options[0] for view in views()} == {"time=30"}
    assert "TimeLimit=00:30:00" in slurm("scontrol", "show", "job", views()[0].status.job)
    wait_for_runs(lambda now: sorted(now) == ["queued", "running"])
    for again in (lop("resume").stdout, on_cluster("run", "bp.json", "--seeds", "1-1", "--slurm", "cpus=2").stdout):
        assert "have a job in Slurm's queue already" in again
    wait_for_runs(lambda now: set(now) == {"finished"})


def test_a_worker_on_another_node_is_stopped_through_its_status(here, monkeypatch):
    on_cluster("run", "bp.json", "--seeds", "1")
    wait_for_runs(lambda states: states == ["running"])
    monkeypatch.setattr(stopping.socket, "gethostname", lambda: "the-login-node")
    states = views()
    plan = stop_runs(states, states)
    assert [run_dir.seed for run_dir in plan.by_status] == [0]
    assert not plan.signalled
    assert not wait_for_status(plan.by_status)
    monkeypatch.undo()
    wait_for(lambda: not slurm("squeue", "-h", "-t", "pending,running"), 30)


def test_the_status_of_a_run_names_a_cancelled_or_killed_job(here):
    on_cluster("run", "bp.json", "cbp.json", "--seeds", "1")
    wait_for_runs(lambda states: set(states) == {"running"})
    cancelled, killed = find_runs(Path("runs"))
    slurm("scancel", cancelled.read_status().job)
    worker = psutil.Process(killed.read_status().pid)
    for process in (worker.parent(), worker):
        process.kill()
    wait_for_runs(lambda states: states == ["stopped", "lost"])
    wait_for(lambda: cancelled.read_status().note)
    output = lop("status").stdout
    assert f"{cancelled.name}: job {cancelled.read_status().job} was ended: cancelled" in output
    assert f"{killed.read_status().job} ended: FAILED" in output
    lop("resume")
    wait_for_runs(lambda states: set(states) == {"finished"})
