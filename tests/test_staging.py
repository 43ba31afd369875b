"""Images on a node: looked at before a worker starts, and copied to the node's own disk, which stops no experiment."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from filelock import FileLock

from lop_engine.datasets import ClassFolder, staging
from lop_engine.datasets.importing import ImportOptions, import_images
from lop_engine.datasets.staging import expand, reading, stage
from lop_engine.errors import ConfigError, DataError
from lop_engine.launch import LocalLauncher, Plan, Resources, prepare_run_dirs
from lop_engine.launch.slurm import images as node_images
from lop_engine.launch.slurm import read_options
from lop_engine.launch.slurm.task import ArrayTask
from lop_engine.rundir import RunDir
from lop_engine.spec import Run, validate
from lop_engine.store import read_table
from lop_tui import cli
from tests.data.makers import make_images, make_source
from tests.helpers import TINY


@pytest.fixture
def images(tmp_path) -> ClassFolder:
    """A data set on the "file server"."""
    source = make_source(tmp_path, "npy", make_images())
    import_images(source, tmp_path / "server" / "set", ImportOptions(), lambda what, done, total: None)
    return ClassFolder.open(tmp_path / "server" / "set")


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def left(disk: Path) -> list[str]:
    """What is on a node's disk besides locks."""
    return [path.name for path in disk.glob("lop-*/*") if path.suffix != ".lock"]


# --- the copy


def test_a_copy_is_the_data_set_and_is_made_once(images, tmp_path):
    (tmp_path / "server" / "set" / "notes.txt").write_text("not of the data set")
    said: list[str] = []
    copy = stage(images, tmp_path / "disk", report=said.append)
    assert copy.name == f"set-{images.sha256[:16]}"
    assert copy.parent.stat().st_mode & 0o777 == 0o700
    assert ClassFolder.open(copy).sha256 == images.sha256
    expected = content(tmp_path / "server" / "set")
    del expected["notes.txt"]
    assert content(copy) == expected
    made_at = (copy / "dataset.json").stat().st_mtime_ns
    assert stage(images, tmp_path / "disk", report=said.append) == copy
    assert (copy / "dataset.json").stat().st_mtime_ns == made_at
    assert [line.split()[1] for line in said] == ["copied", "those"]


def test_images_without_a_checksum_are_told_apart_by_place_sizes_and_times(tmp_path):
    source = make_source(tmp_path, "npy", make_images())
    copy = stage(ClassFolder.open(source), tmp_path / "disk")
    assert copy == stage(ClassFolder.open(source / "classes"), tmp_path / "disk").with_name(copy.name)
    assert {path.name for path in copy.iterdir()} == {"classes"}
    np.save(source / "classes" / "0.npy", make_images()[0] // 2)
    os.utime(source / "classes" / "0.npy", (1, 1))
    again = stage(ClassFolder.open(source), tmp_path / "disk")
    assert again != copy
    assert np.array_equal(ClassFolder.open(again).images(0, 9), make_images()[0] // 2)


def run_script(images: ClassFolder, disk: Path, before: str = "") -> subprocess.Popen[str]:
    """Another process that stages."""
    script = f"""
import os, sys, time
from pathlib import Path
from lop_engine.datasets import ClassFolder, staging
{before}
print("ready", flush=True)
staging.stage(ClassFolder.open(Path(sys.argv[1])), Path(sys.argv[2]), report=print)
"""
    command = [sys.executable, "-c", script, str(images.path.parent), str(disk)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_tasks_that_start_together_on_a_node_copy_once(images, tmp_path):
    copy = stage(images, tmp_path / "disk")
    (copy / "classes" / "0.npy").unlink()
    with FileLock(copy.with_name(f"{copy.name}.lock")):
        tasks = [run_script(images, tmp_path / "disk") for _ in range(2)]
        for task in tasks:
            assert task.stdout.readline() == "ready\n"
        time.sleep(0.3)
    said = [task.communicate(timeout=60)[0].split()[1] for task in tasks]
    assert sorted(said) == ["copied", "those"]
    assert ClassFolder.open(copy).sha256 == images.sha256


def test_a_copier_that_was_killed_leaves_nothing_that_looks_whole_and_the_next_clears_it_away(images, tmp_path):
    hang = """
copy_file = staging._copy_file
staging._copy_file = lambda file, copy: copy_file(file, copy) if "/0.npy" in file.place else time.sleep(60)
"""
    copier = run_script(images, tmp_path / "disk", hang)
    wait_for(lambda: list(tmp_path.glob("disk/lop-*/.*/classes/0.npy")))
    copier.kill()
    copier.communicate()
    [half] = left(tmp_path / "disk")
    assert half.startswith(".")
    copy = stage(images, tmp_path / "disk")
    assert left(tmp_path / "disk") == [copy.name]


def test_a_copy_that_lost_files_is_made_again(images, tmp_path):
    copy = stage(images, tmp_path / "disk")
    (copy / "classes" / "2.npy").unlink()
    assert stage(images, tmp_path / "disk") == copy
    assert len(content(copy)) == 5


def test_a_disk_without_room_is_not_begun_to_be_filled(images, tmp_path, monkeypatch):
    monkeypatch.setattr(staging.shutil, "disk_usage", lambda path: SimpleNamespace(free=2**30))
    with pytest.raises(DataError, match=r"disk/lop-.*: 1\.0 GiB free, 0\.0 GiB of images and a reserve of 1 GiB"):
        stage(images, tmp_path / "disk")
    assert left(tmp_path / "disk") == []


def fail_at_the_second_file(monkeypatch, failure: Callable[[], None]) -> None:
    copy_file = staging._copy_file

    def copy_or_fail(file, copy):
        if file.place == "classes/1.npy":
            failure()
        copy_file(file, copy)

    monkeypatch.setattr(staging, "_copy_file", copy_or_fail)


def test_a_disk_that_is_full_in_the_middle_is_left_as_it_was(images, tmp_path, monkeypatch):
    def fail():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    fail_at_the_second_file(monkeypatch, fail)
    with pytest.raises(DataError, match="disk: No space left on device"):
        stage(images, tmp_path / "disk")
    assert left(tmp_path / "disk") == []


def test_a_folder_of_another_user_is_not_trusted(images, tmp_path):
    ours = stage(images, tmp_path / "disk").parent
    ours.rename(tmp_path / "theirs")
    ours.symlink_to(tmp_path / "theirs")
    with pytest.raises(DataError, match="is another user's"):
        stage(images, tmp_path / "disk")


def test_another_copier_is_not_waited_for_without_end(images, tmp_path, monkeypatch):
    copy = stage(images, tmp_path / "disk")
    monkeypatch.setattr(staging, "PATIENCE_S", 0)
    with FileLock(copy.with_name(f"{copy.name}.lock")), pytest.raises(DataError, match="another task has been copying"):
        stage(images, tmp_path / "disk")


def test_a_directory_is_expanded_where_it_is(monkeypatch):
    monkeypatch.setenv("TMPDIR", "/scratch/job7")
    monkeypatch.setenv("HOME", "/home/me")
    assert expand("$TMPDIR/images") == expand("${TMPDIR}/images") == Path("/scratch/job7/images")
    assert expand("~/images") == Path("/home/me/images")
    monkeypatch.setenv("TMPDIR", "scratch")
    with pytest.raises(DataError, match="is scratch here, which is no absolute path"):
        expand("$TMPDIR")
    for value in ("", None):
        monkeypatch.setenv("TMPDIR", value) if value is not None else monkeypatch.delenv("TMPDIR")
        with pytest.raises(DataError, match=r"\$TMPDIR: TMPDIR is not set here"):
            expand("$TMPDIR")


# --- the option


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("", r"is no directory; .* quoted, .*'\$TMPDIR'"),
        ("scratch", "begin with /, ~ or a variable"),
        ("$(mktemp -d)", r"\$NAME and \$\{NAME\} are expanded on the node, nothing else"),
    ],
)
def test_a_directory_that_cannot_be_meant_is_refused(tmp_path, monkeypatch, typed, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=f'--slurm: stage ".*": {message}'):
        read_options([f"stage={typed}"])


def lop(monkeypatch, capsys, *words: str) -> str:
    """Run a command that is refused; return what it says."""
    monkeypatch.setattr(sys, "argv", ["lop", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


def test_a_variable_of_which_the_shell_made_nothing_is_noticed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("tiny.json").write_text(json.dumps(TINY))
    quote_it = "the shell here expands it: '$TMPDIR'"
    # lop run tiny.json --stage $TMPDIR --launcher slurm
    assert quote_it in lop(monkeypatch, capsys, "run", "tiny.json", "--stage", "--launcher", "slurm")
    # ... --stage "$TMPDIR"
    assert quote_it in lop(monkeypatch, capsys, "run", "tiny.json", "--launcher", "slurm", "--stage", "")
    assert "--stage is for --launcher slurm" in lop(monkeypatch, capsys, "run", "tiny.json", "--stage", "$TMPDIR")


# --- the task


@pytest.fixture
def in_job(monkeypatch):
    """This process as a task of an array on node7, with signals of its own."""
    for name, value in {"ARRAY_JOB_ID": "12", "ARRAY_TASK_ID": "3", "JOB_ID": "7"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setenv("SLURMD_NODENAME", "node7")
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR2)}
    yield
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def no_worker(monkeypatch):
    def start(*args):
        pytest.fail("a worker was started")

    monkeypatch.setattr("lop_engine.launch.local._start_worker", start)


def prepare(runs_dir: Path, dataset: object, num_tasks: int = 2, seeds=(0,)) -> list[RunDir]:
    """Runs that were submitted as a job."""
    changes = {"dataset": str(dataset), "train_images": 8, "test_images": 1, "num_tasks": num_tasks}
    spec = validate(TINY | changes, "tiny")
    dirs = prepare_run_dirs(runs_dir, [Run("cbp", "default", seed, spec) for seed in seeds]).to_train
    for run_dir in dirs:
        run_dir.write_status(replace(run_dir.read_status(), job="12_3"))
    return dirs


def task_of(dirs: list[RunDir], stage: object = None, retries: int = 1) -> ArrayTask:
    return ArrayTask([str(run_dir.path) for run_dir in dirs], ["cpu"], 1, retries, stage and str(stage))


def documents(run_dir: RunDir) -> list[dict]:
    return [{**document, "seconds": 0} for document in read_table(run_dir.tasks_json)]


def wait_for(condition: Callable[[], object], limit_s: float = 60) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


def test_a_node_without_the_images_ends_its_runs_and_starts_no_worker(tmp_path, in_job, no_worker, capsys):
    dirs = prepare(tmp_path / "runs", tmp_path / "gone", seeds=(0, 1))
    task = task_of(dirs, tmp_path / "disk")
    task()
    line = f"node7: {tmp_path}/gone: no images there; the images must lie where the compute nodes see them"
    for run_dir in dirs:
        status = run_dir.read_status()
        assert status.state == "failed"
        assert status.error.startswith(line)
    assert capsys.readouterr().out.startswith(line)
    assert task.checkpoint() is None


def test_a_relative_path_is_looked_for_from_the_job_s_directory(tmp_path, in_job, no_worker, monkeypatch):
    monkeypatch.chdir(tmp_path)
    [run_dir] = prepare(tmp_path / "runs", "imagenet32")
    task_of([run_dir])()
    assert f"node7: {tmp_path}/data/imagenet32: no images there" in run_dir.read_status().error


def test_a_file_that_nobody_looked_at_is_refused_when_its_class_is_due(images):
    quick = ClassFolder.open(images.path, every_file=False)
    assert quick == images
    images.file(1).write_bytes(images.file(1).read_bytes()[:-1])
    quick.images(0, 2)
    with pytest.raises(DataError, match=r"1\.npy: not a whole .npy array"):
        quick.images(1, 2)


def test_images_that_are_others_or_cannot_be_read_are_named_with_the_node(
    images, tmp_path, in_job, no_worker, monkeypatch
):
    [run_dir] = prepare(tmp_path / "runs", images.name)
    (images.path / "1.npy").unlink()
    task_of([run_dir])()
    assert run_dir.read_status().error.startswith(f"node7: {images.path}: class file 1.npy is missing")

    def refuse(spec, **_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), spec.dataset)

    monkeypatch.setattr(node_images, "open_images", refuse)
    task_of([run_dir])()
    assert run_dir.read_status().error.startswith(f"node7: {images.name}: Permission denied; the images must lie")


def test_a_file_server_that_does_not_answer_is_not_waited_for_without_end(
    images, tmp_path, in_job, no_worker, monkeypatch
):
    [run_dir] = prepare(tmp_path / "runs", images.name)
    dead = threading.Event()
    monkeypatch.setattr(node_images, "open_images", lambda *_, **__: dead.wait(60))
    monkeypatch.setattr(node_images, "PATIENCE_S", 0.3)
    task_of([run_dir])()
    dead.set()
    assert f"node7: {images.name}: no answer" in run_dir.read_status().error


def test_runs_that_the_node_does_not_see_are_named_in_the_job_s_log(tmp_path, in_job, no_worker, capsys):
    ArrayTask([str(tmp_path / "runs" / "cbp" / "default" / "seed_000")], ["cpu"], 1, 1)()
    assert f"node7: {tmp_path}/runs/cbp/default/seed_000: no run there" in capsys.readouterr().out


def test_a_staged_run_is_the_run_and_reads_the_copy(images, tmp_path, in_job, capsys):
    [staged] = prepare(tmp_path / "staged", images.name)
    [shared] = prepare(tmp_path / "shared", images.name)
    task_of([shared])()
    before = staged.run_json.read_bytes()
    task_of([staged], tmp_path / "disk")()
    assert (staged.read_status().state, staged.read_status().note) == ("finished", None)
    assert documents(staged) == documents(shared)
    assert staged.run_json.read_bytes() == before
    assert f"MB to {tmp_path}/disk/lop-" in capsys.readouterr().out


def test_what_cannot_be_staged_is_trained_from_where_it_is_and_noted(images, tmp_path, in_job, capsys, monkeypatch):
    monkeypatch.delenv("NO_SUCH_DISK", raising=False)
    [run_dir] = prepare(tmp_path / "runs", images.name)
    task_of([run_dir], "$NO_SUCH_DISK")()
    line = f"node7: not staged: $NO_SUCH_DISK: NO_SUCH_DISK is not set here; the images are read from {images.name}"
    assert (run_dir.read_status().state, run_dir.read_status().note) == ("finished", line)
    assert line in capsys.readouterr().out


def test_there_is_nothing_to_stage_of_synthetic_images(tmp_path, in_job, capsys):
    [run_dir] = prepare(tmp_path / "runs", "synthetic", num_tasks=1)
    task_of([run_dir], tmp_path / "disk")()
    assert (run_dir.read_status().state, run_dir.read_status().note) == ("finished", None)
    assert "there is nothing to stage" in capsys.readouterr().out
    assert not (tmp_path / "disk").exists()


def test_a_warning_in_the_middle_of_copying_queues_the_runs_and_leaves_nothing(
    images, tmp_path, in_job, no_worker, monkeypatch
):
    [run_dir] = prepare(tmp_path / "runs", images.name)
    task, handed_on = task_of([run_dir], tmp_path / "disk"), []

    def warned(number, frame):  # as submitit does it
        handed_on.append(task.checkpoint())
        sys.exit(-1)

    signal.signal(signal.SIGUSR2, warned)
    fail_at_the_second_file(monkeypatch, lambda: os.kill(os.getpid(), signal.SIGUSR2))
    with pytest.raises(SystemExit):
        task()
    assert run_dir.read_status().state == "queued"
    assert handed_on[0].function.stage == str(tmp_path / "disk")
    assert left(tmp_path / "disk") == []


@pytest.mark.parametrize(("restarts", "state"), [(1, "queued"), (0, "stopped")])
def test_a_job_that_ends_in_the_middle_of_copying_starts_no_worker(
    images, tmp_path, in_job, no_worker, monkeypatch, restarts, state
):
    (tmp_path / "scontrol").write_text(f"#!/bin/sh\necho JobId=7 Restarts={restarts}\n")
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    [run_dir] = prepare(tmp_path / "runs", images.name)
    fail_at_the_second_file(monkeypatch, lambda: os.kill(os.getpid(), signal.SIGTERM))
    task_of([run_dir], tmp_path / "disk")()
    assert run_dir.read_status().state == state
    assert left(tmp_path / "disk") == []


def train(run_dir: RunDir, copy: Path, meanwhile: Callable[[], object]) -> list[str]:
    """Train from a copy; return what happened to workers."""
    launcher = LocalLauncher(Plan([[run_dir]], Resources(["cpu"], 1, 1)), 1, ["--images", str(copy)])
    reports = []

    def has_ended() -> bool:
        launcher.poll()
        meanwhile()
        reports.extend(launcher.take_reports())
        return not launcher.active

    wait_for(has_ended)
    return reports


def test_a_copy_that_vanishes_while_it_is_trained_on_costs_a_retry_and_changes_no_number(images, tmp_path):
    [ours] = prepare(tmp_path / "ours", images.name, num_tasks=40)
    [theirs] = prepare(tmp_path / "theirs", images.name, num_tasks=40)
    copy = stage(images, tmp_path / "disk")

    def clean() -> None:
        if ours.tasks_json.exists() and len(documents(ours)) > 1:
            (copy / "classes" / "3.npy").unlink(missing_ok=True)

    [report] = train(ours, copy, clean)
    assert "classes/3.npy" in report
    assert "trying again" in report
    assert ours.read_status().state == "finished"
    assert f"the images are read from {images.name}" in ours.read_status().note
    assert train(theirs, stage(images, tmp_path / "disk"), lambda: None) == []
    assert documents(ours) == documents(theirs)


def test_a_copy_of_other_images_is_not_trained_on(images, tmp_path):
    [run_dir] = prepare(tmp_path / "runs", images.name)
    config = run_dir.read_config()
    config["spec"]["dataset_sha256"] = images.sha256
    run_dir.run_json.write_text(json.dumps(config))
    (tmp_path / "other").mkdir()
    assert train(run_dir, make_source(tmp_path / "other", "npy", make_images() // 2), lambda: None) == []
    status = run_dir.read_status()
    assert status.state == "finished"
    assert "not the images that dataset_sha256 asks for" in status.note


def test_a_copy_without_a_checksum_that_lost_its_last_class_is_not_taken_for_whole(tmp_path):
    source = make_source(tmp_path, "npy", make_images())
    copy = stage(ClassFolder.open(source), tmp_path / "disk")
    spec = validate(TINY | {"dataset": str(source), "train_images": 8, "test_images": 1}, "tiny")
    assert reading(spec, copy).dataset == str(copy)
    (copy / "classes" / "3.npy").unlink()
    with pytest.raises(DataError, match="3 classes are left"):
        reading(spec, copy)
