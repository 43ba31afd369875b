"""kill -9 at random moments: no record is lost, duplicated or different."""

import os
import random
import signal
import time

import pytest

from lop_engine.experiment.run import Run
from lop_engine.experiment.spec import Spec
from lop_engine.launch import LocalLauncher, Resources, plan_runs, prepare_run_dirs
from lop_engine.runs.directory import RunDir
from lop_engine.runs.reading import RunsReader
from lop_engine.runs.store import read_table
from tests.faults.conftest import IS_LONG
from tests.helpers import TINY

METHODS = {
    "bp": {"agent": "bp"},
    "snp": {"agent": "bp", "weight_decay": 1e-5, "perturb_scale": 1e-4},
    "cbp": {"agent": "cbp"},
}
CHANGES = {"num_tasks": 40, "num_showings": 6, "metrics_every": 1, "curvature_images": 4, "checkpoint_every_s": 0.2}


def make_runs(method: str, seeds, **changes) -> list[Run]:
    spec = Spec(**(TINY | METHODS[method] | CHANGES | changes))
    return [Run(method, "default", seed, spec) for seed in seeds]


def documents(run_dir: RunDir) -> dict[str, list[dict]]:
    """Return all records of a run, without the times."""
    return {
        path.name: [{key: value for key, value in one.items() if key != "seconds"} for one in read_table(path)]
        for path in (run_dir.tasks_json, run_dir.epochs_json)
    }


def finish(launcher: LocalLauncher, limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while launcher.active:
        launcher.poll()
        assert time.monotonic() < deadline, "workers did not end"
        time.sleep(0.02)


def train(runs_dir, runs) -> list[RunDir]:
    prepared = prepare_run_dirs(runs_dir, runs)
    finish(LocalLauncher(plan_runs(prepared.to_train, Resources(["cpu"], 1, len(runs)))), 100)
    return [RunDir.of(runs_dir, run) for run in runs]


@pytest.mark.parametrize("method", METHODS if IS_LONG else ["cbp"])
def test_a_killed_and_resumed_run_has_the_records_of_an_uninterrupted_one(tmp_path, method, is_long):
    rng = random.Random(method)
    runs = make_runs(method, range(3), num_tasks=40 if is_long else 10)
    whole = train(tmp_path / "whole", runs)
    kills, num_kills = 0, 12 if is_long else 1
    attempt = 0
    while kills < num_kills:
        attempt += 1
        assert attempt < 10 * num_kills
        runs_dir = tmp_path / f"broken_{attempt}"
        kills += train_with_kills(runs_dir, runs, rng, num_kills - kills)
        for mine, other in zip(runs, whole, strict=True):
            assert documents(RunDir.of(runs_dir, mine)) == documents(other)


def train_with_kills(runs_dir, runs, rng: random.Random, most: int) -> int:
    """Train `runs` to their end, killing their worker at random moments; return how often it was killed."""
    kills = 0
    while True:
        prepared = prepare_run_dirs(runs_dir, runs)
        if not prepared.to_train:
            return kills
        launcher = LocalLauncher(plan_runs(prepared.to_train, Resources(["cpu"], 1, len(runs))))
        launcher.poll()
        if kills < most:
            kills += kill_in_training(
                prepared.to_train[0], launcher, rng.uniform(0, 1.0 if runs[0].spec.num_tasks > 20 else 0.3)
            )
        finish(launcher, 100)


def kill_in_training(run_dir: RunDir, launcher: LocalLauncher, after_s: float) -> bool:
    """Kill the worker `after_s` seconds after it began to train; return False if it finished before."""
    size = run_dir.log.stat().st_size if run_dir.log.exists() else 0
    deadline = time.monotonic() + 60
    while launcher.active and b"from task" not in run_dir.log.read_bytes()[size - 200 if size > 200 else 0 :][-4000:]:
        launcher.poll()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(after_s)
    status = run_dir.read_status()
    if status.state != "running" or not launcher.active:
        return False
    try:
        os.kill(status.pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def test_thirty_seeds_whose_workers_are_killed_finish_with_complete_records(tmp_path, is_long):
    rng = random.Random(0)
    seeds = range(30 if is_long else 4)
    runs = [run for method in ("bp", "cbp") for run in make_runs(method, seeds, num_tasks=12, num_showings=2)]
    prepared = prepare_run_dirs(tmp_path, runs)
    launcher = LocalLauncher(plan_runs(prepared.to_train, Resources(["cpu"] * 2, 1, 5 if is_long else 2)), retries=50)
    kills, num_kills = 0, 10 if is_long else 1
    deadline = time.monotonic() + 300
    while launcher.active:
        launcher.poll()
        assert time.monotonic() < deadline
        running = {view.status.pid for view in RunsReader(tmp_path).read().runs if view.state == "running"}
        if kills < num_kills and running and rng.random() < 0.1:
            os.kill(rng.choice(sorted(running)), signal.SIGKILL)
            kills += 1
        time.sleep(0.05)
    assert kills == num_kills
    assert len([report for report in launcher.take_reports() if "trying again" in report]) >= num_kills
    for view in RunsReader(tmp_path).read().runs:
        assert view.state == "finished", view.status.error
        assert [task["task"] for task in read_table(view.dir.tasks_json)] == list(range(12))
        places = [(one["task"], one["epoch"]) for one in read_table(view.dir.epochs_json)]
        assert places == [(task, epoch) for task in range(12) for epoch in range(2)]


def test_seeds_started_in_one_worker_resume_in_others(tmp_path):
    runs = make_runs("cbp", range(4), num_tasks=30, num_showings=2)
    prepared = prepare_run_dirs(tmp_path, runs)
    launcher = LocalLauncher(plan_runs(prepared.to_train, Resources(["cpu"], 1, 4)))
    launcher.poll()
    assert kill_in_training(prepared.to_train[0], launcher, 0.5)
    finish(launcher, 30)
    before = [documents(run_dir)["epochs.json"] for run_dir in prepared.to_train]
    again = prepare_run_dirs(tmp_path, runs)
    finish(LocalLauncher(plan_runs(again.to_train, Resources(["cpu"] * 2, 1, 2))), 60)
    for run_dir, early in zip(prepared.to_train, before, strict=True):
        assert run_dir.read_status().state == "finished"
        assert run_dir.read_status().log_of in ("default/seed_000", "default/seed_002")
        epochs = documents(run_dir)["epochs.json"]
        assert [(one["task"], one["epoch"]) for one in epochs] == [(t, e) for t in range(30) for e in range(2)]
        common = [one for one, other in zip(epochs, early, strict=False) if one == other]
        assert common == epochs[: len(common)]
