"""The protocol of launchers: a cluster that is not part of lop, and this machine."""

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from lop_engine.errors import LaunchError
from lop_engine.experiment.run import Run
from lop_engine.experiment.spec import validate
from lop_engine.launch import LocalLauncher, Plan, Resources, cancel_jobs, prepare_run_dirs, stop_runs
from lop_engine.runs import jobs
from lop_engine.runs.jobs import Job
from lop_engine.runs.reading import RunsReader
from tests.helpers import ROOT, make_run


class ToyScheduler:
    """A scheduler with one job, which waits."""

    title = "Toy"
    answer_age_s = 0.0

    def job(self, name: str) -> Job | None:
        return Job("DOZING", "waiting", "no node is awake") if name == "toy-1" else None

    def own_job(self) -> str | None:
        return None

    def allocation(self) -> str:
        return ""

    def log_of(self, runs_dir: Path, job: str) -> Path:
        return runs_dir / f"{job}.log"


@pytest.fixture
def cancelled(monkeypatch) -> list[str]:
    """Replace lop's clusters by another one; return the list of jobs that it was asked to cancel."""
    names: list[str] = []
    package, of_jobs, launcher = (ModuleType(name) for name in ("toy", "toy.jobs", "toy.launcher"))
    package.__path__ = []
    of_jobs.Scheduler = ToyScheduler
    launcher.cancel = lambda jobs: names.extend(jobs)
    for module in (package, of_jobs, launcher):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(jobs, "CLUSTERS", {"toy": "toy"})
    return names


def queued_run(runs_dir: Path, job: str):
    run_dir = make_run(runs_dir, "bp", state="queued")
    run_dir.write_status(replace(run_dir.read_status(), job=job, job_options=[]))
    return run_dir


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        ("toy-1", ("queued", "job toy-1 waits: no node is awake")),
        ("toy-2", ("lost", "job toy-2 is gone from the queue")),
    ],
)
def test_the_state_of_a_run_follows_from_any_scheduler(cancelled, tmp_path, job, expected):
    queued_run(tmp_path, job)
    [view] = RunsReader(tmp_path).read().runs
    assert (view.state, view.job_note) == expected


def test_a_run_that_waits_on_any_cluster_is_not_started_over(cancelled, tmp_path):
    run_dir = queued_run(tmp_path, "toy-1")
    run = Run("bp", "default", 0, validate(run_dir.read_spec(), "bp"))
    with pytest.raises(LaunchError, match="waits as job toy-1 in Toy's queue"):
        prepare_run_dirs(tmp_path, [run], fresh=True)


def test_stopping_a_run_cancels_its_job_on_any_cluster(cancelled, tmp_path):
    queued_run(tmp_path, "toy-1")
    views = RunsReader(tmp_path).read().runs
    stop_runs(views, views)
    assert cancelled == ["toy-1"]


def test_no_cluster_is_loaded_for_runs_without_jobs(monkeypatch):
    monkeypatch.setattr(jobs, "CLUSTERS", {})
    cancel_jobs([])


def test_the_local_launcher_describes_its_workers():
    launcher = LocalLauncher(Plan([], Resources(["cuda:0"] * 2, 4, 10)))
    assert launcher.describe() == "2 workers (2 sharing cuda:0, 4 threads each)"
    launcher.check()
    assert launcher.start() == []
    assert not launcher.active


@pytest.mark.parametrize("name", jobs.CLUSTERS)
def test_a_cluster_is_named_only_in_its_own_folder_of_the_engine(name):
    folder = ROOT / jobs.CLUSTERS[name].replace(".", "/")
    naming = [
        path.relative_to(ROOT).as_posix()
        for path in sorted((ROOT / "lop_engine").rglob("*.py"))
        if folder not in path.parents and name in path.read_text(encoding="utf-8").lower()
    ]
    assert naming == ["lop_engine/runs/jobs.py"]
