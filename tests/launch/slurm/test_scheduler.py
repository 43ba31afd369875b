"""How answers of the scheduler affect the state of runs."""

import os
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from lop_engine.errors import LaunchError
from lop_engine.experiment.run import Run
from lop_engine.experiment.spec import validate
from lop_engine.launch import prepare_run_dirs
from lop_engine.launch.slurm import jobs as scheduler_module
from lop_engine.launch.slurm.jobs import Scheduler, own_job
from lop_engine.runs import reading as runs_module
from lop_engine.runs.jobs import has_job, judge
from lop_engine.runs.reading import RunsReader
from lop_engine.runs.records import RunStatus
from lop_engine.runs.store import read_table
from lop_tui.commands.status import status as show_status
from tests.helpers import append_tasks, make_metrics, make_run
from tests.launch.slurm.tasks import prepare


@pytest.mark.parametrize(
    ("state", "answer", "expected"),
    [
        ("queued", "12_3|PENDING|Priority|\n", ("queued", "job 12_3 waits: Priority")),
        ("queued", "12_3|RUNNING|None|node7\n", ("queued", "job 12_3 is on node7")),
        ("queued", "12_4|PENDING|Priority|\n", ("lost", "job 12_3 is gone from the queue")),
        ("lost", "12_3|PENDING|BeginTime|\n", ("queued", "job 12_3 waits: BeginTime")),
        ("lost", "12_3|OUT_OF_MEMORY|OutOfMemory|node7\n", ("lost", "job 12_3 ended: OUT_OF_MEMORY")),
        ("lost", "12_3|NODE_FAIL|None|node7\n", ("lost", "job 12_3 ended: NODE_FAIL")),
        ("running", "12_3|TIMEOUT|TimeLimit|node7\n", ("lost", "job 12_3 ended: TIMEOUT")),
        ("failed", "12_3|OUT_OF_MEMORY|OutOfMemory|node7\n", ("failed", "job 12_3 ended: OUT_OF_MEMORY")),
        ("failed", "12_3|COMPLETED|None|node7\n", ("failed", None)),
        ("running", "12_3|RUNNING|None|node7\n", ("running", None)),
        ("finished", "12_3|COMPLETED|None|node7\n", ("finished", None)),
    ],
)
def test_slurm_s_answer_completes_the_state_in_the_run_directory(squeue, state, answer, expected):
    status = RunStatus(state, job="12_3", heartbeat_at=time.time() - 60)
    assert judge(state, status, squeue(answer)) == expected


def test_a_run_of_another_user_is_not_judged_by_our_jobs(squeue, tmp_path, monkeypatch):
    run_dir = make_run(tmp_path / "runs", "bp", state="queued")
    run_dir.write_status(replace(run_dir.read_status(), job="12_3"))
    squeue("")
    assert RunsReader(tmp_path / "runs").read().runs[0].state == "lost"
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert RunsReader(tmp_path / "runs").read().runs[0].state == "queued"


def test_runs_of_jobs_are_read_at_most_once_per_heartbeat(squeue, tmp_path, monkeypatch):
    squeue("12_0|RUNNING|None|node7\n")
    reader = RunsReader(tmp_path / "runs")
    job, local = (
        make_run(tmp_path / "runs", "bp", seed, state="stopped", num_tasks=9, tasks_done=5) for seed in (0, 1)
    )
    job.write_status(replace(job.read_status(), job="12_0", job_options=[]))

    def grow() -> list[int]:
        for run_dir in (job, local):
            done = len(read_table(run_dir.tasks_json))
            append_tasks(run_dir, make_metrics("bp", 9, 0), done, done + 1)
        return [len(view.series["test_accuracy"]) for view in reader.read().runs]

    assert grow() == [6, 6]
    make_run(tmp_path / "runs", "bp", 2)
    assert grow() == [6, 7]
    later = time.monotonic() + 16
    monkeypatch.setattr(runs_module.time, "monotonic", lambda: later)
    assert grow() == [8, 8, 40]


def test_status_shows_why_a_job_waits_and_where_it_trains(squeue, tmp_path, capsys):
    squeue("12_0|PENDING|Priority|\n12_1|RUNNING|None|node7\n")
    for seed, state in enumerate(("queued", "running")):
        run_dir = make_run(tmp_path / "runs", "bp", seed, state=state, tasks_done=0)
        status = replace(run_dir.read_status(), job=f"12_{seed}", host="node7", heartbeat_at=time.time() + 60)
        run_dir.write_status(status)
    show_status([tmp_path / "runs"], "", as_json=False)
    output = capsys.readouterr().out
    assert "│ 12_1 node7" in output
    assert "bp/default/seed_000: job 12_0 waits: Priority\n" in output


def test_a_heartbeat_overrides_an_older_answer_of_squeue(squeue):
    scheduler = squeue("12_3|PENDING|BeginTime|\n")
    running = RunStatus("running", job="12_3", heartbeat_at=0)  # the clock of its host does not matter
    assert judge("running", running, scheduler, status_age_s=1)[0] == "running"
    assert judge("running", running, scheduler, status_age_s=60)[0] == "queued"


def test_a_scheduler_without_answer_hides_no_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    for state in ("queued", "running", "lost"):
        assert judge(state, RunStatus(state, job="1"), Scheduler()) == (state, None)


def test_sacct_is_called_once_for_all_jobs_that_squeue_no_longer_lists(squeue):
    scheduler, log = squeue(""), squeue.books.with_name("asked")
    squeue.books.write_text(f"#!/bin/sh\necho asked >> {log}\necho '12_0|TIMEOUT|node7\n12_1|CANCELLED by 7|node8'\n")
    assert judge("lost", RunStatus("lost", job="12_0"), scheduler) == ("lost", "job 12_0 ended: TIMEOUT")
    assert judge("lost", RunStatus("lost", job="12_1"), scheduler) == ("lost", "job 12_1 ended: CANCELLED")
    for i in range(2, 30):
        assert judge("queued", RunStatus(job=f"12_{i}"), scheduler) == ("lost", f"job 12_{i} is gone from the queue")
    assert log.read_text() == "asked\n"


@pytest.mark.parametrize("answer", ["squeue: error: slurmctld is away\\n", "\\374\\n"], ids=["noise", "no text"])
def test_an_unexpected_answer_is_ignored(squeue, answer):
    scheduler = squeue("")
    squeue.program.write_text(f"#!/bin/sh\nprintf '{answer}'\n")
    assert judge("queued", RunStatus(job="12_0"), scheduler) == ("queued", None)


def test_a_hanging_scheduler_is_not_called_again_soon(squeue, monkeypatch):
    monkeypatch.setattr(scheduler_module, "PATIENCE_S", 0.2)
    scheduler = squeue("")
    squeue.program.write_text("#!/bin/sh\nexec sleep 60\n")
    assert judge("lost", RunStatus("lost", job="12_0"), scheduler) == ("lost", None)
    later = time.monotonic() + 60
    monkeypatch.setattr(scheduler_module.time, "monotonic", lambda: later)
    squeue.program.write_text("#!/bin/sh\nexit 3\n")
    assert judge("lost", RunStatus("lost", job="12_0"), scheduler) == ("lost", None)
    assert not squeue.calls()


@pytest.mark.parametrize(
    ("state", "of_the_job", "expected"),
    [
        ("queued", "PENDING", True),
        ("running", "RUNNING", True),  # although its heartbeat is overdue
        ("running", "SUSPENDED", True),
        ("stopped", "PENDING", True),  # in a job that was restarted
        ("failed", "RUNNING", False),  # with other runs in the same job
        ("lost", "CANCELLED", False),
        ("finished", "RUNNING", False),
    ],
)
def test_whether_a_job_will_train_a_run(squeue, state, of_the_job, expected):
    assert has_job(RunStatus(state, job="12_0"), squeue(f"12_0|{of_the_job}|None|\n")) == expected


def test_squeue_is_called_for_all_runs_at_most_every_15_seconds(squeue, monkeypatch):
    scheduler = squeue("".join(f"12_{i}|PENDING|Priority|\n" for i in range(1500)))
    now = time.monotonic()
    monkeypatch.setattr(scheduler_module.time, "monotonic", lambda: now)
    for _ in range(3):
        for i in range(1500):
            assert judge("queued", RunStatus(job=f"12_{i}"), scheduler)[0] == "queued"
    assert squeue.calls() == 1
    now += 16
    scheduler.job("12_0")
    assert squeue.calls() == 2


def test_squeue_is_not_called_for_runs_without_a_job(squeue):
    judge("lost", RunStatus("lost"), squeue(""))
    assert squeue.calls() == 0


ARRAY = {"SLURM_JOB_ID": "15", "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "3"}
STEP = {"SLURM_JOB_ID": "15", "SLURM_STEP_ID": "0", "SLURM_LOCALID": "0", "SLURM_PROCID": "0", "SLURM_TASK_PID": "9"}


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({}, None),
        (ARRAY | {"SLURM_LOCALID": "0", "ENVIRONMENT": "BATCH"}, "12_3"),
        (ARRAY, "12_3"),
        ({"SLURM_JOB_ID": "15", "SLURM_LOCALID": "0", "ENVIRONMENT": "BATCH"}, "15"),
        ({"SLURM_JOB_ID": "15", "SLURM_LOCALID": "0"}, "15"),
        (STEP | {"ENVIRONMENT": "BATCH"}, "15"),  # srun in a script
        (
            {"SLURM_JOB_ID": "15", "ENVIRONMENT": "staging", "LOP_JOB": "15"},
            "15",
        ),  # a task of lop, after a module load
        ({"SLURM_JOB_ID": "15", "SLURM_JOB_NODELIST": "node7"}, None),  # salloc
        (STEP, None),  # srun --pty, or salloc where that starts a step
        (ARRAY | STEP, None),  # srun --pty --overlap --jobid
        ({"SLURM_JOB_ID": "16", "LOP_JOB": "15"}, None),  # salloc in a task of lop
    ],
)
def test_own_job_is_known_in_a_batch_job_and_none_in_an_interactive_shell(environment, name):
    assert own_job(environment) == name


def test_a_run_in_an_interactive_allocation_is_a_local_run(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "15")
    [run_dir] = prepare(tmp_path, num_tasks=1, job=None)
    subprocess.run([sys.executable, "-m", "lop_engine.worker", str(run_dir.path)], capture_output=True, check=True)
    assert (run_dir.read_status().state, run_dir.read_status().job) == ("finished", None)


def test_a_restarted_script_does_not_count_its_own_job(squeue, monkeypatch):
    for name, value in {"SLURM_JOB_ID": "15", "ENVIRONMENT": "BATCH"}.items():
        monkeypatch.setenv(name, value)
    assert not has_job(RunStatus("running", job="15"), squeue("15|RUNNING|None|node7\n"))
    assert has_job(RunStatus("running", job="16"), squeue("16|RUNNING|None|node7\n"))


def test_a_run_with_a_queued_job_is_neither_submitted_again_nor_started_over(squeue, tmp_path):
    [run_dir] = prepare(tmp_path)
    spec = validate(run_dir.read_spec(), "tiny")
    squeue("12_3|PENDING|Priority|\n")
    runs = [Run("cbp", "default", seed, spec) for seed in (0, 1)]
    prepared = prepare_run_dirs(tmp_path, runs)
    assert prepared.submitted == [run_dir]
    assert [queued.seed for queued in prepared.to_train] == [1]
    with pytest.raises(LaunchError, match="seed_000: waits as job 12_3"):
        prepare_run_dirs(tmp_path, runs, fresh=True)
    squeue("12_4|PENDING|Priority|\n")
    assert len(prepare_run_dirs(tmp_path, runs, job_options=["gpus=1"]).to_train) == 2
    assert (run_dir.read_status().job, run_dir.read_status().job_options) == (None, ["gpus=1"])
