"""What of `--launcher slurm` needs no Slurm: its options, its task, and what is made of what the scheduler says.

With a real Slurm: `make test-cluster`.
"""

import json
import os
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from lop_engine import runs as runs_module
from lop_engine import scheduler as scheduler_module
from lop_engine.errors import ConfigError, LaunchError
from lop_engine.launch import prepare_run_dirs
from lop_engine.launch.slurm import SlurmRequest, read_options
from lop_engine.launch.slurm.task import ArrayTask
from lop_engine.records import RunStatus
from lop_engine.rundir import RunDir
from lop_engine.runs import RunsReader
from lop_engine.scheduler import Scheduler, judge, own_job
from lop_engine.spec import Run, validate
from lop_engine.store import read_table
from lop_tui import cli
from lop_tui.commands.cluster import Launching, plan_for_cluster
from lop_tui.commands.status import show_status
from tests.helpers import TINY, append_tasks, make_metrics, make_run


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("90", 90), ("1:30", 2), ("2:00:00", 120), ("1-0", 1440), ("1-12", 2160), ("1-12:30", 2190), ("0:00:30", 1)],
)
def test_times_are_read_as_slurm_reads_them(here, text, minutes):
    assert read_options([f"time={text}"]).time == minutes


def test_the_command_line_goes_before_this_directory_s_file_and_that_before_the_user_s(here):
    (here / "config" / "lop").mkdir(parents=True)
    (here / "config" / "lop" / "lop.toml").write_text('[slurm]\naccount = "mine"\npartition = "old"\ngpus = 1\n')
    (here / "lop.toml").write_text('[slurm]\npartition = "new"\nsetup = ["module load python", "true"]\n')
    options = read_options(["gpus=2", "memory=8gb"])
    assert (options.account, options.partition, options.gpus, options.memory) == ("mine", "new", 2, "8G")
    assert options.setup == ("module load python", "true")


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("partitoin=x", r'--slurm: unknown option "partitoin"; did you mean "partition"\?'),
        ("gpus", "write key=value"),
        ("gpus=two", 'gpus "two": .*integer'),
        ("time=soon", 'time "soon": is no time: write'),
        ("time=0", "no time at all"),
        ("memory=lots", 'memory "lots": is no amount'),
        ("cpus=0", "cpus .*greater"),
    ],
)
def test_an_option_that_cannot_be_meant_is_refused_by_name(here, typed, message):
    with pytest.raises(ConfigError, match=message):
        read_options([typed])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[slurm", "not valid TOML"),
        ("slurm = 3", "is a section"),
        ("[slurm]\ncolour = 1", r"\[slurm\]: unknown option"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(here, text, message):
    (here / "lop.toml").write_text(text)
    with pytest.raises(ConfigError, match=f"lop.toml.*{message}"):
        read_options([])


def test_where_there_is_no_slurm_a_line_says_so_and_nothing_is_made(here, monkeypatch, capsys):
    (here / "cbp.json").write_text(json.dumps(TINY))
    monkeypatch.setattr(sys, "argv", ["lop", "run", "cbp.json", "--seeds", "1", "--launcher", "slurm"])
    monkeypatch.setenv("PATH", str(here))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert "no sbatch here; type this on a login node" in capsys.readouterr().err
    assert not (here / "runs").exists()


def test_what_only_a_cluster_with_accounting_refuses_is_said_in_its_words(here, monkeypatch, capsys):
    (here / "cbp.json").write_text(json.dumps(TINY))
    sbatch = here / "sbatch"
    sbatch.write_text(
        "#!/bin/sh\necho allocation failure: Invalid account or account/partition combination specified >&2\nexit 1\n"
    )
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", str(here), prepend=os.pathsep)
    monkeypatch.setattr(sys, "argv", ["lop", "run", "cbp.json", "--launcher", "slurm", "--slurm", "account=nobody"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "Invalid account or account/partition combination specified (account=nobody)\n" in said
    assert said.count("\n") == 1
    assert not (here / "runs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [(["--launcher", "slrum"], "choose local or slurm"), (["--slurm", "gpus=1"], "--slurm is for --launcher slurm")],
)
def test_a_launcher_that_is_none_is_refused(here, monkeypatch, capsys, words, message):
    (here / "cbp.json").write_text(json.dumps(TINY))
    monkeypatch.setattr(sys, "argv", ["lop", "run", "cbp.json", *words])
    with pytest.raises(SystemExit):
        cli.main()
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "seeds_per_worker", "seeds", "devices", "threads"),
    [
        ([], None, [1] * 25, ["cpu"], 1),
        (["cpus=8"], None, [8, 8, 8, 1], ["cpu"] * 8, 1),
        (["gpus=1", "cpus=4"], None, [10, 10, 5], ["cuda:0"], 4),
        (["gpus=2", "cpus=4"], 5, [10, 10, 5], ["cuda:0", "cuda:1"], 2),
        (["gpus=4"], None, [25], ["cuda:0", "cuda:1", "cuda:2", "cuda:3"], 1),
    ],
)
def test_a_task_has_a_worker_for_each_gpu_or_else_cpu(here, typed, seeds_per_worker, seeds, devices, threads):
    dirs = [RunDir(here / "bp" / "default" / f"seed_{seed:03d}") for seed in range(25)]
    plan = plan_for_cluster(dirs, read_options(typed), seeds_per_worker)
    assert [len(stack) for stack in plan.stacks] == seeds
    assert (plan.resources.devices, plan.resources.threads) == (devices, threads)


# --- the task


def prepare(runs_dir: Path, num_tasks: int = 3, seeds=(0, 1), job="12_3") -> list[RunDir]:
    """Runs that were submitted as a job."""
    spec = validate(TINY | {"num_tasks": num_tasks}, "tiny")
    dirs = prepare_run_dirs(runs_dir, [Run("cbp", "default", seed, spec) for seed in seeds]).to_train
    for run_dir in dirs:
        run_dir.write_status(replace(run_dir.read_status(), job=job))
    return dirs


def wait_for_tasks(run_dir: RunDir, number: int) -> None:
    while not run_dir.tasks_json.exists() or len(read_table(run_dir.tasks_json)) < number:
        time.sleep(0.01)


def task_of(dirs: list[RunDir]) -> ArrayTask:
    return ArrayTask([str(run_dir.path) for run_dir in dirs], ["cpu"], 1, 1)


@pytest.fixture
def in_job(monkeypatch):
    """This process as a task of an array, with signals of its own."""
    for name, value in {"ARRAY_JOB_ID": "12", "ARRAY_TASK_ID": "3", "JOB_ID": "7"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR2)}
    yield
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_task_that_is_warned_queues_its_runs_again_and_the_next_goes_on(tmp_path, in_job):
    dirs, whole = prepare(tmp_path / "warned", 25), prepare(tmp_path / "whole", 25)
    task = task_of(dirs)
    handed_on = []

    class Requeued(BaseException):
        pass

    def warned(number, frame):  # as submitit does it
        handed_on.append(task.checkpoint())
        raise Requeued

    def warn_when_at_work():
        wait_for_tasks(dirs[0], 2)
        os.kill(os.getpid(), signal.SIGUSR2)

    signal.signal(signal.SIGUSR2, warned)
    threading.Thread(target=warn_when_at_work, daemon=True).start()
    with pytest.raises(Requeued):
        task()
    assert [(run_dir.read_status().state, run_dir.read_status().job) for run_dir in dirs] == [("queued", "12_3")] * 2
    again = handed_on[0].function
    again()
    task_of(whole)()
    for ours, theirs in zip(dirs, whole, strict=True):
        assert ours.read_status().state == "finished"
        assert without_times(ours) == without_times(theirs)
    assert again.checkpoint() is None  # nothing is left to do


def without_times(run_dir: RunDir) -> list[dict]:
    return [{**document, "seconds": 0} for document in read_table(run_dir.tasks_json)]


def test_a_task_that_starts_again_takes_up_what_was_killed_and_leaves_what_was_stopped(tmp_path, in_job):
    killed, stopped = prepare(tmp_path)
    killed.write_status(RunStatus("running", num_tasks=3, pid=2**22 + 1, host="node7", job="12_3"))
    stopped.write_status(RunStatus("stopped", num_tasks=3, job="12_3"))
    task_of([killed, stopped])()
    assert killed.read_status().state == "finished"
    assert stopped.read_status().state == "stopped"


@pytest.mark.parametrize("state", ["queued", "running", "failed"])
def test_a_task_leaves_alone_what_was_submitted_again_or_trains_elsewhere_by_now(tmp_path, in_job, state):
    for job in ("13_0", None):
        [run_dir] = prepare(tmp_path / str(job), seeds=[0])
        other = RunStatus(state, num_tasks=3, pid=2**22 + 1, host="node7", job=job)
        run_dir.write_status(other)
        task_of([run_dir])()
        assert run_dir.read_status() == other


@pytest.mark.parametrize(("restarts", "state"), [(1, "queued"), (0, "stopped")])
def test_a_job_that_is_ended_queues_its_runs_only_if_slurm_starts_it_again(
    tmp_path, in_job, monkeypatch, restarts, state
):
    """A pre-emption without a warning against a cancellation: both are SIGTERM for all."""
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f"#!/bin/sh\necho JobId=7 Requeue=1 Restarts={restarts} BatchFlag=1\n")
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    [run_dir] = prepare(tmp_path / "runs", 1000, seeds=[0])

    def end_when_at_work():
        wait_for_tasks(run_dir, 1)
        for pid in (os.getpid(), run_dir.read_status().pid):
            os.kill(pid, signal.SIGTERM)

    threading.Thread(target=end_when_at_work, daemon=True).start()
    task_of([run_dir])()
    status = run_dir.read_status()
    assert status.state == state
    assert (status.note is not None) == (state == "stopped")


# --- what the scheduler says


@pytest.fixture
def squeue(tmp_path, monkeypatch):
    """A scheduler whose squeue answers what it is told to; it counts how often it is asked."""
    answer, calls = tmp_path / "answer", tmp_path / "calls"
    program = tmp_path / "squeue"
    program.write_text(f"#!/bin/sh\necho asked >> {calls}\ncat {answer}\n")
    program.chmod(0o755)
    books = tmp_path / "sacct"
    books.write_text("#!/bin/sh\nexit 1\n")
    books.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    def say(text: str) -> Scheduler:
        answer.write_text(text)
        return Scheduler()

    say.books = books
    say.calls = lambda: len(calls.read_text().split()) if calls.exists() else 0
    return say


@pytest.mark.parametrize(
    ("state", "said", "expected"),
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
def test_what_slurm_knows_is_added_to_what_the_run_directory_says(squeue, state, said, expected):
    status = RunStatus(state, job="12_3", heartbeat_at=time.time() - 60)
    assert judge(state, status, squeue(said)) == expected


def test_a_run_of_somebody_else_is_not_judged_by_our_own_jobs(squeue, tmp_path, monkeypatch):
    run_dir = make_run(tmp_path / "runs", "bp", state="queued")
    run_dir.write_status(replace(run_dir.read_status(), job="12_3"))
    squeue("")
    assert RunsReader(tmp_path / "runs").read().runs[0].state == "lost"
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert RunsReader(tmp_path / "runs").read().runs[0].state == "queued"


def test_runs_of_jobs_are_looked_at_no_more_often_than_they_beat(squeue, tmp_path, monkeypatch):
    squeue("12_0|RUNNING|None|node7\n")
    reader = RunsReader(tmp_path / "runs")
    job, local = (
        make_run(tmp_path / "runs", "bp", seed, state="stopped", num_tasks=9, tasks_done=5) for seed in (0, 1)
    )
    job.write_status(replace(job.read_status(), job="12_0"))

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


def test_a_run_with_a_job_in_the_queue_is_not_submitted_again_and_not_started_over(squeue, tmp_path):
    spec = validate(TINY, "tiny")
    [run_dir] = prepare(tmp_path, seeds=[0])
    squeue("12_3|PENDING|Priority|\n")
    runs = [Run("cbp", "default", seed, spec) for seed in (0, 1)]
    prepared = prepare_run_dirs(tmp_path, runs)
    assert prepared.submitted == [run_dir]
    assert [found.seed for found in prepared.to_train] == [1]
    with pytest.raises(LaunchError, match="seed_000: waits as job 12_3"):
        prepare_run_dirs(tmp_path, runs, fresh=True)
    squeue("")
    assert len(prepare_run_dirs(tmp_path, runs).to_train) == 2


def test_status_says_why_a_job_waits_and_where_it_trains(squeue, tmp_path, capsys):
    squeue("12_0|PENDING|Priority|\n12_1|RUNNING|None|node7\n")
    for seed, state in enumerate(("queued", "running")):
        run_dir = make_run(tmp_path / "runs", "bp", seed, state=state, tasks_done=0)
        status = replace(run_dir.read_status(), job=f"12_{seed}", host="node7", heartbeat_at=time.time() + 60)
        run_dir.write_status(status)
    show_status(tmp_path / "runs", "", as_json=False)
    said = capsys.readouterr().out
    assert "│ 12_1 node7" in said
    assert "bp/default/seed_000: job 12_0 waits: Priority\n" in said


def test_options_typed_before_hold_until_others_are_typed(here):
    (here / "lop.toml").write_text('[slurm]\npartition = "new"\ntime = 60\n')
    request = SlurmRequest.of(["gpus=2"], before=["gpus=1", "time=30"])
    assert (request.options.gpus, request.options.time, request.options.partition) == (2, 30, "new")
    assert request.typed == ("gpus=2", "time=30")


def test_runs_go_on_where_they_were_unless_something_else_is_typed(here):
    job, local = RunStatus("stopped", job="12_3", job_options=["cpus=4"]), RunStatus("stopped")
    assert Launching().request(job).options.cpus == 4
    assert Launching().request(local) is None
    assert Launching("local").request(job) is None
    assert Launching("slurm", ("cpus=2",)).request(job).options.cpus == 2


def test_a_heartbeat_is_newer_than_what_squeue_said_before_it(squeue):
    scheduler = squeue("12_3|PENDING|BeginTime|\n")
    assert judge("running", RunStatus("running", job="12_3", heartbeat_at=time.time() + 1), scheduler)[0] == "running"


def test_a_scheduler_that_does_not_answer_hides_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    for state in ("queued", "running", "lost"):
        assert judge(state, RunStatus(state, job="1"), Scheduler()) == (state, None)


def test_of_jobs_that_squeue_has_forgotten_sacct_is_asked_once_for_all(squeue):
    scheduler, asked = squeue(""), squeue.books.with_name("asked")
    squeue.books.write_text(f"#!/bin/sh\necho asked >> {asked}\necho '12_0|TIMEOUT|node7\n12_1|CANCELLED by 7|node8'\n")
    assert judge("lost", RunStatus("lost", job="12_0"), scheduler) == ("lost", "job 12_0 ended: TIMEOUT")
    assert judge("lost", RunStatus("lost", job="12_1"), scheduler) == ("lost", "job 12_1 ended: CANCELLED")
    for i in range(2, 30):
        assert judge("queued", RunStatus(job=f"12_{i}"), scheduler) == ("lost", f"job 12_{i} is gone from the queue")
    assert asked.read_text() == "asked\n"


def test_squeue_is_asked_once_for_all_runs_and_no_sooner_than_after_15_seconds(squeue, monkeypatch):
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


def test_runs_without_a_job_ask_nobody(squeue):
    judge("lost", RunStatus("lost"), squeue(""))
    assert squeue.calls() == 0


def test_a_job_knows_its_own_name():
    assert own_job({"SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "3", "SLURM_JOB_ID": "15"}) == "12_3"
    assert own_job({"SLURM_JOB_ID": "15"}) == "15"
    assert own_job({}) is None
