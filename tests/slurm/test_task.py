"""What a task of the array does with its runs: warned, ended, killed, started again."""

import os
import signal
import threading

import pytest

from lop_engine.records import RunStatus
from tests.slurm.tasks import documents, prepare, task_of, wait_for_tasks


def test_a_task_that_is_warned_queues_its_runs_again_and_the_next_goes_on(tmp_path, in_job):
    dirs, whole = (prepare(tmp_path / name, num_tasks=25, seeds=(0, 1)) for name in ("warned", "whole"))
    task = task_of(dirs)
    handed_on = []

    class Requeued(BaseException):
        pass

    def warned(number, frame):  # as submitit does it
        handed_on.append(task.checkpoint())
        raise Requeued

    def warn_when_at_work():
        wait_for_tasks(dirs[0], 2)
        os.kill(os.getpid(), signal.SIGUSR2)

    signal.signal(signal.SIGUSR2, warned)
    threading.Thread(target=warn_when_at_work, daemon=True).start()
    with pytest.raises(Requeued):
        task()
    assert [(run_dir.read_status().state, run_dir.read_status().job) for run_dir in dirs] == [("queued", "12_3")] * 2
    again = handed_on[0].function
    again()
    task_of(whole)()
    for ours, theirs in zip(dirs, whole, strict=True):
        assert ours.read_status().state == "finished"
        assert documents(ours) == documents(theirs)
    assert again.checkpoint() is None  # nothing is left to do


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


@pytest.mark.parametrize(("restarts", "state"), [(1, "queued"), (0, "stopped")])
def test_a_job_that_is_ended_queues_its_runs_only_if_slurm_starts_it_again(
    tmp_path, in_job, monkeypatch, restarts, state
):
    """A pre-emption without a warning against a cancellation: both are SIGTERM for all."""
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f"#!/bin/sh\necho JobId=7 Requeue=1 Restarts={restarts} BatchFlag=1\n")
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    [run_dir] = prepare(tmp_path / "runs", num_tasks=1000)

    def end_when_at_work():
        wait_for_tasks(run_dir, 1)
        for pid in (os.getpid(), run_dir.read_status().pid):
            os.kill(pid, signal.SIGTERM)

    threading.Thread(target=end_when_at_work, daemon=True).start()
    task_of([run_dir])()
    status = run_dir.read_status()
    assert status.state == state
    assert (status.note is not None) == (state == "stopped")
