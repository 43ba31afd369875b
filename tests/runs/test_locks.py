"""Each run has one writer, ensured by a lock if the file system has locks, and by the status."""

import errno
import fcntl
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from lop_engine.errors import LaunchError, StoreError
from lop_engine.launch import ending as stop
from lop_engine.processes import start_of
from lop_engine.runs import files as run_files
from lop_engine.runs import locks
from lop_engine.runs.directory import RunDir
from lop_engine.runs.files import RunFiles
from lop_engine.runs.locks import LockedError, hold, hold_together
from lop_engine.runs.records import RunStatus
from lop_engine.runs.store import TableWriter, read_table
from tests.helpers import make_run


@pytest.fixture(params=[errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP], ids=errno.errorcode.get)
def no_locks(request, monkeypatch):
    """Make locks fail as on Lustre and NFS mounted without them."""

    def refuse(*_):
        raise OSError(request.param, "no locks here")

    monkeypatch.setattr(fcntl, "flock", refuse)


def test_without_locks_a_run_can_be_held_and_released(tmp_path, no_locks):
    run_dir = make_run(tmp_path, "bp", state="queued")
    for _ in range(2):
        with hold(run_dir):
            pass


def test_without_locks_a_run_trained_elsewhere_counts_as_held(tmp_path, no_locks):
    run_dir = make_run(tmp_path, "bp", state="running", heartbeat_at=time.time())
    with pytest.raises(LockedError, match="is being trained now by process"), hold(run_dir):
        pass


def test_a_restarted_job_may_resume_its_own_run(tmp_path, monkeypatch):
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
def test_a_failure_to_lock_is_not_reported_as_a_held_lock(tmp_path, monkeypatch, call, number):
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
    """Write the status of a worker that took over a run that it considered lost."""
    theirs = replace(run.status, host="node2", pid=8, pid_started_at=2.0, tasks_done=3)
    run.dir.write_status(theirs)
    return theirs


def test_a_heartbeat_of_a_run_that_another_worker_took_over_writes_nothing(ours):
    assert not ours.beat()
    theirs = take_over(ours)
    with pytest.raises(LockedError, match="taken over by process 8 on node2"):
        ours.beat()
    assert ours.dir.read_status() == theirs


def test_a_worker_that_was_suspended_checks_its_run_before_it_records(ours, monkeypatch):
    ours.open_records(0, 0)
    ours.record_epoch(0, 0, {"test_accuracy": 0.5})
    take_over(ours)
    ours.record_epoch(0, 1, {"test_accuracy": 0.5})  # within a heartbeat no other worker can consider it lost
    later = time.monotonic() + 100
    monkeypatch.setattr(run_files.time, "monotonic", lambda: later)
    with pytest.raises(LockedError, match="taken over"):
        ours.record_epoch(0, 2, {"test_accuracy": 0.5})
    assert len(read_table(ours.dir.epochs_json)) == 2


@pytest.mark.parametrize("lost", [None, (0, 1), (1, 0)])
def test_a_run_does_not_resume_from_epochs_that_lack_one_which_its_checkpoint_covers(ours, lost):
    """The file also has documents after the checkpoint, so counting documents does not detect the gap."""
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
def test_a_run_does_not_resume_from_an_epoch_without_task_and_number(ours, spoilt):
    with TableWriter(ours.dir.epochs_json, "epochs") as table:
        table.append(spoilt)
    with pytest.raises(StoreError, match=r"epochs\.json: an epoch is missing"):
        ours.open_records(0, 1, (1, 0))


def test_a_request_to_stop_is_read_by_the_heartbeat_which_continues(ours):
    ours.dir.write_status(replace(ours.dir.read_status(), state="stopped"))
    assert ours.beat()
    assert ours.dir.read_status().state == "running"


def test_a_stop_request_written_over_the_last_status_counts_as_an_end(tmp_path):
    run_dir = make_run(tmp_path, "bp", state="stopped")
    run_dir.write_status(replace(run_dir.read_status(), note=stop.STOP_REQUEST))
    with hold(run_dir):  # its worker still runs
        assert stop.wait_for_status([run_dir], -1.9) == [run_dir]
    assert stop.wait_for_status([run_dir]) == []


def test_a_refused_lock_names_its_holder(tmp_path):
    run_dir = make_run(tmp_path, "bp", state="queued")
    with hold(run_dir), pytest.raises(LockedError, match=f"process {os.getpid()} on .* since "), hold(run_dir, 0.1):
        pass


def test_a_briefly_held_lock_is_waited_for(tmp_path):
    run_dir = make_run(tmp_path, "bp")
    with hold(run_dir):
        waiting = threading.Thread(target=lambda: hold(run_dir).__enter__())
        waiting.start()
        waiting.join(0.1)
        assert waiting.is_alive()
    waiting.join(10)
    assert not waiting.is_alive()


def test_the_lock_file_is_removed_with_its_run_and_leaves_no_empty_directory(tmp_path):
    run_dir = make_run(tmp_path, "bp")
    with hold(run_dir):
        run_dir.clear()
    assert list(tmp_path.iterdir()) == []


def test_the_lock_of_a_removed_run_does_not_block_a_new_run_of_its_name(tmp_path):
    run_dir = make_run(tmp_path, "bp")
    with hold(run_dir):
        old = os.open(run_dir.lock, os.O_RDWR)
        run_dir.clear()
    fcntl.flock(old, fcntl.LOCK_EX)  # the lock of a removed file blocks no one
    with hold(run_dir), pytest.raises(LockedError), hold(run_dir, 0.1):
        pass
    os.close(old)


@pytest.fixture
def stack(tmp_path) -> list[RunDir]:
    """Make runs of two settings."""
    settings = ("step_size=0.1", "step_size=0.2")
    return [make_run(tmp_path, "bp", seed, setting=one, state="queued") for one in settings for seed in range(10)]


def num_open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def refuse_all(stack: list[RunDir]) -> None:
    for run_dir in stack:
        with pytest.raises(LockedError, match="another lop command is changing it"), hold(run_dir, 0):
            pass


def hold_each(stack: list[RunDir]) -> None:
    """Hold all runs at once, each with its own lock."""
    with ExitStack() as locks:
        for run_dir in stack:
            locks.enter_context(hold(run_dir, 0))


def test_a_stack_is_held_with_one_open_file_and_released_run_by_run(stack):
    before = num_open_files()
    with hold_together(stack):
        assert num_open_files() == before + 1
        refuse_all(stack)
    assert num_open_files() == before
    hold_each(stack)
    assert [path for path in stack[0].path.parents[2].rglob(".*") if path.suffix != ".lock"] == []


def test_a_stack_can_lock_runs_that_were_divided_into_other_stacks_before(stack):
    with hold_together(stack):
        pass
    with hold_together(stack[5:15]):
        refuse_all(stack[5:15])
        hold_each(stack[:5] + stack[15:])


def test_a_stack_that_cannot_lock_all_its_runs_holds_none(stack):
    with hold(stack[12]), pytest.MonkeyPatch.context() as patch:
        patch.setattr(locks, "PATIENCE_S", 0)
        with pytest.raises(LockedError, match=stack[12].name), hold_together(stack):
            pass
    hold_each(stack)


def test_the_locks_of_a_stack_are_released_when_its_process_is_killed(stack):
    script = """import sys; from pathlib import Path
from lop_engine.runs.locks import hold_together
from lop_engine.runs.directory import RunDir
with hold_together([RunDir(Path(path)) for path in sys.argv[1:]]):
    print("held", flush=True)
    sys.stdin.read()"""
    command = [sys.executable, "-c", script, *(str(run_dir.path) for run_dir in stack)]
    root = Path(locks.__file__).parents[2]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(root)}, **pipes) as process:
        assert process.stdout.readline() == b"held\n"
        refuse_all(stack)
        process.kill()
    hold_each(stack)


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.EXDEV, errno.EMLINK, errno.ENOSPC])
def test_locks_that_cannot_be_joined_are_held_separately(stack, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, "no hard links here")

    monkeypatch.setattr(os, "link", refuse)
    with hold_together(stack):
        refuse_all(stack)
    hold_each(stack)


def test_a_lock_file_that_was_removed_by_hand_is_not_joined(stack):
    joined = locks.join

    def remove_first(*args):
        stack[0].lock.unlink(missing_ok=True)
        stack[0].lock.touch()
        return joined(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(locks, "join", remove_first)
        with hold_together(stack):
            refuse_all(stack[1:])


def test_a_process_waiting_for_a_run_that_joined_a_stack_waits_for_the_stack(stack):
    with hold(stack[1]):
        waiting = os.open(stack[1].lock, os.O_RDWR)
    opened = os.open
    with hold_together(stack), pytest.MonkeyPatch.context() as patch:
        patch.setattr(locks.os, "open", lambda *args: first.pop() if first else opened(*args))
        first = [waiting]
        with pytest.raises(LockedError), hold(stack[1], 0):
            pass
        assert not first


def test_the_lock_files_of_a_stack_are_removed_with_its_runs(tmp_path, stack):
    with hold_together(stack):
        for run_dir in stack:
            run_dir.clear()
    assert list(tmp_path.iterdir()) == []
