"""Copies of images on a node: made once, completely or not at all."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from filelock import FileLock

from lop_engine.datasets import ClassFolder, staging
from lop_engine.datasets.staging import expand, stage
from lop_engine.errors import DataError
from tests.datasets.makers import make_images, make_source
from tests.launch.slurm.tasks import fail_at_the_second_file, names_on, wait_for


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_copy_equals_the_data_set_and_is_made_once(images, tmp_path):
    (tmp_path / "server" / "set" / "notes.txt").write_text("not of the data set")
    output: list[str] = []
    copy = stage(images, tmp_path / "disk", report=output.append)
    assert copy.name == f"set-{images.sha256[:16]}"
    assert copy.parent.stat().st_mode & 0o777 == 0o700
    assert ClassFolder.open(copy).sha256 == images.sha256
    expected = content(tmp_path / "server" / "set")
    del expected["notes.txt"]
    assert content(copy) == expected
    made_at = (copy / "dataset.json").stat().st_mtime_ns
    assert stage(images, tmp_path / "disk", report=output.append) == copy
    assert (copy / "dataset.json").stat().st_mtime_ns == made_at
    assert [line.split()[1] for line in output] == ["copied", "those"]


def test_images_without_a_checksum_are_identified_by_path_sizes_and_times(tmp_path):
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
    """Start another process that stages."""
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
    output = [task.communicate(timeout=60)[0].split()[1] for task in tasks]
    assert sorted(output) == ["copied", "those"]
    assert ClassFolder.open(copy).sha256 == images.sha256


def test_a_killed_copier_leaves_no_complete_copy_and_the_next_removes_the_rest(images, tmp_path):
    hang = """
copy_file = staging.copy_file
staging.copy_file = lambda file, copy: copy_file(file, copy) if "/0.npy" in file.place else time.sleep(60)
"""
    copier = run_script(images, tmp_path / "disk", hang)
    wait_for(lambda: list(tmp_path.glob("disk/lop-*/.*/classes/0.npy")))
    copier.kill()
    copier.communicate()
    [half] = names_on(tmp_path / "disk")
    assert half.startswith(".")
    copy = stage(images, tmp_path / "disk")
    assert names_on(tmp_path / "disk") == [copy.name]


def test_a_copy_that_lost_files_is_made_again(images, tmp_path):
    copy = stage(images, tmp_path / "disk")
    (copy / "classes" / "2.npy").unlink()
    assert stage(images, tmp_path / "disk") == copy
    assert len(content(copy)) == 5


def test_a_disk_without_room_is_detected_before_copying(images, tmp_path, monkeypatch):
    monkeypatch.setattr(staging.shutil, "disk_usage", lambda path: SimpleNamespace(free=2**30))
    with pytest.raises(DataError, match=r"disk/lop-.*: 1\.0 GiB free, \d+ KiB of images and a reserve of 1\.0 GiB"):
        stage(images, tmp_path / "disk")
    assert names_on(tmp_path / "disk") == []


def test_a_disk_that_fills_up_during_copying_is_left_as_it_was(images, tmp_path, monkeypatch):
    def fail():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    fail_at_the_second_file(monkeypatch, fail)
    with pytest.raises(DataError, match="disk: No space left on device"):
        stage(images, tmp_path / "disk")
    assert names_on(tmp_path / "disk") == []


def test_a_folder_of_another_user_is_not_trusted(images, tmp_path):
    ours = stage(images, tmp_path / "disk").parent
    ours.rename(tmp_path / "theirs")
    ours.symlink_to(tmp_path / "theirs")
    with pytest.raises(DataError, match="is another user's"):
        stage(images, tmp_path / "disk")


def test_waiting_for_another_copier_has_a_time_limit(images, tmp_path, monkeypatch):
    copy = stage(images, tmp_path / "disk")
    monkeypatch.setattr(staging, "PATIENCE_S", 0)
    with FileLock(copy.with_name(f"{copy.name}.lock")), pytest.raises(DataError, match="another task has been copying"):
        stage(images, tmp_path / "disk")


def test_a_staging_directory_is_expanded_with_the_node_s_environment(monkeypatch):
    monkeypatch.setenv("TMPDIR", "/scratch/job7")
    monkeypatch.setenv("HOME", "/home/me")
    assert expand("$TMPDIR/images") == expand("${TMPDIR}/images") == Path("/scratch/job7/images")
    assert expand("~/images") == Path("/home/me/images")
    monkeypatch.setenv("TMPDIR", "scratch")
    with pytest.raises(DataError, match="is scratch here, which is not an absolute path"):
        expand("$TMPDIR")
    for value in ("", None):
        monkeypatch.setenv("TMPDIR", value) if value is not None else monkeypatch.delenv("TMPDIR")
        with pytest.raises(DataError, match=r"\$TMPDIR: TMPDIR is not set here"):
            expand("$TMPDIR")


def test_an_unchecked_file_is_refused_when_its_class_is_read(images):
    quick = ClassFolder.open(images.path, every_file=False)
    assert quick == images
    images.file(1).write_bytes(images.file(1).read_bytes()[:-1])
    quick.images(0, 2)
    with pytest.raises(DataError, match=r"1\.npy: not a whole .npy array"):
        quick.images(1, 2)
