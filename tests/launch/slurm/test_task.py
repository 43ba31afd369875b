"""What a task of the array does with its runs: warned, ended, killed, started again."""

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
    """In place of submitit's exit."""


@pytest.fixture
def requeued(in_job):
    """Every call of submitit's handler, which ends the job."""
    calls = []

    def requeue(number, frame):
        calls.append(number)
        raise RequeuedError

    signal.signal(signal.SIGUSR2, requeue)
    return calls


def signal_when_at_work(run_dir: RunDir, number: int, *more: tuple[int, float]) -> None:
    """Send this process a signal when a run has done some tasks, and `more` so many seconds after each other."""

    def send() -> None:
        wait_for_tasks(run_dir, 2)
        os.kill(os.getpid(), number)
        if number == signal.SIGTERM:  # Slurm sends that to all
            os.kill(run_dir.read_status().pid, number)
        for another, after_s in more:
            time.sleep(after_s)
            os.kill(os.getpid(), another)

    threading.Thread(target=send, daemon=True).start()


@pytest.mark.long
def test_a_task_that_is_warned_again_and_again_is_requeued_once_and_the_next_turn_goes_on(tmp_path, requeued):
    dirs, whole = (prepare(tmp_path / name, num_tasks=15, seeds=(0, 1)) for name in ("warned", "whole"))
    signal_when_at_work(dirs[0], signal.SIGUSR2, (signal.SIGUSR2, 0.1), (signal.SIGUSR2, 0.1))
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


def test_what_a_task_has_queued_again_can_be_resumed_elsewhere_when_its_job_is_gone(tmp_path, requeued, monkeypatch):
    [run_dir] = prepare(tmp_path, num_tasks=1000)
    signal_when_at_work(run_dir, signal.SIGUSR2)
    with pytest.raises(RequeuedError):
        task_of([run_dir])()
    monkeypatch.setattr(socket, "gethostname", lambda: "login")
    monkeypatch.setattr(processes, "process_with_pid", lambda pid: Process(pid, "login", "boot/1", 0.0))
    assert take_up([run_dir]).to_train == [run_dir]


def test_a_task_that_starts_again_takes_up_what_was_killed_and_leaves_what_was_stopped(tmp_path, in_job):
    killed, stopped = prepare(tmp_path, seeds=(0, 1))
    killed.write_status(RunStatus("running", num_tasks=3, pid=2**22 + 1, host="node7", job="12_3"))
    stopped.write_status(RunStatus("stopped", num_tasks=3, job="12_3"))
    task_of([killed, stopped])()
    assert killed.read_status().state == "finished"
    assert stopped.read_status().state == "stopped"


@pytest.mark.parametrize("state", ["queued", "running", "failed"])
def test_a_task_leaves_alone_what_was_submitted_again_or_trains_elsewhere_by_now(tmp_path, in_job, state):
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
def test_a_job_that_is_ended_queues_its_runs_only_if_slurm_starts_it_again(
    tmp_path, requeued, monkeypatch, answer, state, note
):
    """A pre-emption without a warning against a cancellation: both are SIGTERM for all. A warning comes too late."""
    stand_in(tmp_path / "bin", "scontrol", answer)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin", prepend=os.pathsep)
    monkeypatch.setattr(task_module, "ASK_AGAIN_S", 0.05)
    [run_dir] = prepare(tmp_path / "runs", num_tasks=1000)
    signal_when_at_work(run_dir, signal.SIGTERM, (signal.SIGUSR2, 0.1))
    task_of([run_dir])()
    assert not requeued
    assert (run_dir.read_status().state, run_dir.read_status().note) == (state, note)


def test_a_turn_takes_up_what_the_one_before_left_as_stopped_but_not_what_a_person_stopped(
    tmp_path, in_job, monkeypatch
):
    left, by_a_person = prepare(tmp_path, num_tasks=1, seeds=(0, 1))
    left.write_status(RunStatus("stopped", num_tasks=1, job="12_3"))
    by_a_person.write_status(RunStatus("queued", num_tasks=1, job="12_3"))
    monkeypatch.setenv("PATH", str(tmp_path))  # no scancel here
    views = [view for view in RunsReader(tmp_path).read().runs if view.seed == 1]
    stop_runs(views, views)
    task_of([left, by_a_person])()
    assert [run_dir.read_status().state for run_dir in (left, by_a_person)] == ["stopped", "stopped"]
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    task_of([left, by_a_person])()
    assert [run_dir.read_status().state for run_dir in (left, by_a_person)] == ["finished", "stopped"]


@pytest.mark.long
def test_a_task_whose_seeds_do_not_fit_together_trains_them_in_smaller_stacks(tmp_path, in_job, workers):
    workers(fits=1)
    dirs = prepare(tmp_path / "runs", seeds=(0, 1))
    task_of(dirs, retries=0)()
    for run_dir in dirs:
        status = run_dir.read_status()
        assert (status.state, status.log_of, status.error) == ("finished", f"default/seed_{run_dir.seed:03d}", None)
        assert len(documents(run_dir)) == 3
