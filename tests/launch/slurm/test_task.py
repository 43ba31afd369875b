"""What a task of the array does with its runs when it is warned, ended, killed or restarted."""

import os
import signal
import socket
import threading
import time

import pytest

from lop_engine import processes
from lop_engine.launch import stop_runs, take_up
from lop_engine.launch.slurm import task as task_module
from lop_engine.processes import Process
from lop_engine.runs.directory import RunDir
from lop_engine.runs.reading import RunsReader
from lop_engine.runs.records import RunStatus
from tests.broken_workers import workers
from tests.launch.slurm.tasks import documents, prepare, stand_in, task_of, wait_for_tasks

__all__ = ["workers"]


class RequeuedError(Exception):
    """Raised in place of submitit's exit."""


@pytest.fixture
def requeued(in_job):
    """Record every call of submitit's handler, which ends the job."""
    calls = []

    def requeue(number, frame):
        calls.append(number)
        raise RequeuedError

    signal.signal(signal.SIGUSR2, requeue)
    return calls


def signal_during_training(run_dir: RunDir, number: int, *more: tuple[int, float]) -> None:
    """Send this process a signal when a run has done some tasks, then those in `more` after their delays in seconds."""

    def send() -> None:
        wait_for_tasks(run_dir, 2)
        os.kill(os.getpid(), number)
        if number == signal.SIGTERM:  # Slurm sends it to all processes
            os.kill(run_dir.read_status().pid, number)
        for another, after_s in more:
            time.sleep(after_s)
            os.kill(os.getpid(), another)

    threading.Thread(target=send, daemon=True).start()


@pytest.mark.long
def test_a_task_that_is_warned_repeatedly_is_requeued_once_and_resumes(tmp_path, requeued):
    dirs, whole = (prepare(tmp_path / name, num_tasks=15, seeds=(0, 1)) for name in ("warned", "whole"))
    signal_during_training(dirs[0], signal.SIGUSR2, (signal.SIGUSR2, 0.1), (signal.SIGUSR2, 0.1))
    task = task_of(dirs)
    with pytest.raises(RequeuedError):
        task()
    assert requeued == [signal.SIGUSR2]
    assert [(run_dir.read_status().state, run_dir.read_status().job) for run_dir in dirs] == [("queued", "12_3")] * 2
    task.checkpoint().function()
    task_of(whole)()
    for ours, theirs in zip(dirs, whole, strict=True):
        assert ours.read_status().state == "finished"
        assert documents(ours) == documents(theirs)


def test_runs_requeued_by_a_task_can_be_resumed_elsewhere_after_its_job_ended(tmp_path, requeued, monkeypatch):
    [run_dir] = prepare(tmp_path, num_tasks=1000)
    signal_during_training(run_dir, signal.SIGUSR2)
    with pytest.raises(RequeuedError):
        task_of([run_dir])()
    monkeypatch.setattr(socket, "gethostname", lambda: "login")
    monkeypatch.setattr(processes, "process_with_pid", lambda pid: Process(pid, "login", "boot/1", 0.0))
    assert take_up([run_dir]).to_train == [run_dir]


def test_a_restarted_task_resumes_killed_runs_and_leaves_stopped_ones(tmp_path, in_job):
    killed, stopped = prepare(tmp_path, seeds=(0, 1))
    killed.write_status(RunStatus("running", num_tasks=3, pid=2**22 + 1, host="node7", job="12_3"))
    stopped.write_status(RunStatus("stopped", num_tasks=3, job="12_3"))
    task_of([killed, stopped])()
    assert killed.read_status().state == "finished"
    assert stopped.read_status().state == "stopped"


@pytest.mark.parametrize("state", ["queued", "running", "failed"])
def test_a_task_skips_runs_that_were_resubmitted_or_train_elsewhere(tmp_path, in_job, state):
    for job in ("13_0", None):
        [run_dir] = prepare(tmp_path / str(job))
        other = RunStatus(state, num_tasks=3, pid=2**22 + 1, host="node7", job=job)
        run_dir.write_status(other)
        task_of([run_dir])()
        assert run_dir.read_status() == other


@pytest.mark.parametrize(
    ("answer", "state", "note"),
    [
        ("echo JobId=7 Requeue=1 Restarts=1 BatchFlag=1", "queued", None),
        ("echo JobId=7 Requeue=1 Restarts=0 BatchFlag=1", "stopped", "job 12_3 was ended: cancelled, or out of time"),
        ("exit 1", "stopped", "job 12_3 was ended: Slurm did not say why"),
    ],
    ids=["pre-empted", "cancelled", "no answer"],
)
@pytest.mark.long
def test_an_ended_job_queues_its_runs_only_if_slurm_restarts_it(tmp_path, requeued, monkeypatch, answer, state, note):
    """Pre-emption without a warning and cancellation both send SIGTERM to all processes. A later warning is ignored."""
    stand_in(tmp_path / "bin", "scontrol", answer)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin", prepend=os.pathsep)
    monkeypatch.setattr(task_module, "ASK_AGAIN_S", 0.05)
    [run_dir] = prepare(tmp_path / "runs", num_tasks=1000)
    signal_during_training(run_dir, signal.SIGTERM, (signal.SIGUSR2, 0.1))
    task_of([run_dir])()
    assert not requeued
    assert (run_dir.read_status().state, run_dir.read_status().note) == (state, note)


def test_a_restarted_task_resumes_runs_that_its_last_turn_stopped_but_not_those_stopped_by_the_user(
    tmp_path, in_job, monkeypatch
):
    left, stopped_by_user = prepare(tmp_path, num_tasks=1, seeds=(0, 1))
    left.write_status(RunStatus("stopped", num_tasks=1, job="12_3"))
    stopped_by_user.write_status(RunStatus("queued", num_tasks=1, job="12_3"))
    monkeypatch.setenv("PATH", str(tmp_path))  # no scancel here
    views = [view for view in RunsReader(tmp_path).read().runs if view.seed == 1]
    stop_runs(views, views)
    task_of([left, stopped_by_user])()
    assert [run_dir.read_status().state for run_dir in (left, stopped_by_user)] == ["stopped", "stopped"]
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    task_of([left, stopped_by_user])()
    assert [run_dir.read_status().state for run_dir in (left, stopped_by_user)] == ["finished", "stopped"]


@pytest.mark.long
def test_a_task_whose_seeds_do_not_fit_together_trains_them_in_smaller_stacks(tmp_path, in_job, workers):
    workers(fits=1)
    dirs = prepare(tmp_path / "runs", seeds=(0, 1))
    task_of(dirs, retries=0)()
    for run_dir in dirs:
        status = run_dir.read_status()
        assert (status.state, status.log_of, status.error) == ("finished", f"default/seed_{run_dir.seed:03d}", None)
        assert len(documents(run_dir)) == 3
