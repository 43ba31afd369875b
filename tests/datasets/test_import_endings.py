"""An interrupted import leaves either a complete data set or the previous one."""

import errno
import os
import resource
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from lop_engine.datasets import ClassFolder
from lop_engine.datasets.importing import ImportOptions, import_images
from lop_engine.datasets.verify import verify
from lop_engine.errors import DataError
from tests.datasets.makers import WNIDS, bring_in, make_images, make_source, quiet, refusal


def test_a_refused_import_never_removes_existing_files(tmp_path, target):
    source = make_source(tmp_path, "npy", make_images())
    bring_in(source, target)
    before = (target / "dataset.json").read_bytes()
    assert "exists already; name another place with --to DIR, or add --replace" in refusal(source, target)
    broken = make_source(tmp_path, "batches", make_images())
    (broken / "train_data_batch_2").write_bytes(b"\x80\x04")
    assert "train_data_batch_2: not a whole pickle" in refusal(broken, target, replace=True)
    assert (target / "dataset.json").read_bytes() == before
    bring_in(make_source(tmp_path, "folder", make_images()), target, replace=True)
    assert ClassFolder.open(target).class_names == list(WNIDS)
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.tex").write_text("years of work")
    assert "no data set of lop's" in refusal(source, precious, replace=True)
    assert (precious / "thesis.tex").read_text() == "years of work"


def test_source_and_target_must_not_contain_each_other(tmp_path, target):
    source = make_source(tmp_path, "npy", make_images())
    for inside in (source, source / "new", tmp_path):
        with pytest.raises(DataError, match="lie in each other"):
            bring_in(source, inside)
    assert "no such file or folder" in refusal(tmp_path / "nowhere", target)


def test_the_next_import_removes_the_rest_of_an_interrupted_one(tmp_path, target):
    source = make_source(tmp_path, "npy", make_images())
    rest = target.with_name(".set.importing")
    (rest / "classes").mkdir(parents=True)
    (rest / "classes" / "0.npy").write_bytes(b"half")
    assert not target.exists()
    bring_in(source, target)
    assert not rest.exists()
    assert verify(target, quiet).problems == []


def test_an_import_interrupted_at_any_step_leaves_nothing(tmp_path, target):
    source = make_source(tmp_path, "batches", make_images())
    steps = []
    import_images(source, target, ImportOptions(), lambda *step: steps.append(step))
    shutil.rmtree(target)

    for stop_at in range(len(steps)):
        reports = []

        def report(what, done, total, reports=reports, stop_at=stop_at):
            reports.append(what)
            if len(reports) > stop_at:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            import_images(source, target, ImportOptions(), report)
        assert list(target.parent.iterdir()) == []


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path, target, monkeypatch):
    source = make_source(tmp_path, "npy", make_images())

    def full(fd):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert "No space left on device; nothing was imported" in refusal(source, target)


def test_a_second_import_into_the_same_target_is_refused(tmp_path, target):
    source = make_source(tmp_path, "npy", make_images())
    answers = []

    def report(what, done, total):
        if not answers:
            try:
                bring_in(source, target)
            except DataError as error:
                answers.append(str(error))

    thread = threading.Thread(target=import_images, args=(source, target, ImportOptions(), report))
    thread.start()
    thread.join()
    assert "another import is writing it now" in answers[0]
    assert verify(target, quiet).problems == []


def test_a_folder_that_is_not_exactly_a_data_set_is_never_replaced(tmp_path, target):
    source = make_source(tmp_path, "npy", make_images())
    target.mkdir()
    (target / "dataset.json").write_text('{"title": "kaggle"}')
    (target / "thesis.docx").write_text("years of work")
    assert "its dataset.json is not one of lop's" in refusal(source, target, replace=True)
    shutil.rmtree(target)
    bring_in(source, target)
    (target / "notes.txt").write_text("mine")
    assert "holds notes.txt besides a data set" in refusal(source, target, replace=True)
    (target / "notes.txt").rename(target / "classes" / "notes.txt")
    assert "holds classes/notes.txt besides a data set" in refusal(source, target, replace=True)


@pytest.mark.parametrize("kind", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_replacement_restores_the_old_data_set(tmp_path, target, monkeypatch, kind):
    source = make_source(tmp_path, "npy", make_images())
    before, _ = bring_in(source, target)
    rename = Path.rename

    def fail(path, other):
        if path.name.endswith(".importing"):
            raise kind
        return rename(path, other)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises((DataError, KeyboardInterrupt)):
        bring_in(make_source(tmp_path, "folder", make_images()), target, replace=True)
    assert ClassFolder.open(target).sha256 == before.sha256
    assert [path.name for path in target.parent.iterdir()] == ["set"]


def test_the_next_import_even_a_failing_one_restores_a_data_set_after_a_kill_during_replacement(tmp_path, target):
    source = make_source(tmp_path, "npy", make_images())
    bring_in(source, target)
    target.rename(target.with_name(".set.replaced"))
    with pytest.raises(DataError, match="exists already"):
        bring_in(source, target)
    assert verify(target, quiet).problems == []


def test_a_folder_created_during_the_import_is_not_replaced(tmp_path, target):
    source = make_source(tmp_path, "npy", make_images())

    def report(what, done, total):
        target.mkdir(exist_ok=True)
        (target / "precious").write_text("mine")

    with pytest.raises(DataError, match="exists already"):
        import_images(source, target, ImportOptions(), report)
    assert (target / "precious").read_text() == "mine"


def test_a_link_as_target_stays_a_link(tmp_path, target):
    source = make_source(tmp_path, "npy", make_images())
    real = tmp_path / "real"
    bring_in(source, real)
    target.symlink_to(real)
    for _ in range(2):
        bring_in(
            make_source(tmp_path, "folder", make_images())
            if not (tmp_path / "folder").exists()
            else tmp_path / "folder",
            target,
            replace=True,
        )
    assert target.is_symlink()
    assert ClassFolder.open(real).class_names == list(WNIDS)


@pytest.mark.parametrize("name", [".", "..", ""])
def test_invalid_targets_are_refused(tmp_path, name, monkeypatch):
    source = make_source(tmp_path, "npy", make_images())
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(DataError):
        import_images(source, Path(name), ImportOptions(), quiet)
    assert list((tmp_path / "here").iterdir()) == []


def test_images_replaced_while_a_data_set_is_open_are_refused(tmp_path, target):
    source = make_source(tmp_path, "npy", make_images())
    bring_in(source, target)
    opened = ClassFolder.open(target)
    opened.images(0, 9)
    bring_in(make_source(tmp_path, "folder", make_images()[::-1]), target, replace=True)
    with pytest.raises(DataError, match="replaced since they were opened"):
        opened.images(0, 9)


def test_the_number_of_open_files_does_not_grow_with_the_classes(tmp_path):
    images = np.zeros((2, 3, 32, 32), np.uint8)
    (tmp_path / "classes").mkdir()
    for index in range(300):
        np.save(tmp_path / "classes" / f"{index}.npy", images + np.uint8(index % 250))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
    try:
        assert ClassFolder.open(tmp_path).num_classes == 300
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
