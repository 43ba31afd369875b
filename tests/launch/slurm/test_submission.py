"""Errors on the way from a plan to Slurm's queue, with stand-ins for Slurm's commands."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from lop_engine.errors import LaunchError
from lop_engine.launch import Plan, Resources
from lop_engine.launch.slurm import submission
from lop_engine.launch.slurm.options import SlurmRequest
from lop_engine.launch.slurm.submission import Submission
from lop_engine.runs.directory import RunDir
from lop_tui.commands.cluster import LauncherOptions, leave_to_jobs
from lop_tui.commands.rm import rm
from tests.launch.slurm.tasks import prepare, stand_in


@pytest.fixture
def slurm(here, monkeypatch) -> Path:
    """Make commands that accept everything and record their arguments."""
    commands = here / "bin"
    for name in ("srun", "sbatch", "scontrol", "scancel", "squeue"):
        stand_in(commands, name, f'echo {name} "$@" >> {here}/calls')
    stand_in(commands, "sbatch", f"echo sbatch >> {here}/calls; echo Submitted batch job 17; env > {here}/environment")
    monkeypatch.setenv("PATH", str(commands), prepend=os.pathsep)
    monkeypatch.setattr(submission.time, "sleep", lambda seconds: None)
    return commands


def calls_of(here: Path, name: str) -> list[str]:
    path = here / "calls"
    return [line for line in path.read_text().splitlines() if line.startswith(name)] if path.exists() else []


def submission_of(dirs: list[RunDir], typed=()) -> Submission:
    plan = Plan([[run_dir] for run_dir in dirs], Resources(["cpu"], 1, 1))
    return Submission(plan, SlurmRequest.of(typed), dirs[0].path.parents[2], 1)


def test_runs_record_their_job_before_it_is_released(here, slurm):
    dirs = prepare(here / "runs", seeds=(0, 1), job=None)
    assert submission_of(dirs).submit() == ["17"]
    assert [run_dir.read_status().job for run_dir in dirs] == ["17_0", "17_1"]
    assert calls_of(here, "scontrol") == ["scontrol release 17"]


def test_a_failed_release_is_retried_and_then_reported_with_advice(here, slurm):
    stand_in(
        slurm, "scontrol", f"echo scontrol >> {here}/calls; echo slurm_suspend error: Socket timed out >&2; exit 1"
    )
    with pytest.raises(LaunchError, match=r"job 17 is held .*Socket timed out; run scontrol release 17"):
        submission_of(prepare(here / "runs", job=None)).submit()
    assert len(calls_of(here, "scontrol")) == 3


def test_the_next_command_releases_held_jobs_and_names_arrays_without_runs(here, slurm, capsys):
    dirs = prepare(here / "runs", job="17_0")
    folder = submission_of(dirs).folder
    stand_in(
        slurm,
        "squeue",
        f"""case "$*" in
            *%k*) printf '17|JobHeldUser|{folder}\\n19|JobHeldUser|{folder}\\n20|JobHeldUser|/other/.slurm\\n';;
            *) echo '17_0|PENDING|JobHeldUser|';;
        esac""",
    )
    leave_to_jobs(Console(), dirs, 1, LauncherOptions("local"))
    assert not calls_of(here, "scontrol")
    leave_to_jobs(Console(), dirs, 1, LauncherOptions("slurm"))
    assert calls_of(here, "scontrol") == ["scontrol release 17"]
    assert "released held jobs: job 17" in capsys.readouterr().out
    assert submission_of(dirs).left_behind() == ["19"]


def test_the_refusal_of_a_later_array_names_the_jobs_already_queued(here, slurm, monkeypatch):
    monkeypatch.setattr(submission, "TASKS_PER_ARRAY", 1)
    full = "if [ -e {0}/full ]; then echo sbatch: error: QOSMaxSubmitJobPerUserLimit >&2; exit 1; fi"
    stand_in(slurm, "sbatch", f"{full.format(here)}; touch {here}/full; echo Submitted batch job 17")
    dirs = prepare(here / "runs", seeds=(0, 1), job=None)
    message = "QOSMaxSubmit.*; in the queue: 1 run as job 17: lop resume submits the rest"
    with pytest.raises(LaunchError, match=message):
        submission_of(dirs).submit()
    assert [run_dir.read_status().job for run_dir in dirs] == ["17", None]


def test_a_job_that_submits_jobs_does_not_pass_on_its_own_job_variables(here, slurm, in_job):
    submission_of(prepare(here / "runs", job=None)).submit()
    assert "SLURM_ARRAY" not in (here / "environment").read_text()
    assert os.environ["SLURM_ARRAY_JOB_ID"] == "12"


@pytest.mark.parametrize("name", ["%j", "back\\slash"])
def test_a_path_with_slurm_s_replacement_symbols_is_refused(here, name):
    with pytest.raises(LaunchError, match=r"Slurm reads .* choose another --runs-dir"):
        submission_of([RunDir(here / name / "bp" / "default" / "seed_000")])


def test_removing_runs_cancels_their_queued_jobs(here, slurm):
    dirs = prepare(here / "runs", seeds=(0, 1, 2), job="12_3")
    prepare(here / "runs", seeds=(2,), job="12_4")
    stand_in(slurm, "squeue", "printf '12_3|PENDING|Priority|\\n12_4|PENDING|Priority|\\n'")
    rm(["2"], here / "runs", yes=True)
    assert calls_of(here, "scancel") == ["scancel 12_4"]
    rm(["0"], here / "runs", yes=True)
    assert calls_of(here, "scancel") == ["scancel 12_4"]
    assert dirs[1].path.is_dir()


def test_removing_a_run_does_not_cancel_the_job_of_a_user_s_script(here, slurm):
    [run_dir] = prepare(here / "runs", job="77")
    run_dir.write_status(replace(run_dir.read_status(), job_options=None))
    stand_in(slurm, "squeue", "echo '77|PENDING|Priority|'")
    rm(["0"], here / "runs", yes=True)
    assert not calls_of(here, "scancel")
