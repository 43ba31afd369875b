"""Fixtures: a directory, images on a "file server", this process as a job, and a scheduler with given answers."""

import os
import signal
from pathlib import Path

import pytest

from lop_engine.datasets import ClassFolder
from lop_engine.datasets.importing import ImportOptions, import_images
from lop_engine.launch.slurm.jobs import Scheduler
from tests.datasets.makers import make_images, make_source


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


@pytest.fixture
def in_job(monkeypatch):
    """Run this process as a task of an array on node7; restore its signal handlers afterwards."""
    for name, value in {"ARRAY_JOB_ID": "12", "ARRAY_TASK_ID": "3", "JOB_ID": "7"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setenv("SLURMD_NODENAME", "node7")
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR2)}
    yield
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def squeue(tmp_path, monkeypatch):
    """Return a function that makes a scheduler whose squeue prints `text`. The calls of squeue are counted."""
    answer, calls = tmp_path / "answer", tmp_path / "calls"
    program = tmp_path / "squeue"
    program.write_text(f"#!/bin/sh\necho asked >> {calls}\ncat {answer}\n")
    program.chmod(0o755)
    books = tmp_path / "sacct"
    books.write_text("#!/bin/sh\nexit 1\n")
    books.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    def say(text: str) -> Scheduler:
        answer.write_text(text)
        return Scheduler()

    say.program, say.books = program, books
    say.calls = lambda: len(calls.read_text().split()) if calls.exists() else 0
    return say


@pytest.fixture
def images(tmp_path) -> ClassFolder:
    """Make a data set on the "file server"."""
    source = make_source(tmp_path, "npy", make_images())
    import_images(source, tmp_path / "server" / "set", ImportOptions(), lambda what, done, total: None)
    return ClassFolder.open(tmp_path / "server" / "set")
