"""A worker of lop as a job of a real Slurm."""

import sys
from pathlib import Path

from lop_engine.experiment.run import Run
from lop_engine.experiment.spec import Spec
from lop_engine.launch import LocalLauncher, Resources, plan_runs, prepare_run_dirs
from lop_engine.runs.directory import RunDir
from lop_engine.runs.store import read_table
from tests.cluster.jobs import submit, wait_for, wait_until_ended
from tests.helpers import TINY


def prepare(runs_dir: Path) -> RunDir:
    [run_dir] = prepare_run_dirs(runs_dir, [Run("cbp", "default", 0, Spec(**TINY))]).to_train
    return run_dir


def documents(run_dir: RunDir) -> dict[str, list[dict]]:
    """Return all records of a run, without the times."""
    return {
        path.name: [{key: value for key, value in one.items() if key != "seconds"} for one in read_table(path)]
        for path in run_dir.records
    }


def train_here(run_dir: RunDir) -> None:
    launcher = LocalLauncher(plan_runs([run_dir], Resources(["cpu"], 1, 1)))

    def has_ended() -> bool:
        launcher.poll()
        return not launcher.active

    wait_for(has_ended)


def test_a_worker_in_a_job_records_the_same_as_a_local_worker(tmp_path):
    of_job, here = prepare(tmp_path / "job"), prepare(tmp_path / "here")
    worker = [sys.executable, "-P", "-m", "lop_engine.worker", of_job.path]
    job = submit(worker, "--partition=low", f"--output={of_job.log}")
    train_here(here)
    assert wait_until_ended(job) == "COMPLETED", of_job.log.read_text()
    assert of_job.read_status().state == "finished"
    assert documents(of_job) == documents(here)
    assert len(read_table(of_job.tasks_json)) == TINY["num_tasks"]
