"""A run that fails, diverges or is stopped leaves its stack; the others train as if it were still there."""

import errno
import shutil
import time

import pytest
import torch

from lop_engine.errors import StoreError
from lop_engine.experiment.run import Run
from lop_engine.experiment.spec import Spec
from lop_engine.launch import prepare_run_dirs
from lop_engine.runs.directory import RunDir
from lop_engine.runs.files import RunFiles
from lop_engine.runs.store import read_table
from lop_engine.training.loop import Position
from lop_engine.worker import checkpoint, stack
from lop_engine.worker.process import Worker
from tests.helpers import TINY

CPU = torch.device("cpu")
SEEDS = (0, 1, 2)


def make_runs() -> list[Run]:
    spec = Spec(**(TINY | {"num_showings": 2, "metrics_every": 1, "checkpoint_every_s": 0}))
    return [Run("cbp", "default", seed, spec) for seed in SEEDS]


class Training:
    """A stack of three runs, trained in this process."""

    def __init__(self, runs_dir) -> None:
        self.given_back: list[RunDir] = []
        self.run_dirs = prepare_run_dirs(runs_dir, make_runs()).to_train
        self.files = [RunFiles(run_dir, self.given_back.append) for run_dir in self.run_dirs]
        for run in self.files:
            run.set_status(state="running", num_tasks=3, num_epochs=2)

    def train(self, at_epoch=None, act=lambda: None) -> list[RunDir]:
        """Train to the end; call `act` before the stack checks for a stop after epoch `at_epoch` (from 1)."""
        epochs = iter(range(1, 100))

        def look() -> bool:
            if next(epochs) == at_epoch:
                act()
            return False

        stack.train_runs([make_runs()[0].spec] * len(self.files), self.files, CPU, look)
        return self.run_dirs

    @property
    def states(self) -> list[str]:
        return [run_dir.read_status().state for run_dir in self.run_dirs]


@pytest.fixture
def whole(tmp_path) -> list[RunDir]:
    return Training(tmp_path / "whole").train()


@pytest.fixture
def broken(tmp_path) -> Training:
    return Training(tmp_path / "broken")


def records(run_dir: RunDir) -> list[list[dict]]:
    return [[{**one, "seconds": 0} for one in read_table(path)] for path in run_dir.records]


def refusing(monkeypatch, owner, method: str, seed: int, error: Exception, after: int = 0) -> None:
    """Let a method fail for one run after some successful calls."""
    real, calls = getattr(owner, method), []

    def fail(run, *args, **more):
        calls.append(run.seed)
        if run.seed == seed and calls.count(seed) > after:
            raise error
        return real(run, *args, **more)

    monkeypatch.setattr(owner, method, fail)


def test_a_run_whose_directory_is_removed_ends_without_the_others(broken, whole):
    with pytest.raises(FileNotFoundError):
        broken.train(2, lambda: shutil.rmtree(broken.run_dirs[1].path))
    assert not broken.run_dirs[1].path.exists()
    for seed in (0, 2):
        assert broken.run_dirs[seed].read_status().state == "finished"
        assert records(broken.run_dirs[seed]) == records(whole[seed])


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EIO])
@pytest.mark.parametrize("method", ["record_epoch", "record_task", "sync"])
@pytest.mark.long
def test_a_run_that_cannot_be_written_fails_without_the_others_and_resumes(broken, whole, monkeypatch, method, number):
    with monkeypatch.context() as patch:
        refusing(patch, RunFiles, method, 1, OSError(number, "the reason", "epochs.json"), after=1)
        with pytest.raises(OSError, match="the reason"):
            broken.train()
    assert broken.states == ["finished", "failed", "finished"]
    assert broken.given_back == [broken.run_dirs[1]]
    why = "the disk is full; free some space" if number in (errno.ENOSPC, errno.EDQUOT) else "the reason"
    assert why in broken.run_dirs[1].read_status().error
    for seed in (0, 2):
        assert records(broken.run_dirs[seed]) == records(whole[seed])
    again = Training(broken.run_dirs[0].path.parents[2])
    assert again.run_dirs == [broken.run_dirs[1]]
    again.train()
    assert [one["task"] for one in read_table(again.run_dirs[0].tasks_json)] == [0, 1, 2]


def test_a_run_whose_last_status_cannot_be_written_fails_without_the_others(broken, monkeypatch):
    refusing(monkeypatch, RunDir, "write_status", 1, OSError(errno.EACCES, "the reason"))
    with pytest.raises(OSError, match="the reason"):
        broken.train()
    assert broken.states == ["finished", "running", "finished"]


def test_a_run_whose_checkpoints_are_damaged_fails_without_the_others(broken, whole, monkeypatch):
    with monkeypatch.context() as patch:
        refusing(patch, RunFiles, "record_epoch", 0, OSError(errno.EIO, "the reason"), after=2)
        refusing(patch, RunFiles, "record_epoch", 1, OSError(errno.EIO, "the reason"), after=2)
        with pytest.raises(OSError, match="the reason"):
            broken.train()
    again = Training(broken.run_dirs[0].path.parents[2])
    for path in (again.run_dirs[1].checkpoint, again.run_dirs[1].previous_checkpoint):
        path.write_bytes(b"damaged")
    with pytest.raises(StoreError, match="damaged checkpoint"):
        again.train()
    assert broken.states == ["finished", "failed", "finished"]
    assert "its records are kept" in broken.run_dirs[1].read_status().error


def test_a_temporary_error_is_raised_before_a_permanent_one(broken, monkeypatch):
    refusing(monkeypatch, RunFiles, "record_epoch", 0, StoreError("it stays"))
    refusing(monkeypatch, RunFiles, "record_epoch", 1, OSError(errno.EIO, "it may pass"))
    with pytest.raises(OSError, match="it may pass"):
        broken.train()
    assert broken.states == ["failed", "failed", "finished"]


def test_a_run_that_is_stopped_leaves_with_a_checkpoint_of_its_last_epoch(broken, whole):
    def ask() -> None:
        broken.run_dirs[1].write_status(broken.files[1].status.__class__(state="stopped"))
        assert broken.files[1].beat()

    broken.train(3, ask)
    assert broken.states == ["finished", "stopped", "finished"]
    assert broken.given_back == [broken.run_dirs[1]]
    left = broken.run_dirs[1]
    assert checkpoint.load(left.checkpoint).position == Position(1, 1)
    assert (left.read_status().tasks_done, left.read_status().epochs_done) == (1, 1)
    assert records(left)[1] == records(whole[1])[1][:3]
    for seed in (0, 2):
        assert records(broken.run_dirs[seed]) == records(whole[seed])


def test_a_run_whose_first_status_cannot_be_written_fails_without_the_others(tmp_path, monkeypatch):
    run_dirs = prepare_run_dirs(tmp_path, make_runs()).to_train
    worker = Worker(run_dirs, "cpu", 1)
    refusing(monkeypatch, RunDir, "write_status", 1, OSError(errno.EACCES, "the reason"))
    monkeypatch.setattr("signal.signal", lambda *args: None)
    monkeypatch.setattr("signal.alarm", lambda *args: None)
    assert worker.run() != 0
    assert [run_dir.read_status().state for run_dir in run_dirs] == ["finished", "queued", "finished"]


def test_a_worker_ends_when_all_of_its_runs_are_stopped(tmp_path, monkeypatch):
    run_dirs = prepare_run_dirs(tmp_path, make_runs()).to_train
    worker, signals = Worker(run_dirs, "cpu", 1), []
    monkeypatch.setattr("os.kill", lambda pid, number: (signals.append(number), worker.ended.set()))
    worker.least_beat_s = 0.01
    for run in worker.runs:
        run.set_status(state="running")
        run.must_stop = run.seed != 2
    worker.runs[2].leave("diverged")
    deadline = time.monotonic() + 10
    worker.beat()
    assert signals
    assert time.monotonic() < deadline
