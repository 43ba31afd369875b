"""A sweep in one worker has the same records as its runs one by one, also when it is stopped and regrouped."""

import shutil
from pathlib import Path

import pytest
import torch

from lop_engine.experiment.run import Run
from lop_engine.experiment.spec import Spec
from lop_engine.launch import prepare_run_dirs
from lop_engine.runs.directory import RunDir
from lop_engine.runs.files import RunFiles, StopRequested
from lop_engine.runs.store import read_table
from lop_engine.worker.stack import train_runs
from tests.helpers import TINY
from tests.methods import settings_of

STEP_SIZES = (0.003, 0.01, 0.03)
SEEDS = (0, 1, 2, 3)


def sweep(method: str, **changes) -> list[Run]:
    """Return specs of three step sizes with four seeds each; the method has an effect within a few steps."""
    lengths = {"num_tasks": 2, "num_showings": 2, "metrics_every": 1}
    spec = Spec(**(TINY | settings_of(method) | lengths | changes))
    return [
        Run(method, f"step_size={size}", seed, spec.with_changes(step_size=size))
        for size in STEP_SIZES
        for seed in SEEDS
    ]


def train(dirs: list[RunDir], runs: list[Run], stop_after: int = -1) -> None:
    """Train runs in one stack; stop after `stop_after` epochs if given."""
    specs = {(run.setting, run.seed): run.spec for run in runs}
    files = [RunFiles(run_dir) for run_dir in dirs]
    for run in files:
        run.set_status(state="running", num_tasks=2, num_epochs=2)
    epochs = iter(range(100))
    train_runs(
        [specs[one.setting, one.seed] for one in dirs], files, torch.device("cpu"), lambda: next(epochs) == stop_after
    )


def documents(run_dir: RunDir, table: str = "epochs") -> list[dict]:
    return [
        {key: value for key, value in one.items() if key != "seconds"}
        for one in read_table(run_dir.path / f"{table}.json")
    ]


def about_equal(documents: list[dict], others: list[dict]) -> bool:
    return [one.keys() for one in documents] == [one.keys() for one in others] and all(
        value == pytest.approx(other[key], rel=1e-4, abs=1e-6)
        for one, other in zip(documents, others, strict=True)
        for key, value in one.items()
    )


@pytest.mark.parametrize("method", ["bp", "cbp", "snp"])
@pytest.mark.long
def test_the_first_epoch_of_a_sweep_in_one_stack_equals_that_of_single_runs(tmp_path, method):
    runs = sweep(method)
    stacked = prepare_run_dirs(tmp_path / "stacked", runs).to_train
    train(stacked, runs)
    single = prepare_run_dirs(tmp_path / "single", runs).to_train
    for run_dir in single:
        train([run_dir], runs)
    for one, other in zip(stacked, single, strict=True):
        assert (one.setting, one.seed) == (other.setting, other.seed)
        assert about_equal(documents(one)[:1], documents(other)[:1]), one.name
        assert [len(documents(one, table)) for table in ("epochs", "tasks")] == [4, 2]
        assert [task["classes"] for task in documents(one, "tasks")] == [
            task["classes"] for task in documents(other, "tasks")
        ]


def test_runs_of_a_stopped_sweep_resume_in_other_stacks(tmp_path):
    """In double precision, with momentum 0 in one setting, the records are the same for any division into stacks."""
    spec = sweep("cbp", precision="fp64")[0].spec
    runs = [
        Run("cbp", f"momentum={momentum}", seed, spec.with_changes(momentum=momentum))
        for momentum in (0.0, 0.9)
        for seed in (0, 1)
    ]
    dirs = prepare_run_dirs(tmp_path / "whole", runs).to_train
    for run_dir in dirs:
        train([run_dir], runs)
    moved = prepare_run_dirs(tmp_path / "moved", runs).to_train
    with pytest.raises(StopRequested):
        train(moved, runs, stop_after=1)
    tensors = [set(torch.load(one.checkpoint, weights_only=True)["tensors"]) for one in moved]
    assert tensors[0] == tensors[1] == {name for name in tensors[2] if ".momentum." not in name} < tensors[2]
    shutil.copytree(tmp_path / "moved", tmp_path / "again")
    train([moved[0], moved[3]], runs)
    for run_dir in moved[1:3]:
        train([run_dir], runs)
    again = [RunDir(tmp_path / "again" / Path(*one.path.parts[-3:])) for one in moved]
    train(again[::-1], runs)
    for one, other, third in zip(dirs, moved, again, strict=True):
        assert documents(one) == documents(other) == documents(third)
