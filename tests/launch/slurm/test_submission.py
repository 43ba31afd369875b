"""From a plan to Slurm's queue, with stand-ins for its commands: what goes wrong on the way."""

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
    """A directory of commands that take everything, and note how they were called."""
    commands = here / "bin"
    for name in ("srun", "sbatch", "scontrol", "scancel", "squeue"):
        stand_in(commands, name, f'echo {name} "$@" >> {here}/calls')
    stand_in(commands, "sbatch", f"echo sbatch >> {here}/calls; echo Submitted batch job 17; env > {here}/environment")
    monkeypatch.setenv("PATH", str(commands), prepend=os.pathsep)
    monkeypatch.setattr(submission.time, "sleep", lambda seconds: None)
    return commands


def calls(here: Path, name: str) -> list[str]:
    path = here / "calls"
    return [line for line in path.read_text().splitlines() if line.startswith(name)] if path.exists() else []


def submission_of(dirs: list[RunDir], typed=()) -> Submission:
    plan = Plan([[run_dir] for run_dir in dirs], Resources(["cpu"], 1, 1))
    return Submission(plan, SlurmRequest.of(typed), dirs[0].path.parents[2], 1)


def test_runs_know_their_job_before_it_is_let_go(here, slurm):
    dirs = prepare(here / "runs", seeds=(0, 1), job=None)
    assert submission_of(dirs).submit() == ["17"]
    assert [run_dir.read_status().job for run_dir in dirs] == ["17_0", "17_1"]
    assert calls(here, "scontrol") == ["scontrol release 17"]


def test_a_release_that_fails_is_tried_again_and_then_told_with_the_way_on(here, slurm):
    stand_in(
        slurm, "scontrol", f"echo scontrol >> {here}/calls; echo slurm_suspend error: Socket timed out >&2; exit 1"
    )
    with pytest.raises(LaunchError, match=r"job 17 is held .*Socket timed out; run scontrol release 17"):
        submission_of(prepare(here / "runs", job=None)).submit()
    assert len(calls(here, "scontrol")) == 3


def test_what_was_left_held_is_let_go_by_the_next_command_and_an_array_of_nobody_is_named(here, slurm, capsys):
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
    assert not calls(here, "scontrol")
    leave_to_jobs(Console(), dirs, 1, LauncherOptions("slurm"))
    assert calls(here, "scontrol") == ["scontrol release 17"]
    assert "released held jobs: job 17" in capsys.readouterr().out
    assert submission_of(dirs).left_behind() == ["19"]


def test_an_array_that_is_refused_behind_others_says_what_is_in_the_queue(here, slurm, monkeypatch):
    monkeypatch.setattr(submission, "TASKS_PER_ARRAY", 1)
    full = "if [ -e {0}/full ]; then echo sbatch: error: QOSMaxSubmitJobPerUserLimit >&2; exit 1; fi"
    stand_in(slurm, "sbatch", f"{full.format(here)}; touch {here}/full; echo Submitted batch job 17")
    dirs = prepare(here / "runs", seeds=(0, 1), job=None)
    message = "QOSMaxSubmit.*; in the queue: 1 run as job 17: lop resume submits the rest"
    with pytest.raises(LaunchError, match=message):
        submission_of(dirs).submit()
    assert [run_dir.read_status().job for run_dir in dirs] == ["17", None]


def test_a_job_that_submits_does_not_hand_on_its_own_name(here, slurm, in_job):
    submission_of(prepare(here / "runs", job=None)).submit()
    assert "SLURM_ARRAY" not in (here / "environment").read_text()
    assert os.environ["SLURM_ARRAY_JOB_ID"] == "12"


@pytest.mark.parametrize("name", ["%j", "back\\slash"])
def test_a_path_that_slurm_would_read_otherwise_is_refused(here, name):
    with pytest.raises(LaunchError, match=r"Slurm reads .* choose another --runs-dir"):
        submission_of([RunDir(here / name / "bp" / "default" / "seed_000")])


def test_removed_runs_take_their_jobs_out_of_the_queue(here, slurm):
    dirs = prepare(here / "runs", seeds=(0, 1, 2), job="12_3")
    prepare(here / "runs", seeds=(2,), job="12_4")
    stand_in(slurm, "squeue", "printf '12_3|PENDING|Priority|\\n12_4|PENDING|Priority|\\n'")
    rm(["2"], here / "runs", yes=True)
    assert calls(here, "scancel") == ["scancel 12_4"]
    rm(["0"], here / "runs", yes=True)
    assert calls(here, "scancel") == ["scancel 12_4"]
    assert dirs[1].path.is_dir()


def test_the_job_of_a_script_of_one_s_own_is_left_alone(here, slurm):
    [run_dir] = prepare(here / "runs", job="77")
    run_dir.write_status(replace(run_dir.read_status(), job_options=None))
    stand_in(slurm, "squeue", "echo '77|PENDING|Priority|'")
    rm(["0"], here / "runs", yes=True)
    assert not calls(here, "scancel")
