"""Zip and tar archives are imported as downloaded, and never write outside the folder of the import."""

import io
import os
import shutil
import tarfile
import zipfile

import numpy as np
import pytest

from lop_engine.datasets import ClassFolder
from lop_engine.datasets.importing import ImportOptions, archives, import_images
from lop_engine.errors import DataError
from tests.datasets.makers import FORMATS, WNIDS, bring_in, make_images, make_source, quiet, refusal, zip_with
from tests.datasets.test_sizes_and_labels import write_cifar_100

KINDS = {".zip": "zip", ".tar": "tar", ".tar.gz": "gztar", ".tar.xz": "xztar", ".tar.bz2": "bztar"}


def pack(source, suffix=".zip", inside=True):
    """Write the folder `source` (with `inside`) or its content (without) as an archive beside it."""
    where = (source.parent, source.name) if inside else (source, None)
    made = shutil.make_archive(str(source.parent / f"packed {source.name}"), KINDS[suffix], *where)
    assert made.endswith(suffix)
    return source.parent / os.path.basename(made)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("inside", [True, False])
def test_an_archive_becomes_the_same_data_set_as_its_folder(tmp_path, target, form, inside):
    source = make_source(tmp_path, form, make_images())
    from_folder, _ = bring_in(source, target)
    from_archive, _ = bring_in(pack(source, inside=inside), target.with_name("other"))
    assert from_archive.sha256 == from_folder.sha256
    assert from_archive.classes == from_folder.classes
    assert from_archive.source["path"] == str(tmp_path / f"packed {form}.zip")
    assert sorted(path.name for path in target.with_name("other").iterdir()) == ["classes", "dataset.json"]
    assert sorted(path.name for path in target.parent.iterdir()) == ["other", "set"]


@pytest.mark.parametrize("suffix", KINDS)
def test_every_kind_of_archive_is_read(tmp_path, target, suffix):
    write_cifar_100(tmp_path / "cifar-100-python")
    manifest, _ = bring_in(pack(tmp_path / "cifar-100-python", suffix), target)
    assert [(one.name, one.images) for one in manifest.classes] == [("apple", 5), ("whale", 5)]


def test_the_folder_with_training_images_is_imported_from_several_in_an_archive(tmp_path, target):
    (tmp_path / "both").mkdir()
    make_source(tmp_path / "both", "batches", make_images())
    (tmp_path / "both/Imagenet32_val").mkdir()
    (tmp_path / "both/Imagenet32_val/val_data").write_bytes(b"")
    (tmp_path / "both/__MACOSX").mkdir()
    (tmp_path / "both/__MACOSX/._train_data_batch_1").write_bytes(b"x")
    bring_in(pack(tmp_path / "both"), target)
    assert ClassFolder.open(target).class_names == list(WNIDS)


@pytest.mark.parametrize("inside", [True, False])
def test_an_archived_data_set_of_lop_keeps_its_class_names(tmp_path, target, inside):
    bring_in(make_source(tmp_path, "folder", make_images()), target)
    bring_in(pack(target, inside=inside), tmp_path / "again")
    assert ClassFolder.open(tmp_path / "again").class_names == list(WNIDS)


def test_an_archive_of_several_folders_of_images_is_refused_with_their_names(tmp_path, target):
    (tmp_path / "both").mkdir()
    for form in ("batches", "npz"):
        make_source(tmp_path / "both", form, make_images())
    output = refusal(pack(tmp_path / "both"), target)
    assert "holds several folders of images (batches, npz); unpack it and import one of them" in output


OUTSIDE = ["../escape", "a/../../escape", "/tmp/lop-escape", "..\\escape", "C:escape"]


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_members_outside_the_folder_are_refused(tmp_path, target, name, kind):
    archive = tmp_path / f"a.{kind}"
    if kind == "zip":
        zip_with(archive, {name: b"x"})
    else:
        with tarfile.open(archive, "w") as made:
            made.addfile(tarfile.TarInfo(name))
    assert "lies outside the archive's folder" in refusal(archive, target)
    assert not list(tmp_path.parent.rglob("*escape"))
    assert not os.path.exists("/tmp/lop-escape")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_of_a_tar_are_refused(tmp_path, target, kind):
    with tarfile.open(tmp_path / "a.tar", "w") as made:
        member = tarfile.TarInfo("train")
        member.type, member.linkname = kind, "/etc"
        made.addfile(member)
    assert "a link or device" in refusal(tmp_path / "a.tar", target)


def test_links_of_a_zip_are_refused(tmp_path, target):
    link = zipfile.ZipInfo("train")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
        made.writestr(link, "/etc")
    assert "a link or device" in refusal(tmp_path / "a.zip", target)


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_an_archive_that_would_fill_the_disk_is_refused(tmp_path, target, suffix):
    (tmp_path / "bomb").mkdir()
    (tmp_path / "bomb/train_data_batch_1").write_bytes(bytes(64 * 2**20))
    assert "so it is refused" in refusal(pack(tmp_path / "bomb", suffix), target)


def test_many_empty_files_and_long_headers_are_refused(tmp_path, target, monkeypatch):
    monkeypatch.setattr(archives, "MIN_BOMB", 10 * 512)
    monkeypatch.setattr(archives, "MAX_RATIO", 0)
    zip_with(tmp_path / "a.zip", {f"train/{number}": b"" for number in range(11)})
    assert "so it is refused" in refusal(tmp_path / "a.zip", target)
    with tarfile.open(tmp_path / "a.tar", "w") as made:
        made.addfile(tarfile.TarInfo("a" * 2**21))
    assert "a header of" in refusal(tmp_path / "a.tar", target)


def test_a_member_that_occurs_twice_is_refused(tmp_path, target):
    with tarfile.open(tmp_path / "a.tar", "w") as made:
        for name in ("train", "train", "train/x"):
            made.addfile(tarfile.TarInfo(name))
    assert "holds 'train' twice" in refusal(tmp_path / "a.tar", target)


@pytest.mark.parametrize("suffix", KINDS)
def test_a_truncated_archive_is_named_and_leaves_nothing(tmp_path, target, suffix):
    archive = pack(make_source(tmp_path, "batches", make_images()), suffix)
    whole = archive.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) * 9 // 10):
        archive.write_bytes(whole[:length])
        assert archive.name in refusal(archive, target), length


def test_an_error_in_an_archive_names_archive_and_member(tmp_path, target):
    content = io.BytesIO()
    np.save(content, np.zeros(3))
    zip_with(tmp_path / "a.zip", {"Imagenet32_train/train_data_batch_1": content.getvalue()})
    output = refusal(tmp_path / "a.zip", target)
    assert output.startswith(f"{tmp_path}/a.zip/Imagenet32_train/train_data_batch_1: ")
    zip_with(tmp_path / "b.zip", {"readme.txt": b"nothing"})
    assert f"{tmp_path}/b.zip: unknown format of images" in refusal(tmp_path / "b.zip", target)


def test_an_import_interrupted_while_unpacking_leaves_nothing(tmp_path, target, monkeypatch):
    def stop(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(archives, "_read", stop)
    archive = pack(make_source(tmp_path, "batches", make_images()))
    with pytest.raises(KeyboardInterrupt):
        import_images(archive, target, ImportOptions(), quiet)
    assert not list(target.parent.iterdir())


def test_an_encrypted_archive_is_refused(tmp_path, target):
    archive = pack(make_source(tmp_path, "batches", make_images()))
    content = bytearray(archive.read_bytes())
    place = content.index(b"PK\x01\x02")
    while place >= 0:
        content[place + 8] |= 1
        place = content.find(b"PK\x01\x02", place + 4)
    archive.write_bytes(content)
    with pytest.raises(DataError, match="encrypted"):
        bring_in(archive, target)
