"""Images on a node are checked before a worker starts; failures of staging do not stop runs."""

import errno
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from lop_engine.datasets import ClassFolder
from lop_engine.datasets.staging import reading, stage
from lop_engine.errors import DataError
from lop_engine.experiment.spec import validate
from lop_engine.launch import LocalLauncher, Plan, Resources
from lop_engine.launch.slurm import task as node_images
from lop_engine.runs.directory import RunDir
from tests.datasets.makers import make_images, make_source
from tests.helpers import TINY
from tests.launch.slurm.tasks import documents, fail_at_the_second_file, names_on, prepare, task_of, wait_for


@pytest.fixture
def no_worker(monkeypatch):
    def start(*args):
        pytest.fail("a worker was started")

    monkeypatch.setattr("lop_engine.launch.local.start_worker", start)


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


def test_a_relative_path_is_resolved_from_the_job_s_directory(tmp_path, in_job, no_worker, monkeypatch):
    monkeypatch.chdir(tmp_path)
    [run_dir] = prepare(tmp_path / "runs", "imagenet32")
    task_of([run_dir])()
    assert f"node7: {tmp_path}/data/imagenet32: no images there" in run_dir.read_status().error


def test_different_or_unreadable_images_are_named_with_the_node(images, tmp_path, in_job, no_worker, monkeypatch):
    [run_dir] = prepare(tmp_path / "runs", images.name)
    (images.path / "1.npy").unlink()
    task_of([run_dir])()
    assert run_dir.read_status().error.startswith(f"node7: {images.path}: class file 1.npy is missing")

    def refuse(spec, **_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), spec.dataset)

    monkeypatch.setattr(node_images, "open_images", refuse)
    task_of([run_dir])()
    assert run_dir.read_status().error.startswith(f"node7: {images.name}: Permission denied; the images must lie")


def test_waiting_for_an_unresponsive_file_server_has_a_time_limit(images, tmp_path, in_job, no_worker, monkeypatch):
    [run_dir] = prepare(tmp_path / "runs", images.name)
    dead = threading.Event()
    monkeypatch.setattr(node_images, "open_images", lambda *_, **__: dead.wait(60))
    monkeypatch.setattr(node_images, "PATIENCE_S", 0.3)
    task_of([run_dir])()
    dead.set()
    assert f"node7: {images.name}: no answer" in run_dir.read_status().error


def test_runs_missing_on_the_node_are_named_in_the_job_s_log(tmp_path, in_job, no_worker, capsys):
    task_of([RunDir(tmp_path / "runs" / "cbp" / "default" / "seed_000")])()
    assert f"node7: {tmp_path}/runs/cbp/default/seed_000: no run there" in capsys.readouterr().out


@pytest.mark.long
def test_a_run_with_staged_images_has_the_same_records_and_reads_the_copy(images, tmp_path, in_job, capsys):
    [staged] = prepare(tmp_path / "staged", images.name)
    [shared] = prepare(tmp_path / "shared", images.name)
    task_of([shared])()
    before = staged.run_json.read_bytes()
    task_of([staged], tmp_path / "disk")()
    assert (staged.read_status().state, staged.read_status().note) == ("finished", None)
    assert documents(staged) == documents(shared)
    assert staged.run_json.read_bytes() == before
    assert f"iB to {tmp_path}/disk/lop-" in capsys.readouterr().out


def test_images_that_cannot_be_staged_are_read_from_the_original(images, tmp_path, in_job, capsys, monkeypatch):
    monkeypatch.delenv("NO_SUCH_DISK", raising=False)
    [run_dir] = prepare(tmp_path / "runs", images.name)
    task_of([run_dir], "$NO_SUCH_DISK")()
    line = f"node7: not staged: $NO_SUCH_DISK: NO_SUCH_DISK is not set here; the images are read from {images.name}"
    assert (run_dir.read_status().state, run_dir.read_status().note) == ("finished", line)
    assert line in capsys.readouterr().out


def test_synthetic_images_are_not_staged(tmp_path, in_job, capsys):
    [run_dir] = prepare(tmp_path / "runs", "synthetic", num_tasks=1)
    task_of([run_dir], tmp_path / "disk")()
    assert (run_dir.read_status().state, run_dir.read_status().note) == ("finished", None)
    assert "there is nothing to stage" in capsys.readouterr().out
    assert not (tmp_path / "disk").exists()


def test_a_warning_during_copying_queues_the_runs_and_leaves_no_copy(images, tmp_path, in_job, no_worker, monkeypatch):
    [run_dir] = prepare(tmp_path / "runs", images.name)
    task, handed_on = task_of([run_dir], tmp_path / "disk"), []

    def warned(number, frame):  # like submitit's handler
        handed_on.append(task.checkpoint())
        sys.exit(-1)

    signal.signal(signal.SIGUSR2, warned)
    fail_at_the_second_file(monkeypatch, lambda: os.kill(os.getpid(), signal.SIGUSR2))
    with pytest.raises(SystemExit):
        task()
    assert run_dir.read_status().state == "queued"
    assert handed_on[0].function.stage == str(tmp_path / "disk")
    assert names_on(tmp_path / "disk") == []


@pytest.mark.parametrize(("restarts", "state"), [(1, "queued"), (0, "stopped")])
def test_a_job_that_ends_during_copying_starts_no_worker(
    images, tmp_path, in_job, no_worker, monkeypatch, restarts, state
):
    (tmp_path / "scontrol").write_text(f"#!/bin/sh\necho JobId=7 Restarts={restarts}\n")
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    [run_dir] = prepare(tmp_path / "runs", images.name)
    fail_at_the_second_file(monkeypatch, lambda: os.kill(os.getpid(), signal.SIGTERM))
    task_of([run_dir], tmp_path / "disk")()
    assert run_dir.read_status().state == state
    assert names_on(tmp_path / "disk") == []


def train(run_dir: RunDir, copy: Path, meanwhile: Callable[[], object]) -> list[str]:
    """Train from a copy; return the reports about workers."""
    launcher = LocalLauncher(Plan([[run_dir]], Resources(["cpu"], 1, 1)), 1, ["--images", str(copy)])
    reports = []

    def has_ended() -> bool:
        launcher.poll()
        meanwhile()
        reports.extend(launcher.take_reports())
        return not launcher.active

    wait_for(has_ended)
    return reports


@pytest.mark.long
def test_a_copy_that_vanishes_during_training_costs_a_retry_and_changes_no_record(images, tmp_path):
    [ours] = prepare(tmp_path / "ours", images.name, num_tasks=20)
    [theirs] = prepare(tmp_path / "theirs", images.name, num_tasks=20)
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


def test_an_incomplete_copy_without_a_checksum_is_detected(tmp_path):
    source = make_source(tmp_path, "npy", make_images())
    copy = stage(ClassFolder.open(source), tmp_path / "disk")
    spec = validate(TINY | {"dataset": str(source), "train_images": 8, "test_images": 1}, "tiny")
    assert reading(spec, copy).dataset == str(copy)
    (copy / "classes" / "3.npy").unlink()
    with pytest.raises(DataError, match="3 classes are left"):
        reading(spec, copy)
