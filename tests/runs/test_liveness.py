"""Whether a run's worker is alive: decided by its process on this host, elsewhere by the age of its status file."""

import os
import subprocess
import sys
import time

import psutil
import pytest

from lop_engine.runs.directory import RunDir
from lop_engine.runs.liveness import FileClock, is_alive, observe
from lop_engine.runs.records import RunStatus
from tests.helpers import running


@pytest.fixture
def observed(tmp_path):
    """Return a function that gives the state that a reader infers from a status."""
    run_dir = RunDir(tmp_path / "bp" / "default" / "seed_000")
    run_dir.path.mkdir(parents=True)

    def look(status: RunStatus, age_s: float = 0.0) -> str:
        run_dir.write_status(status)
        written_at = time.time() - age_s
        os.utime(run_dir.status_json, (written_at, written_at))
        return observe(run_dir, status, FileClock(tmp_path))

    return look


@pytest.fixture
def dead_pid():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_worker_on_this_host_is_found_by_its_process(dead_pid, observed):
    started_at = psutil.Process().create_time()
    assert observed(running(pid=os.getpid(), pid_started_at=started_at)) == "running"
    assert observed(running(pid=os.getpid(), pid_started_at=started_at), age_s=1e6) == "running"
    assert observed(running(pid=os.getpid(), pid_started_at=started_at - 60)) == "lost"
    assert observed(running(pid=dead_pid, pid_started_at=time.time())) == "lost"


@pytest.mark.parametrize("pid", [None, -1, 2**22 + 1, 2**70])
def test_an_invalid_pid_is_not_alive(pid):
    assert not is_alive(running(pid=pid))


def test_a_zombie_worker_is_lost(observed):
    process = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    started_at = psutil.Process(process.pid).create_time()
    process.stdout.read()
    try:
        give_up = time.monotonic() + 20
        while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE and time.monotonic() < give_up:
            time.sleep(0.01)
        assert observed(running(pid=process.pid, pid_started_at=started_at)) == "lost"
    finally:
        process.communicate()


@pytest.mark.parametrize(
    ("age_s", "every_s", "state"),
    [
        (0, 2, "running"),
        (100, 2, "running"),
        (-500, 2, "running"),
        (125, 2, "lost"),
        (300, 200, "running"),
        (325, 200, "lost"),
    ],
)
@pytest.mark.parametrize("skew_s", [0, -86_400, 86_400])
def test_the_age_of_the_status_file_decides_for_other_hosts(observed, age_s, every_s, state, skew_s):
    status = running(
        pid=os.getpid(), host="elsewhere", heartbeat_at=time.time() - age_s + skew_s, heartbeat_every_s=every_s
    )
    assert observed(status, age_s) == state


def test_the_file_clock_falls_back_to_the_local_clock_and_leaves_no_file(tmp_path):
    assert abs(FileClock(tmp_path / "nowhere").now() - time.time()) < 2
    assert abs(FileClock(tmp_path).now() - time.time()) < 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("state", ["queued", "finished", "stopped", "failed", "diverged"])
def test_other_states_are_not_changed(observed, state):
    assert observed(RunStatus(state, pid=1, host="elsewhere"), age_s=1e6) == state
