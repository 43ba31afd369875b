"""Runs submitted as a job, the task that trains them, and the disk of its node."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from lop_engine.datasets import staging
from lop_engine.experiment.run import Run
from lop_engine.experiment.spec import validate
from lop_engine.launch import prepare_run_dirs
from lop_engine.launch.slurm.task import ArrayTask
from lop_engine.runs.directory import RunDir
from lop_engine.runs.store import read_table
from tests.helpers import TINY


def prepare(runs_dir: Path, dataset: object = "synthetic", num_tasks: int = 3, seeds=(0,), job="12_3") -> list[RunDir]:
    changes = {"dataset": str(dataset), "num_tasks": num_tasks, "train_images": 8, "test_images": 1}
    spec = validate(TINY | changes, "tiny")
    dirs = prepare_run_dirs(runs_dir, [Run("cbp", "default", seed, spec) for seed in seeds]).to_train
    for run_dir in dirs:
        run_dir.write_status(replace(run_dir.read_status(), job=job, job_options=[]))
    return dirs


def task_of(dirs: list[RunDir], stage: object = None, retries: int = 1) -> ArrayTask:
    return ArrayTask([str(run_dir.path) for run_dir in dirs], ["cpu"], 1, retries, stage and str(stage))


def stand_in(directory: Path, name: str, script: str) -> None:
    """Write a command of Slurm that runs `script`. `directory` must come first in PATH."""
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(f"#!/bin/sh\n{script}\n")
    (directory / name).chmod(0o755)


def documents(run_dir: RunDir) -> list[dict]:
    """Return the records of its tasks, without the times."""
    return [{**document, "seconds": 0} for document in read_table(run_dir.tasks_json)]


def wait_for_tasks(run_dir: RunDir, number: int) -> None:
    wait_for(lambda: run_dir.tasks_json.exists() and len(documents(run_dir)) >= number)


def wait_for(condition: Callable[[], object], limit_s: float = 60) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.01)


def names_on(disk: Path) -> list[str]:
    """Return the names of files on a node's disk, without locks."""
    return [path.name for path in disk.glob("lop-*/*") if path.suffix != ".lock"]


def fail_at_the_second_file(monkeypatch, failure: Callable[[], None]) -> None:
    copy_file = staging.copy_file

    def copy_or_fail(file, copy):
        if file.place == "classes/1.npy":
            failure()
        copy_file(file, copy)

    monkeypatch.setattr(staging, "copy_file", copy_or_fail)
