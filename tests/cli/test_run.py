"""`lop run`, from the command line to records on disk."""

import contextlib
import fcntl
import io
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import termios
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
from typer.testing import CliRunner

from lop_engine.bench.costs import Costs
from lop_engine.experiment.run import load_runs
from lop_engine.launch import prepare_run_dirs, resolve_runs
from lop_engine.machine.devices import Gpus
from lop_engine.runs.directory import find_runs
from lop_engine.runs.store import read_table
from lop_tui import cli
from tests.helpers import tiny


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_config(path, **changes) -> str:
    path.write_text(json.dumps({"_comment": "as small as it gets"} | tiny(**changes)))
    return path.name


def lop(*arguments: str, timeout_s: float = 90, **options) -> subprocess.CompletedProcess:
    """Run a command without a terminal: in a child process if it trains, else in this process, which is faster."""
    if arguments[0] in ("run", "resume") or options:
        command = [sys.executable, "-m", "lop_tui", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False, **options)
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(sys, "argv", ["lop", *arguments]),
        pytest.raises(SystemExit) as ended,
    ):
        cli.main()
    streams = (stream.buffer.getvalue().decode() for stream in (out, err))
    return subprocess.CompletedProcess(arguments, ended.value.code or 0, *streams)


def test_two_files_two_seeds_and_a_sweep_train_to_the_end(here):
    write_config(here / "bp.json", agent="bp", step_size=[0.02, 0.01])
    write_config(here / "cbp.json")
    done = lop("run", "bp.json", "cbp.json", "--seeds", "0,3", "--runs-per-worker", "2")
    assert done.returncode == 0, done.stderr
    names = [run.name for run in find_runs(here / "runs")]
    assert names == [
        f"{setting}/seed_00{seed}"
        for setting in ("bp/step_size=0.01", "bp/step_size=0.02", "cbp/default")
        for seed in (0, 3)
    ]
    assert all(len(read_table(run.tasks_json)) == 3 for run in find_runs(here / "runs"))
    assert "best - last" in done.stdout
    assert "\x1b" not in done.stdout
    again = lop("run", "bp.json", "cbp.json", "--seeds", "0,3")
    assert again.returncode == 0
    assert "6 of 6 runs are finished already" in again.stdout


@pytest.mark.long
def test_a_seed_trains_on_the_same_classes_with_every_method(here):
    write_config(here / "bp.json", agent="bp")
    write_config(here / "cbp.json")
    assert lop("run", "bp.json", "cbp.json", "--seeds", "1").returncode == 0
    bp, cbp = ([task["classes"] for task in read_table(run.tasks_json)] for run in find_runs(here / "runs"))
    assert bp == cbp


def test_missing_images_are_reported_with_both_remedies_and_nothing_is_written(here):
    write_config(here / "snp.json", agent="bp", dataset="imagenet32")
    refused = lop("run", "snp.json", "--seeds", "30")
    assert refused.returncode == 2
    assert "data/imagenet32" in refused.stderr
    assert "--data synthetic" in refused.stderr
    assert "data/README.md" in refused.stderr
    assert refused.stdout == ""
    assert not (here / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.json"], "missing.json: no such file"),
        (["tiny.json", "--set", "step_szie=0.1"], 'did you mean "step_size"?'),
        (["tiny.json", "--set", "step_size=-1"], "step_size"),
        (["tiny.json", "--set", "agent=cpb"], 'did you mean "cbp"?'),
        (["tiny.json", "--set", "net_type=3"], "net_type"),
        (["tiny.json", "--set", "perturb_scale=0.1"], "perturb_scale belongs to agent snp; this file's agent is cbp"),
        (["tiny.json", "--set", "net_type=2", "--set", "util_type=random"], "has no effect with method cbp2"),
        (["tiny.json", "--set", "agent=linear", "--set", "width=1"], "width belongs to network conv_net"),
        (["linear.json", "--set", 'metrics=["srank"]'], "none of these can be measured"),
        (["tiny.json", "--set", 'metrics=["sranc"]'], 'did you mean "srank"?'),
        (["tiny.json", "--set", "class_order=nowhere.npy"], "nowhere.npy: no such class order"),
        (["tiny.json", "--seeds", "many"], '--seeds "many"'),
        (["tiny.json", "--set", "nonsense"], "write key=value"),
        (["tiny.json", "--device", "cuda:7"], "no such GPU here"),
        (["tiny.json", "--device", "abacus"], "choose auto, cpu, cuda"),
        (["tiny.json", "--data", "nowhere"], "nowhere: no images there"),
        (["tiny.json", "tiny.json"], "would both keep their runs"),
    ],
)
def test_invalid_arguments_are_refused_in_one_line_with_exit_status_2(here, monkeypatch, capsys, arguments, message):
    write_config(here / "tiny.json")
    write_config(here / "linear.json", agent="linear")
    monkeypatch.setattr(sys, "argv", ["lop", "run", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    error = capsys.readouterr().err
    assert ended.value.code == 2
    assert message in error
    assert error.count("\n") == 1
    assert not (here / "runs").exists()


def test_dry_run_prints_the_plan_and_its_duration_and_changes_nothing(here, monkeypatch):
    write_config(here / "cbp.json", step_size=[0.02, 0.01])
    arguments = ["run", "cbp.json", "--seeds", "4", "--dry-run", "--workers", "3"]
    result = CliRunner().invoke(cli.app, [*arguments, "--no-estimate"])
    assert result.exit_code == 0
    assert "8 runs in 8 stacks on 3 workers" in re.sub(r"\s+", " ", result.stdout)
    assert "about" not in result.stdout
    assert "memory: roughly 282 MiB for a worker of 1 run; 847 MiB for 3 workers" in result.stdout
    # A run has three tasks of one epoch and takes 300 s with its start; a worker needs 3 turns for the 8 runs.
    known = Costs(start_s=30, task_s=10, epoch_s=20, metrics_s=60)
    monkeypatch.setattr("lop_tui.words.plan.measure_costs", lambda specs, *_: dict.fromkeys(specs, known))
    result = CliRunner().invoke(cli.app, arguments)
    assert "about 15 min on this machine" in result.stdout
    # The line ends here, without advice to measure less, since the file measures once a task.
    assert "metrics take 67 % of the time\n" in result.stdout
    longer = CliRunner().invoke(cli.app, [*arguments, "--set", "num_showings=9", "--set", "metrics_every=1"])
    assert "metrics_every=0" in longer.stdout
    assert "curvature_every" not in longer.stdout  # these costs contain none
    assert list(here.iterdir()) == [here / "cbp.json"]


def test_dry_run_warns_when_a_worker_needs_more_memory_than_is_free(here, monkeypatch):
    write_config(here / "cbp.json")
    monkeypatch.setattr("lop_tui.words.plan.psutil.virtual_memory", lambda: SimpleNamespace(available=2**30))
    arguments = ["run", "cbp.json", "--dry-run", "--no-estimate", "--workers", "1", "--seeds", "1000"]
    output = CliRunner().invoke(cli.app, [*arguments, "--seeds-per-worker", "1000"]).stdout
    assert "GiB for a worker of 1000 runs\n" in output
    assert "note: 1.0 GiB of memory is free here; set fewer --runs-per-worker or --workers" in output
    assert "note:" not in CliRunner().invoke(cli.app, arguments).stdout


@pytest.mark.parametrize(
    ("every", "about", "named"),
    [
        (1, "2.2 days", "--set curvature_every=0 (curvature after each task's last epoch only): about 3.4 h"),
        (0, "3.4 h", "--set curvature_every=1 (curvature after each recorded epoch): about 2.2 days"),
    ],
)
def test_dry_run_names_the_cost_of_the_curvature(here, monkeypatch, every, about, named):
    write_config(here / "cbp.json", num_tasks=100, num_showings=100, metrics_every=1, curvature_every=every)
    known = Costs(start_s=0, task_s=0, epoch_s=1, metrics_s=0.05, curvature_s=18)
    monkeypatch.setattr("lop_tui.words.plan.measure_costs", lambda specs, *_: dict.fromkeys(specs, known))
    output = CliRunner().invoke(cli.app, ["run", "cbp.json", "--dry-run"]).stdout
    assert f"about {about} on this machine" in output
    assert named in re.sub(r"\s+", " ", output)


def test_dry_run_on_a_gpu_names_the_time_that_another_precision_would_save(here, monkeypatch):
    write_config(here / "cbp.json", num_tasks=100, num_showings=100, metrics_every=1)
    known = Costs(start_s=0, task_s=0, epoch_s=3, metrics_s=0.5, rounded_epoch_s={"tf32": 2.9, "bf16": 1})
    monkeypatch.setattr("lop_tui.words.plan.measure_costs", lambda specs, *_: dict.fromkeys(specs, known))
    output = CliRunner().invoke(cli.app, ["run", "cbp.json", "--dry-run"]).stdout
    assert "about 9.7 h on this machine" in output
    assert "--set precision=bf16 (the training step is rounded): about 4.2 h" in re.sub(r"\s+", " ", output)
    assert "precision=tf32" not in output  # saves less than a tenth


def test_a_gpu_that_torch_cannot_use_is_named_before_training_on_the_cpu(here, monkeypatch):
    write_config(here / "cbp.json")
    monkeypatch.setattr("lop_engine.launch.plan.find_gpus", lambda: Gpus({}, "torch 2.13.0+cpu is a CPU build"))
    output = CliRunner().invoke(cli.app, ["run", "cbp.json", "--dry-run", "--no-estimate"]).stdout
    assert "note: training on the CPU because torch cannot use the GPU: torch 2.13.0+cpu is a CPU build" in output
    quiet = CliRunner().invoke(cli.app, ["run", "cbp.json", "--dry-run", "--no-estimate", "--device", "cpu"]).stdout
    assert "note:" not in quiet


@pytest.mark.long
def test_runs_keep_their_curvature_every_when_they_resume(here):
    """New seeds of the same setting use another worker, and all runs finish."""
    write_config(here / "cbp.json", num_tasks=2, num_showings=2, metrics_every=1, num_runs=1)
    prepare_run_dirs(here / "runs", resolve_runs(load_runs(here / "cbp.json")).runs)
    [old] = find_runs(here / "runs")
    old.write_status(replace(old.read_status(), launcher=None))  # nothing trains in this process
    config = old.read_config()
    del config["spec"]["curvature_every"]  # as written by versions without this key
    old.run_json.write_text(json.dumps(config))
    write_config(here / "cbp.json", num_tasks=2, num_showings=2, metrics_every=1, num_runs=2, curvature_every=0)
    dry = lop("run", "cbp.json", "--dry-run", "--no-estimate", "--runs-per-worker", "2")
    assert "2 runs in 2 stacks" in re.sub(r"\s+", " ", dry.stdout)
    done = lop("run", "cbp.json", "--runs-per-worker", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    output = re.sub(r"\s+", " ", done.stdout)
    assert "note: cbp/default: 1 run began with curvature_every=1 and keeps it (0 was asked for" in output
    measured = [["curvature" in one for one in read_table(run.epochs_json)] for run in find_runs(here / "runs")]
    assert measured == [[True] * 4, [False, True] * 2]
    assert "note:" not in lop("run", "cbp.json", "--dry-run", "--no-estimate", "--fresh").stdout


@pytest.mark.long
def test_fresh_asks_before_it_removes(here, finished):
    shutil.copytree(finished, here, dirs_exist_ok=True)
    refused = lop("run", "cbp.json", "--fresh", stdin=subprocess.DEVNULL)
    assert refused.returncode == 2
    assert "--yes" in refused.stderr
    [run] = find_runs(here / "runs")
    assert len(read_table(run.tasks_json)) == 2
    accepted = lop("run", "cbp.json", "--fresh", "--yes", "--set", "num_tasks=3")
    assert accepted.returncode == 0
    assert len(read_table(run.tasks_json)) == 3


@pytest.mark.parametrize("name", [".json", "..json", ".hidden.json", "[red]x.json", "a$b$.json", "a;b.json", "-x.json"])
def test_a_file_name_that_is_unsafe_as_an_experiment_name_is_refused(here, monkeypatch, capsys, name):
    write_config(here / name)
    monkeypatch.setattr(sys, "argv", ["lop", "run", "--", name])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert "its name may only have letters, digits" in capsys.readouterr().err
    assert list(here.iterdir()) == [here / name]


@pytest.mark.long
def test_modules_of_the_working_directory_stay_out_of_the_workers(here):
    (here / "random.py").write_text("raise SystemExit('my own random.py')")
    write_config(here / "my run.json", num_tasks=1)
    command = [str(Path(sys.executable).with_name("lop")), "run", "my run.json", "--runs-dir", "[b]runs"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "records in [b]runs" in done.stdout


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Make a directory with cbp.json and its one finished run."""
    path = tmp_path_factory.mktemp("finished")
    write_config(path / "cbp.json", num_tasks=2)
    assert lop("run", "cbp.json", cwd=path).returncode == 0
    return path


@pytest.mark.parametrize("file", ["run.json", "status.json", "tasks.json", "epochs.json", "checkpoint.pt"])
@pytest.mark.long
def test_a_damaged_file_is_named_and_fresh_is_not_advised_while_records_exist(here, finished, file):
    shutil.copytree(finished, here, dirs_exist_ok=True)
    [run] = find_runs(here / "runs")
    run.write_status(replace(run.read_status(), state="stopped"))
    (run.path / file).write_text('{"spec": 5, "state": []}')
    run.previous_checkpoint.unlink()
    refused = lop("run", "cbp.json")
    output = refused.stdout + refused.stderr
    assert refused.returncode in (1, 2)
    assert file in output
    assert "--fresh" not in output
    assert "its records are kept (" in output or "lop doctor --repair keeps" in output or "backup" in output
    assert "Traceback" not in output
    prepared = prepare_run_dirs(here / "runs", load_runs(here / "cbp.json"), fresh=True)
    assert prepared.to_train == [run]
    assert prepared.resumed == []


def test_a_failed_run_shows_the_worker_s_error_and_exits_1(here, finished):
    shutil.copytree(finished, here, dirs_exist_ok=True)
    [run] = find_runs(here / "runs")
    run.checkpoint.write_bytes(b"rubbish")
    run.previous_checkpoint.unlink()
    run.status_json.unlink()
    failed = lop("run", "cbp.json")
    assert failed.returncode == 1
    assert "damaged checkpoint" in failed.stdout
    assert "worker.log" in failed.stdout
    assert "Traceback" not in failed.stdout + failed.stderr


def start(*arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "lop_tui", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for(condition, limit_s: float = 60) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.02)


def is_training(here) -> bool:
    return any(run.tasks_json.exists() and read_table(run.tasks_json) for run in find_runs(here / "runs"))


@pytest.mark.long
def test_ctrl_c_stops_cleanly_and_the_same_command_resumes(here):
    write_config(here / "cbp.json", num_tasks=40)
    process = start("run", "cbp.json", "--seeds", "3", "--workers", "1")
    wait_for(lambda: is_training(here))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "resumes from the last checkpoints" in out
    assert "Traceback" not in out + err
    assert {run.read_status().state for run in find_runs(here / "runs")} == {"stopped"}
    done = lop("run", "cbp.json", "--seeds", "3", "--set", "num_tasks=40")
    assert done.returncode == 0, done.stderr
    assert "1 of 3 runs resume" in done.stdout
    assert [len(read_table(run.tasks_json)) for run in find_runs(here / "runs")] == [40, 40, 40]


@pytest.mark.parametrize("options", [["--watch"], []])
@pytest.mark.long
def test_a_closed_terminal_stops_the_training_and_leaves_nothing_behind(here, options):
    write_config(here / "cbp.json", num_tasks=4000)
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    process = subprocess.Popen(
        [sys.executable, "-m", "lop_tui", "run", "cbp.json", *options],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(theirs)

    def is_training_and_read() -> bool:
        with contextlib.suppress(BlockingIOError):
            os.read(ours, 1 << 20)  # lop would block on output to a terminal that is not read
        return is_training(here)

    wait_for(is_training_and_read)
    os.close(ours)
    assert process.wait(timeout=20) == 129
    [run] = find_runs(here / "runs")
    assert run.read_status().state == "stopped"
