"""Threads that work while a GPU trains, tested on a CPU: they give the same records, order and errors."""

import errno
import threading
import time

import pytest
import torch

from lop_engine.device import background
from lop_engine.device.background import Background, made_ahead
from lop_engine.experiment.run import Run
from lop_engine.experiment.spec import Spec
from lop_engine.launch import prepare_run_dirs
from lop_engine.runs.directory import RunDir
from lop_engine.runs.files import RunFiles, StopRequested
from lop_engine.runs.store import read_table
from lop_engine.training import loop
from lop_engine.training.learner import Learner
from lop_engine.worker import checkpoint, stack
from tests.engine.test_learners import CPU
from tests.helpers import TINY

LIMIT_S = 20


@pytest.fixture
def threads_on_cpu(monkeypatch):
    """Let threads work in parallel to training on a CPU, as they do on a GPU."""
    monkeypatch.setattr(background, "works_beside", lambda device: True)
    monkeypatch.setattr(loop, "works_beside", lambda device: True)


def make_runs(**changes) -> list[Run]:
    spec = Spec(**(TINY | {"num_showings": 3, "metrics_every": 1, "checkpoint_every_s": 0} | changes))
    return [Run("cbp", "default", seed, spec) for seed in (0, 1)]


def train(runs_dir, runs, stop_after=None) -> list[RunDir]:
    """Train in this process. `stop_after`: the number of epochs after which to ask for a stop."""
    run_dirs = prepare_run_dirs(runs_dir, runs).to_train
    files = [RunFiles(run_dir) for run_dir in run_dirs]
    for run in files:
        run.set_status(state="running", num_tasks=runs[0].spec.num_tasks, num_epochs=runs[0].spec.num_showings)
    epochs = iter(range(10**6))
    stack.train_runs(
        [run.spec for run in runs], files, CPU, lambda: stop_after is not None and next(epochs) + 1 >= stop_after
    )
    return run_dirs


def records(run_dir) -> tuple[list[dict], list[dict]]:
    tasks = [{k: v for k, v in one.items() if k != "seconds"} for one in read_table(run_dir.tasks_json)]
    return tasks, read_table(run_dir.epochs_json)


def slowly(monkeypatch, method: str, seconds: float = 0.02) -> None:
    whole = getattr(RunFiles, method)
    monkeypatch.setattr(RunFiles, method, lambda *args: (time.sleep(seconds), whole(*args))[1])


def test_calls_run_in_order_with_at_most_one_pending(threads_on_cpu):
    may_end, done = threading.Event(), []
    with Background(CPU, "test") as calls:
        calls.submit(lambda: (may_end.wait(LIMIT_S), done.append(1)))
        assert done == []  # the caller did not wait
        threading.Timer(0.05, may_end.set).start()
        calls.submit(done.append, 2)
        assert done[0] == 1
        calls.wait()
        assert done == [1, 2]
        calls.submit(done.append, 3)
    assert done == [1, 2, 3]


def fail():
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("then", ["submit", "wait", "leave", "leave by another error"])
def test_an_error_reaches_the_caller_once_and_no_later_call_is_made(threads_on_cpu, then):
    done = []
    with pytest.raises(OSError, match="No space"), Background(CPU, "test") as calls:  # noqa: PT012
        calls.submit(fail)
        if then == "submit":
            calls.submit(done.append, 1)
        elif then == "wait":
            calls.wait()
        elif then != "leave":
            raise StopRequested
    assert done == []


def test_on_a_cpu_calls_are_made_at_once_in_the_caller_s_thread():
    made_in = []
    with Background(CPU, "test") as calls:
        calls.submit(lambda: made_in.append(threading.get_ident()))
        assert made_in == [threading.get_ident()]
        with pytest.raises(OSError, match="No space"):
            calls.submit(fail)


def test_the_next_item_is_made_while_the_current_one_is_used():
    was_started = {item: threading.Event() for item in range(4)}

    def make(item):
        was_started[item].set()
        return item * item

    made = []
    for result in made_ahead(make, range(4), CPU, "test"):
        made.append(result)
        if len(made) < 4:
            assert was_started[len(made)].wait(LIMIT_S)
    assert made == [0, 1, 4, 9]


def test_the_error_of_an_item_is_raised_when_its_turn_comes():
    made = made_ahead(lambda item: 6 // item, (1, 2, 0, 3), CPU, "test")
    assert [next(made), next(made)] == [6, 3]
    with pytest.raises(ZeroDivisionError):
        next(made)


def test_the_order_of_the_next_epoch_is_made_while_an_epoch_trains(threads_on_cpu, monkeypatch):
    spec = make_runs()[0].spec
    was_started = {place: threading.Event() for place in loop.places(spec, loop.Position(0, 1))}
    coming = dict(zip(was_started, [*was_started][1:], strict=False))
    make, whole, waited = loop.host_batch_order, loop.train_epoch, iter(was_started)
    monkeypatch.setattr(
        loop,
        "host_batch_order",
        lambda seeds, images, *place: (was_started[place].set(), make(seeds, images, *place))[1],
    )

    def train_epoch(*args):
        place = next(waited)
        assert place not in coming or was_started[coming[place]].wait(LIMIT_S)
        return whole(*args)

    monkeypatch.setattr(loop, "train_epoch", train_epoch)
    learner = Learner(spec, [0, 1], CPU)
    loop.train(spec, learner, CPU, lambda report: None, loop.Position(0, 1))
    assert next(waited, None) is None
    order = loop.batch_order([0, 1], 24, 1, 2, CPU)
    [again] = loop.batch_orders([0, 1], 24, [(1, 2)], CPU)
    assert torch.equal(order, again)


@pytest.mark.parametrize("metrics_every", [0, 1, 2])
def test_records_written_in_a_thread_are_the_same(threads_on_cpu, tmp_path, monkeypatch, metrics_every):
    runs = make_runs(metrics_every=metrics_every)
    with monkeypatch.context() as here:
        here.setattr(background, "works_beside", lambda device: False)
        here.setattr(loop, "works_beside", lambda device: False)
        at_once = train(tmp_path / "at once", runs)
    slowly(monkeypatch, "record_epoch")
    later = train(tmp_path / "later", runs)
    for mine, theirs in zip(later, at_once, strict=True):
        assert records(mine) == records(theirs)
        assert mine.read_status().state == "finished"
        assert mine.read_status().tasks_done == 3
        assert checkpoint.load(mine.checkpoint).epoch_documents == len(records(mine)[1])


def test_training_does_not_wait_for_its_records_but_a_checkpoint_does(threads_on_cpu, tmp_path, monkeypatch):
    written, trained = threading.Event(), threading.Event()
    record, train_epoch, save = RunFiles.record_epoch, loop.train_epoch, checkpoint.save
    epochs, covered = [], []

    def record_epoch(run, task, epoch, metrics):
        if (task, epoch, run.seed) == (0, 0, 0):
            assert trained.wait(LIMIT_S)  # the second epoch trains meanwhile
        record(run, task, epoch, metrics)
        written.set()

    def train_one(*args):
        epochs.append(1)
        if len(epochs) == 2:
            assert not written.is_set()
            trained.set()
        return train_epoch(*args)

    def save_one(run_dir, saved):
        covered.append((saved.epoch_documents, len(read_table(run_dir.epochs_json)), saved.position))
        save(run_dir, saved)

    monkeypatch.setattr(RunFiles, "record_epoch", record_epoch)
    monkeypatch.setattr(loop, "train_epoch", train_one)
    monkeypatch.setattr(checkpoint, "save", save_one)
    train(tmp_path, make_runs(checkpoint_every_s=3600))
    assert [position for *_, position in covered] == [loop.Position()] * 2 + [loop.Position(3, 0)] * 2
    assert [(counted, on_disk) for counted, on_disk, _ in covered] == [(0, 0)] * 2 + [(9, 9)] * 2


def test_every_checkpoint_covers_the_documents_of_its_epoch(threads_on_cpu, tmp_path, monkeypatch):
    slowly(monkeypatch, "record_epoch", 0.01)
    save, covered = checkpoint.save, []

    def save_one(run_dir, saved):
        assert len(read_table(run_dir.epochs_json)) == saved.epoch_documents
        covered.append((saved.position, saved.epoch_documents))
        save(run_dir, saved)

    monkeypatch.setattr(checkpoint, "save", save_one)
    train(tmp_path, make_runs())
    assert len(covered) == 2 * 10
    assert all(position.task * 3 + position.epoch == documents for position, documents in covered)


def test_a_stop_leaves_a_checkpoint_that_covers_all_records_and_resuming_gives_the_same(
    threads_on_cpu, tmp_path, monkeypatch
):
    slowly(monkeypatch, "record_epoch")
    runs = make_runs(checkpoint_every_s=3600)
    whole = train(tmp_path / "whole", runs)
    with pytest.raises(StopRequested):
        train(tmp_path / "stopped", runs, stop_after=4)
    run_dirs = [RunDir.of(tmp_path / "stopped", run) for run in runs]
    for run_dir in run_dirs:
        saved = checkpoint.load(run_dir.checkpoint)
        assert saved.position == loop.Position(1, 1)
        assert (saved.epoch_documents, len(read_table(run_dir.epochs_json))) == (4, 4)
        RunFiles(run_dir).set_status(state="stopped")
    train(tmp_path / "stopped", runs)
    for mine, theirs in zip(run_dirs, whole, strict=True):
        assert records(mine) == records(theirs)


def test_a_full_disk_ends_training_without_further_documents(threads_on_cpu, tmp_path, monkeypatch):
    record = RunFiles.record_epoch

    def record_epoch(run, task, epoch, metrics):
        if (task, epoch) == (1, 0):
            fail()
        record(run, task, epoch, metrics)

    monkeypatch.setattr(RunFiles, "record_epoch", record_epoch)
    runs = make_runs()
    with pytest.raises(OSError, match="No space left"):
        train(tmp_path, runs)
    for run in runs:
        run_dir = RunDir.of(tmp_path, run)
        assert [one["task"] for one in read_table(run_dir.epochs_json)] == [0, 0, 0]
        assert checkpoint.load(run_dir.checkpoint).position == loop.Position(1, 0)


@pytest.mark.parametrize("checkpoint_every_s", [0, 3600])
@pytest.mark.parametrize("diverging", [[0], [0, 1]])
@pytest.mark.long
def test_a_diverging_seed_has_the_same_records_as_without_threads(
    threads_on_cpu, tmp_path, monkeypatch, diverging, checkpoint_every_s
):
    slowly(monkeypatch, "record_epoch")
    runs, step, steps = make_runs(checkpoint_every_s=checkpoint_every_s), Learner.step, []

    def step_and_spoil(learner, images, labels):
        result = step(learner, images, labels)
        steps.append(1)
        if len(steps) == 3 * 4:  # the last step of the fourth epoch
            with torch.no_grad():
                learner.params["conv1.weight"][diverging] = torch.inf
        return result

    whole = train(tmp_path / "whole", runs)
    monkeypatch.setattr(Learner, "step", step_and_spoil)
    broken = train(tmp_path / "broken", runs)
    for seed, (mine, theirs) in enumerate(zip(broken, whole, strict=True)):
        status = mine.read_status()
        if seed in diverging:
            assert status.state == "diverged"
            assert (status.tasks_done, status.epochs_done) == (1, 0)
            assert records(mine)[1][:3] == records(theirs)[1][:3]
            assert [one["test_accuracy"] is None for one in records(mine)[1]] == [False] * 3 + [True]
            before = loop.Position() if checkpoint_every_s else loop.Position(1, 0)
            assert checkpoint.load(mine.checkpoint).position == before
        else:
            assert status.state == "finished"
            assert records(mine) == records(theirs)
