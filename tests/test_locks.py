"""One writer a run: by a lock where the file system has them, by the status everywhere."""

import errno
import fcntl
import os
import socket
import threading
import time
from dataclasses import replace

import pytest

from lop_engine import locks, run_files
from lop_engine.errors import LaunchError, StoreError
from lop_engine.locks import LockedError, hold
from lop_engine.processes import start_of
from lop_engine.records import RunStatus
from lop_engine.run_files import RunFiles
from lop_engine.store import TableWriter, read_table
from tests.helpers import make_run


@pytest.fixture(params=[errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP], ids=errno.errorcode.get)
def no_locks(request, monkeypatch):
    """A file system as Lustre and NFS can be mounted."""

    def refuse(*_):
        raise OSError(request.param, "no locks here")

    monkeypatch.setattr(fcntl, "flock", refuse)


def test_without_locks_a_run_can_be_held_and_nothing_stays_that_would_bar_the_next(tmp_path, no_locks):
    run_dir = make_run(tmp_path, "bp", state="queued")
    for _ in range(2):
        with hold(run_dir):
            pass


def test_without_locks_a_run_that_is_trained_elsewhere_is_held(tmp_path, no_locks):
    run_dir = make_run(tmp_path, "bp", state="running", heartbeat_at=time.time())
    with pytest.raises(LockedError, match="is being trained now by process"), hold(run_dir):
        pass


def test_a_job_that_is_started_again_may_take_up_its_own_run(tmp_path, monkeypatch):
    run_dir = make_run(tmp_path, "bp", state="running")
    run_dir.write_status(replace(run_dir.read_status(), job="12_3"))
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "4")
    with pytest.raises(LockedError), hold(run_dir):
        pass
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    with hold(run_dir):
        pass


def test_without_locks_two_commands_in_one_job_do_not_train_the_same_run(tmp_path, no_locks, monkeypatch):
    run_dir = make_run(tmp_path, "bp", state="running")
    monkeypatch.setenv("ENVIRONMENT", "BATCH")
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    mine = {"job": "12", "host": socket.gethostname(), "pid": os.getpid(), "pid_start": start_of(os.getpid())}
    run_dir.write_status(replace(run_dir.read_status(), **mine))
    with pytest.raises(LockedError, match="is being trained now by process"), hold(run_dir):
        pass
    run_dir.write_status(replace(run_dir.read_status(), pid_start="an earlier process"))
    with hold(run_dir):
        pass


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ESTALE])
@pytest.mark.parametrize("call", ["flock", "open"])
def test_a_lock_that_cannot_be_had_is_not_taken_for_one_that_is_held(tmp_path, monkeypatch, call, number):
    run_dir = make_run(tmp_path, "bp")

    def fail(*_):
        raise OSError(number, "the reason")

    monkeypatch.setattr(*((fcntl, "flock") if call == "flock" else (locks.os, "open")), fail)
    with pytest.raises(LaunchError, match=r"\.seed_000\.lock: cannot be locked: the reason") as refused, hold(run_dir):
        pass
    assert not isinstance(refused.value, LockedError)


@pytest.fixture
def ours(tmp_path) -> RunFiles:
    run = RunFiles(make_run(tmp_path, "bp", state="queued", tasks_done=0))
    run.set_status(state="running", host="node1", pid=7, pid_started_at=1.0)
    return run


def take_over(run: RunFiles) -> RunStatus:
    """What the worker writes that took the run for lost."""
    theirs = replace(run.status, host="node2", pid=8, pid_started_at=2.0, tasks_done=3)
    run.dir.write_status(theirs)
    return theirs


def test_a_heartbeat_finds_that_another_worker_has_the_run_and_writes_nothing(ours):
    assert not ours.beat()
    theirs = take_over(ours)
    with pytest.raises(LockedError, match="taken over by process 8 on node2"):
        ours.beat()
    assert ours.dir.read_status() == theirs


def test_a_worker_that_stood_still_asks_before_it_records(ours, monkeypatch):
    ours.open_records(0, 0)
    ours.record_epoch(0, 0, {"test_accuracy": 0.5})
    take_over(ours)
    ours.record_epoch(0, 1, {"test_accuracy": 0.5})  # within a heartbeat nobody can have taken it for lost
    later = time.monotonic() + 100
    monkeypatch.setattr(run_files.time, "monotonic", lambda: later)
    with pytest.raises(LockedError, match="taken over"):
        ours.record_epoch(0, 2, {"test_accuracy": 0.5})
    assert len(read_table(ours.dir.epochs_json)) == 2


@pytest.mark.parametrize("lost", [None, (0, 1), (1, 0)])
def test_a_run_does_not_resume_from_epochs_that_lack_one_which_its_checkpoint_covers(ours, lost):
    """The file has documents behind the checkpoint, so that their number alone does not tell."""
    places = [(task, epoch) for task in range(3) for epoch in range(2)]
    with TableWriter(ours.dir.epochs_json, "epochs") as table:
        table.extend({"task": task, "epoch": epoch} for task, epoch in places if (task, epoch) != lost)
    if lost:
        with pytest.raises(
            StoreError, match=r"epochs\.json: an epoch is missing: .*task 1, epoch 1\) is not from before"
        ):
            ours.open_records(0, 3, (1, 1))
    else:
        ours.open_records(0, 3, (1, 1))
        assert ours.num_documents == (0, 3)


@pytest.mark.parametrize("spoilt", [{}, {"task": None, "epoch": 0}, {"task": 0, "epoch": "1"}])
def test_a_run_does_not_resume_from_an_epoch_without_its_place(ours, spoilt):
    with TableWriter(ours.dir.epochs_json, "epochs") as table:
        table.append(spoilt)
    with pytest.raises(StoreError, match=r"epochs\.json: an epoch is missing"):
        ours.open_records(0, 1, (1, 0))


def test_a_wish_to_stop_is_heard_and_the_heartbeat_goes_on(ours):
    ours.dir.write_status(replace(ours.dir.read_status(), state="stopped"))
    assert ours.beat()
    assert ours.dir.read_status().state == "running"


def test_the_holder_is_named(tmp_path):
    run_dir = make_run(tmp_path, "bp", state="queued")
    with hold(run_dir), pytest.raises(LockedError, match=f"process {os.getpid()} on .* since "), hold(run_dir, 0.1):
        pass


def test_a_command_that_holds_a_run_for_a_moment_is_waited_for(tmp_path):
    run_dir = make_run(tmp_path, "bp")
    with hold(run_dir):
        waiting = threading.Thread(target=lambda: hold(run_dir).__enter__())
        waiting.start()
        waiting.join(0.1)
        assert waiting.is_alive()
    waiting.join(10)
    assert not waiting.is_alive()


def test_the_lock_goes_with_the_run_and_leaves_no_empty_directory(tmp_path):
    run_dir = make_run(tmp_path, "bp")
    with hold(run_dir):
        run_dir.clear()
    assert list(tmp_path.iterdir()) == []


def test_whoever_waited_for_a_run_that_is_removed_has_the_lock_of_the_next_of_its_name(tmp_path):
    run_dir = make_run(tmp_path, "bp")
    with hold(run_dir):
        old = os.open(run_dir.lock, os.O_RDWR)
        run_dir.clear()
    fcntl.flock(old, fcntl.LOCK_EX)  # of a file that is gone: it keeps nobody out
    with hold(run_dir), pytest.raises(LockedError), hold(run_dir, 0.1):
        pass
    os.close(old)
