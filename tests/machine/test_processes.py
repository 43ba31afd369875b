"""Processes are identified by number and start time, independently of the clock."""

import os
import re
import socket
import subprocess
import sys
import time
from dataclasses import replace

import psutil
import pytest

from lop_engine.processes import Process, start_of, this_process
from lop_engine.runs.liveness import FileClock, observe
from lop_engine.runs.reading import RunsReader
from lop_engine.runs.records import RunStatus
from lop_tui.commands.list import list_settings
from tests.helpers import make_run

UNUSED_PID = 2**22 + 1
"""Above every process number of Linux."""


def running_here(**changes) -> RunStatus:
    me = psutil.Process()
    mine = RunStatus(
        "running", pid=me.pid, pid_started_at=me.create_time(), pid_start=start_of(me.pid), host=socket.gethostname()
    )
    return replace(mine, **changes)


def state_of(tmp_path, status: RunStatus) -> str:
    run_dir = make_run(tmp_path, "bp", state="running")
    run_dir.write_status(status)
    state = observe(run_dir, status, FileClock(tmp_path))
    assert [view.state for view in RunsReader(tmp_path).read().runs] == [state]
    return state


@pytest.mark.parametrize("step_s", [-86_400, -3, 3, 86_400])
def test_a_live_worker_is_running_after_the_clock_was_set(tmp_path, monkeypatch, step_s):
    status = running_here()
    create_time = psutil.Process.create_time
    # psutil's start times move with the clock.
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: create_time(self) + step_s)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + step_s)
    assert state_of(tmp_path, status) == "running"


def test_another_process_with_the_same_number_is_not_the_worker(tmp_path):
    assert state_of(tmp_path, running_here(pid_start="another boot/1")) == "lost"


def test_a_status_without_start_ticks_is_understood(tmp_path):
    assert state_of(tmp_path / "alive", running_here(pid_start=None)) == "running"
    assert state_of(tmp_path / "gone", running_here(pid_start=None, pid_started_at=1.0)) == "lost"
    assert state_of(tmp_path / "none", running_here(pid_start=None, pid=UNUSED_PID)) == "lost"


def test_a_zombie_process_is_not_alive():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    known = Process(child.pid, socket.gethostname(), start_of(child.pid), time.time())
    assert known.may_be_alive
    child.stdin.close()
    deadline = time.monotonic() + 20
    while start_of(child.pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert not known.may_be_alive
    child.wait()
    assert start_of(child.pid) is None


def test_this_process_is_identified_by_host_number_and_start():
    assert this_process() == this_process()
    assert this_process().token == f"{socket.gethostname()}:{os.getpid()}:{start_of(os.getpid())}"
    assert this_process().may_be_alive


def test_a_process_on_another_host_counts_as_possibly_alive():
    assert Process(UNUSED_PID, "elsewhere", "boot/1", 0.0).may_be_alive
    assert not Process(UNUSED_PID, socket.gethostname(), "boot/1", 0.0).may_be_alive


def test_the_age_of_records_uses_the_clock_of_the_file_system(tmp_path, monkeypatch, capsys):
    make_run(tmp_path, "bp")
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 86_400)
    list_settings([tmp_path], "", as_json=False)
    changed = capsys.readouterr().out.split("│")[7].split()
    assert re.fullmatch(r"\d+s", changed[0]), changed
