"""Images in every format become the same data set."""

import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lop_engine.datasets import ClassFolder
from lop_engine.datasets.verify import verify
from tests.datasets.makers import FORMATS, WNIDS, bring_in, make_images, make_source, png, quiet, refusal


@pytest.mark.parametrize("form", FORMATS)
def test_imported_images_are_byte_identical_and_classes_keep_their_names(tmp_path, target, form):
    images = make_images()
    manifest, notes = bring_in(make_source(tmp_path, form, images), target)
    folder = ClassFolder.open(target)
    assert folder.class_names == list(WNIDS) if form != "npy" else ["0", "1", "2", "3"]
    assert folder.dtype == np.uint8
    for index, one in enumerate(images):
        assert (folder.mapped(index) == one).all()
    assert manifest == folder.manifest
    assert (manifest.train_images, manifest.test_images, manifest.normalisation) == (8, 1, "scaled")
    assert "4 of 4 classes hold fewer than 700 images, the smallest 9: the split is 8 train, 1 test" in notes[0]
    np.testing.assert_allclose(manifest.channel_means, images.mean((0, 1, 3, 4)))
    np.testing.assert_allclose(manifest.channel_stds, images.std((0, 1, 3, 4)))
    assert verify(target, quiet).problems == []
    assert sorted(path.name for path in target.parent.iterdir()) == ["set"]


def test_every_format_gives_the_same_images_for_a_wnid(tmp_path, target):
    images = make_images()
    sha256 = set()
    for form in FORMATS[1:]:
        manifest, _ = bring_in(make_source(tmp_path, form, images), target.with_name(form))
        sha256.add((manifest.sha256, tuple((entry.name, entry.sha256) for entry in manifest.classes)))
    assert len(sha256) == 1


@pytest.mark.parametrize("protocol", range(6))
def test_batches_of_every_pickle_protocol_are_imported(tmp_path, target, protocol):
    images = make_images(30)
    bring_in(make_source(tmp_path, "batches", images, protocol=protocol), target)
    assert (ClassFolder.open(target).mapped(2) == images[2]).all()


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f2", "<f8", "<i4", "<u2"])
def test_arrays_of_other_types_are_stored_unchanged(tmp_path, target, dtype):
    images = (make_images().astype(np.float64) - 100).clip(0).astype(dtype)
    manifest, _ = bring_in(make_source(tmp_path, "npy", images), target)
    assert manifest.normalisation == "none"
    assert manifest.dtype == np.dtype(dtype).newbyteorder("=").name
    assert (ClassFolder.open(target).mapped(1) == images[1]).all()


def test_the_first_images_of_each_class_are_imported_with_the_requested_split(tmp_path, target):
    images = make_images()
    for form in FORMATS:
        manifest, notes = bring_in(
            make_source(tmp_path, form, images), target.with_name(form), train_images=4, test_images=2
        )
        folder = ClassFolder.open(target.with_name(form))
        assert folder.counts == (6,) * 4
        assert (folder.mapped(3) == images[3, :6]).all()
        assert (manifest.train_images, manifest.test_images, notes) == (4, 2, [])
    source = tmp_path / "npy"
    assert 'class "0" holds 9 images, 110 are asked for' in refusal(source, target, train_images=10)


def test_a_data_set_of_lop_can_be_imported_again(tmp_path, target):
    first, _ = bring_in(make_source(tmp_path, "folder", make_images()), target)
    again, _ = bring_in(target, target.with_name("again"))
    assert again.sha256 == first.sha256
    assert [entry.name for entry in again.classes] == list(WNIDS)


def test_classes_named_by_numbers_are_ordered_as_numbers(tmp_path, target):
    images = np.random.default_rng(0).integers(0, 256, (12, 2, 3, 32, 32), dtype=np.uint8)
    for index, one in enumerate(images):
        (tmp_path / "digits" / str(index)).mkdir(parents=True)
        for place, image in enumerate(one):
            (tmp_path / "digits" / str(index) / f"{place}.png").write_bytes(png(image))
    first, _ = bring_in(tmp_path / "digits", target)
    assert [entry.name for entry in first.classes] == [str(index) for index in range(12)]
    again, _ = bring_in(target / "classes", target.with_name("again"))
    assert again.sha256 == first.sha256


def test_validation_images_are_appended_with_val(tmp_path, target):
    images = make_images()
    later = make_images()[:, ::-1]
    batches = make_source(tmp_path, "batches", images)
    flat = {"data": later[:, 0].reshape(4, -1), "labels": [1, 2, 3, 4]}
    (batches / "val_data").write_bytes(pickle.dumps(flat))
    folder = make_source(tmp_path, "folder", images)
    for wnid, one in zip(WNIDS, later, strict=True):
        (folder / "val" / wnid).mkdir(parents=True)
        (folder / "val" / wnid / "0.png").write_bytes(png(one[0]))
    for source in (batches, folder):
        bring_in(source, target.with_name(source.name))
        assert ClassFolder.open(target.with_name(source.name)).counts == (9,) * 4
        bring_in(source, target.with_name(f"{source.name} with"), with_val=True)
        assert ClassFolder.open(target.with_name(f"{source.name} with")).counts == (10,) * 4
    assert (ClassFolder.open(target.with_name("folder with")).mapped(0)[9] == later[0, 0]).all()
    for form in ("npz", "parquet"):
        assert "leave out --with-val" in refusal(make_source(tmp_path, form, images), target, with_val=True)


def test_larger_pictures_are_resized_with_the_box_filter_without_cropping(tmp_path, target):
    rng = np.random.default_rng(3)
    pictures = rng.integers(0, 256, (2, 2, 64, 96, 3), dtype=np.uint8)
    for index, one in enumerate(pictures):
        (tmp_path / "big" / f"class {index}").mkdir(parents=True)
        for place, picture in enumerate(one):
            Image.fromarray(picture).save(tmp_path / "big" / f"class {index}" / f"{place}.bmp")
    bring_in(tmp_path / "big", target)
    expected = pictures[1, 1].reshape(32, 2, 32, 3, 3).mean((1, 3)).transpose(2, 0, 1)
    assert abs(ClassFolder.open(target).mapped(1)[1] - expected).max() <= 1
    bring_in(tmp_path / "big", target.with_name("other"), resize="lanczos")
    assert (ClassFolder.open(target.with_name("other")).mapped(1) != ClassFolder.open(target).mapped(1)).any()
    assert 'did you mean "bicubic"' in refusal(tmp_path / "big", target.with_name("none"), resize="bicubik")


def test_grey_and_transparent_pictures_are_converted_to_colour(tmp_path, target):
    for name, mode, colour in [("a", "L", 77), ("b", "RGBA", (1, 2, 3, 128))]:
        (tmp_path / "odd" / name).mkdir(parents=True)
        for place in range(2):
            Image.new(mode, (32, 32), colour).save(tmp_path / "odd" / name / f"{place}.png")
    (tmp_path / "odd" / "a" / "notes.txt").write_text("not a picture")
    (tmp_path / "odd" / "a" / ".hidden.png").write_text("not a picture")
    bring_in(tmp_path / "odd", target)
    assert (ClassFolder.open(target).mapped(0) == 77).all()
    assert (ClassFolder.open(target).mapped(1)[0, :, 0, 0] == [1, 2, 3]).all()


def test_parquet_labels_may_be_names_and_images_plain_numbers(tmp_path, target):
    images = make_images(3)
    rows = [one.reshape(-1).tolist() for one in images.reshape(-1, 3, 32, 32)]
    labels = [wnid for wnid in WNIDS for _ in range(3)]
    (tmp_path / "plain").mkdir()
    pq.write_table(pa.table({"img": rows, "wnid": labels}), tmp_path / "plain" / "all.parquet")
    bring_in(tmp_path / "plain" / "all.parquet", target)
    assert ClassFolder.open(target).class_names == list(WNIDS)
    assert (ClassFolder.open(target).mapped(3) == images[3]).all()


def test_class_names_are_read_from_a_file(tmp_path, target):
    source = make_source(tmp_path, "npy", make_images())
    names = tmp_path / "names.txt"
    names.write_text("zebra\nyak\nfox, red\nant\n")
    bring_in(source, target, names=names)
    folder = ClassFolder.open(target)
    assert folder.class_names == ["ant", "fox, red", "yak", "zebra"]
    assert (folder.mapped(0) == make_images()[3]).all()
    for text, message in [
        ("one\ntwo\n", "2 names for 4 classes"),
        ("a 0 x\nb 1 x\nc 2 x\nd 7 x\ne 8\n", "names no class 3"),
        ("a\nb\na\nd\n", 'classes 0 and 2 are both called "a"'),
        ("a\nb\n\x1b[31m\nd\n", "is not printable"),
    ]:
        names.write_text(text)
        assert message in refusal(source, target.with_name("none"), names=names)
    assert "cannot be read" in refusal(source, target.with_name("none"), names=tmp_path / "nowhere")


def test_verify_names_equal_classes_and_edited_files(tmp_path, target):
    bring_in(make_source(tmp_path, "npy", make_images()), target)
    manifest = (target / "dataset.json").read_text()
    (target / "dataset.json").write_text(manifest.replace('"test_images": 1', '"test_images": 5'))
    assert "train_images and test_images is not that of the images" in verify(target, quiet).problems[0]
    (target / "dataset.json").write_text(manifest)
    content = bytearray((target / "classes" / "1.npy").read_bytes())
    (target / "classes" / "1.npy").write_bytes(content.replace(b"|u1", b"|i1"))
    assert "int8 values, 0.npy has uint8" in verify(target, quiet).problems[0]
    (target / "classes" / "1.npy").write_bytes(bytes(content) + b"x")
    assert "1 bytes too many" in verify(target, quiet).problems[0]
    np.save(target / "classes" / "0.npy", np.full((9, 3, 32, 32), 7, np.uint8))
    (target / "classes" / "1.npy").write_bytes(bytes(content))
    (target / "classes" / "3.npy").write_bytes(bytes(content))
    assert any("3.npy: holds the same images as 1.npy" in problem for problem in verify(target, quiet).problems)


def test_a_note_says_that_changes_of_unimported_images_go_unnoticed(tmp_path):
    from lop_engine.experiment.run import Run
    from lop_engine.experiment.spec import Spec
    from lop_engine.launch import resolve_runs

    source = make_source(tmp_path, "npy", make_images())
    spec = Spec(agent="bp", step_size=0.1, num_tasks=1, num_showings=1, dataset=str(source))
    assert any("was not imported" in note for note in resolve_runs([Run("bp", "default", 0, spec)]).notes)
