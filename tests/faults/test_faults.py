"""Real faults: the state and message they lead to, and that runs resume once the fault is corrected."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from lop_engine.launch import prepare_run_dirs
from lop_engine.runs.directory import RunDir, find_runs
from lop_engine.runs.store import read_table
from tests.cli.test_run import lop, write_config
from tests.faults.conftest import IS_LONG
from tests.faults.test_kill import documents, make_runs, train


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def small_disk(tmp_path):
    """Mount a file system of 1 MiB."""
    path = tmp_path / "small"
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", path], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("mounting a file system takes a privilege that this user has not")
    yield path
    subprocess.run(["umount", "--lazy", path], check=True)


def fill(disk: Path, leave_bytes: int) -> Path:
    """Fill `disk` until only `leave_bytes` are free."""
    ballast = disk / "ballast"
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    ballast.write_bytes(bytes(max(0, free - leave_bytes)))
    return ballast


@pytest.mark.parametrize("leave_bytes", [30_000, 8_192] if IS_LONG else [8_192])
def test_a_full_disk_is_named_and_the_run_resumes_when_there_is_room(tmp_path, small_disk, leave_bytes):
    runs = make_runs("cbp", [0], num_tasks=20, num_showings=4, checkpoint_every_s=0.3)
    [whole] = train(tmp_path / "whole", runs)
    [run_dir] = prepare_run_dirs(small_disk / "runs", runs).to_train
    ballast = fill(small_disk, leave_bytes)
    train(small_disk / "runs", runs)
    status = run_dir.read_status()
    assert status.state == "failed"
    assert "the disk is full; free some space, then run lop resume" in status.error
    assert not run_dir.epochs_json.exists() or len(read_table(run_dir.epochs_json)) < 80
    ballast.unlink()
    train(small_disk / "runs", runs)
    assert run_dir.read_status().state == "finished", run_dir.read_status().error
    assert documents(run_dir) == documents(whole)


def test_a_full_disk_at_the_start_of_a_run_is_reported_in_one_line(here, small_disk):
    write_config(here / "cbp.json")
    fill(small_disk, 0)
    refused = lop("run", "cbp.json", "--seeds", "1", "--runs-dir", str(small_disk / "runs"))
    assert refused.returncode in (1, 2)
    assert "No space left on device" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_read_only_runs_directory_is_refused(here, small_disk):
    write_config(here / "cbp.json")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    refused = lop("run", "cbp.json", "--seeds", "1", "--runs-dir", str(small_disk / "runs"))
    assert refused.returncode == 2
    assert "Read-only file system" in refused.stderr
    assert refused.stderr.count("\n") == 1


def half_done(here) -> tuple[RunDir, RunDir]:
    """Make a run that stopped half way, with two checkpoints, and the same run without interruption."""
    write_config(here / "cbp.json", num_tasks=6, checkpoint_every_s=0)
    assert lop("run", "cbp.json", "--seeds", "1", "--runs-dir", "whole").returncode == 0
    shutil.copytree(here / "whole", here / "runs")
    [run], [whole] = find_runs(here / "runs"), find_runs(here / "whole")
    status = json.loads(run.status_json.read_text())
    run.status_json.write_text(json.dumps(status | {"state": "stopped"}))
    return run, whole


def test_a_run_with_a_damaged_checkpoint_resumes_from_the_previous_one(here):
    run, whole = half_done(here)
    content = bytearray(run.checkpoint.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    run.checkpoint.write_bytes(content)
    doctor = lop("doctor")
    assert doctor.returncode == 1
    assert "checkpoint.pt is damaged; the checkpoint before it is used instead" in doctor.stdout
    assert lop("resume").returncode == 0
    assert documents(run) == documents(whole)
    assert "checkpoint.pt is damaged; resumed from the one before it (task 5, epoch 0)" in run.read_status().note
    assert "resumed from the one before it" in lop("status").stdout


def test_two_damaged_checkpoints_fail_the_run_and_keep_its_records(here):
    run, _ = half_done(here)
    before = run.tasks_json.read_bytes()
    for path in (run.checkpoint, run.previous_checkpoint):
        path.write_bytes(b"not a checkpoint")
    ended = lop("resume")
    assert ended.returncode == 1
    assert "damaged checkpoint; its records are kept (" in ended.stdout
    assert "--fresh" not in ended.stdout
    assert run.tasks_json.read_bytes() == before


def test_damage_in_the_middle_of_a_record_file_is_named_and_repaired(here):
    run, _ = half_done(here)
    lines = run.tasks_json.read_bytes().split(b"\n")
    lines[3] = lines[3][:20] + b"\x00\x00" + lines[3][30:]
    damaged = b"\n".join(lines)
    run.tasks_json.write_bytes(damaged)
    doctor = lop("doctor")
    assert doctor.returncode == 1
    assert "tasks.json: line 4: not a whole document, yet others follow; lop doctor --repair" in doctor.stdout
    assert run.tasks_json.read_bytes() == damaged
    repaired = lop("doctor", "--repair")
    assert repaired.returncode == 0, repaired.stdout
    assert "kept 5 documents, left out line 4; old file: tasks.json.damaged-1" in repaired.stdout
    assert "the run resumes only if its checkpoint covers no document that was left out" in repaired.stdout
    assert run.tasks_json.with_name("tasks.json.damaged-1").read_bytes() == damaged
    assert [task["task"] for task in read_table(run.tasks_json)] == [0, 1, 3, 4, 5]
    again = lop("doctor", "--repair")
    assert again.returncode == 0
    assert "kept" not in again.stdout


def test_doctor_finds_no_problem_on_a_sound_machine(here):
    doctor = lop("doctor")
    assert doctor.returncode == 0, doctor.stdout
    for subject in ("installation: Python", "devices: ", "disk: ", "images: no data/imagenet32"):
        assert subject in doctor.stdout


def test_doctor_names_broken_images_and_runs(here):
    (here / "data" / "imagenet32" / "classes").mkdir(parents=True)
    (here / "data" / "imagenet32" / "classes" / "0.npy").write_bytes(b"x")
    run, _ = half_done(here)
    run.run_json.write_text("{")
    doctor = lop("doctor")
    assert doctor.returncode == 1
    assert "wrong images: data/imagenet32" in doctor.stdout
    assert "wrong cbp/default/seed_000: " in doctor.stdout
    assert "Traceback" not in doctor.stderr
