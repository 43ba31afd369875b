"""How a launcher retries runs whose worker failed, with real workers that fail on purpose."""

import time
from itertools import chain
from pathlib import Path

import pytest

from lop_engine.experiment.run import Run
from lop_engine.experiment.spec import Spec
from lop_engine.launch import LocalLauncher, Resources, plan_runs, prepare_run_dirs
from lop_engine.launch.local import Retries
from lop_engine.runs.directory import RunDir
from lop_engine.runs.locks import FAILED, NO_CUDA_GRAPH, OUT_OF_MEMORY
from lop_engine.runs.store import read_table
from tests.broken_workers import workers
from tests.helpers import TINY

__all__ = ["workers"]

pytestmark = pytest.mark.timeout(300)  # each worker imports torch


def queue(runs_dir: Path, num_seeds: int, **changes) -> list[RunDir]:
    runs = [Run("cbp", "default", seed, Spec(**TINY | {"num_tasks": 2} | changes)) for seed in range(num_seeds)]
    return prepare_run_dirs(runs_dir, runs).to_train


def train(run_dirs: list[RunDir], runs_per_worker: int, retries: int = 0) -> list[str]:
    """Train with one worker at a time; return the launcher's reports."""
    launcher = LocalLauncher(plan_runs(run_dirs, Resources(["cpu"], 1, runs_per_worker)), retries)
    deadline, reports = time.monotonic() + 280, []
    while launcher.active:
        launcher.poll()
        reports += launcher.take_reports()
        if time.monotonic() > deadline:
            launcher.stop(at_once=True)
        time.sleep(0.05)
    assert time.monotonic() < deadline, "workers did not end"
    return reports


@pytest.mark.long
def test_runs_train_without_cuda_graphs_and_note_it_if_none_can_be_created(workers, tmp_path):
    workers(capture=True)
    dirs = queue(tmp_path / "runs", 2)
    [report] = train(dirs, 2)
    assert report == (
        "cbp/default/seed_000 and 1 more: the training step cannot be captured as a CUDA graph: operation not "
        "permitted; training without CUDA graphs, which is slower"
    )
    for run_dir in dirs:
        status = run_dir.read_status()
        assert (status.state, status.error, status.log_of) == ("finished", None, "default/seed_000")
        assert status.note.startswith("trained without CUDA graphs, which is slower: the training step cannot")
        assert len(read_table(run_dir.tasks_json)) == 2


@pytest.mark.long
def test_seeds_that_do_not_fit_together_train_in_smaller_stacks(workers, tmp_path):
    workers(capture=True, fits=2)
    dirs = queue(tmp_path / "runs", 3)
    reports = train(dirs, 3)
    assert [report.split("; ")[-1] for report in reports] == [
        "training without CUDA graphs, which is slower",
        "retrying with 2 and 1 per worker",
    ]
    statuses = [run_dir.read_status() for run_dir in dirs]
    assert [status.log_of for status in statuses] == ["default/seed_000"] * 2 + ["default/seed_002"]
    for run_dir, status in zip(dirs, statuses, strict=True):
        assert (status.state, status.error) == ("finished", None)
        assert "without CUDA graphs" in status.note  # of the first stack; its halves start with this knowledge
        assert len(read_table(run_dir.tasks_json)) == 2
    assert statuses[0].started_at < statuses[2].started_at


def test_a_single_seed_that_does_not_fit_fails_at_once_with_advice(workers, tmp_path):
    workers(fits=0)
    [run_dir] = queue(tmp_path / "runs", 1)
    [report] = train([run_dir], 1, retries=3)
    status = run_dir.read_status()
    assert status.state == "failed"
    assert "out of memory with a single run (tried to allocate 20.00 MiB)" in status.error
    assert report == f"cbp/default/seed_000 failed: {status.error}"


def dirs_of(*seeds: int) -> list[RunDir]:
    return [RunDir(Path(f"runs/cbp/default/seed_{seed:03d}")) for seed in seeds]


def test_halves_of_a_stack_are_queued_first_and_use_no_retries():
    retries, stack = Retries(0), dirs_of(0, 1, 2, 3)
    decision = retries.decide(OUT_OF_MEMORY, stack, dict.fromkeys(stack, "out of memory"))
    assert (decision.first, decision.last) == ([stack[:2], stack[2:]], [])
    # Seeds that ended before are left out; a single remaining seed is tried alone.
    decision = retries.decide(OUT_OF_MEMORY, stack, {stack[3]: "out of memory"})
    assert decision.first == [stack[3:]]


def test_halving_and_training_without_graphs_terminate():
    retries, waiting, tried = Retries(2), [dirs_of(*range(30))], 0
    while waiting:
        stack, *waiting = waiting
        code = OUT_OF_MEMORY if retries.worker_options(stack) else NO_CUDA_GRAPH
        decision = retries.decide(code, stack, dict.fromkeys(stack, "why"))
        waiting = [*decision.first, *waiting, *decision.last]
        assert set(chain(*decision.first, *decision.last)) <= set(stack)
        tried += 1
    assert tried == 1 + 59  # a tree of 30 leaves


def test_runs_of_a_killed_worker_keep_the_options_of_its_stack():
    retries, stack = Retries(1), dirs_of(0, 1)
    retries.decide(NO_CUDA_GRAPH, stack, dict.fromkeys(stack, "why"))
    decision = retries.decide(FAILED, stack, {stack[1]: "killed"})
    assert decision.last == [stack[1:]]
    assert decision.reports == ["cbp/default/seed_001 failed: killed; trying again (1 of 1)"]
    assert "--no-cuda-graphs" in retries.worker_options(decision.last[0])
    assert retries.decide(FAILED, stack[1:], {stack[1]: "killed"}).last == []
