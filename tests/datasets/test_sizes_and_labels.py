"""Images of other sizes, and sources with several kinds of labels: CIFAR-100, 64 x 64 batches, columns of parquet."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lop_engine.datasets import ClassFolder
from tests.datasets.makers import bring_in, make_images, make_source, png, refusal


def write_cifar_100(folder: Path, coarse: int = 1) -> np.ndarray:
    """Write a small CIFAR-100 in its Python format: two classes, five training and two test images each."""
    folder.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (14, 3072), dtype=np.uint8)
    for name, rows in (("train", images[:10]), ("test", images[10:])):
        labels = [index % 2 for index in range(len(rows))]
        content = {
            b"data": rows,
            b"fine_labels": labels,
            b"coarse_labels": [index % coarse for index in range(len(rows))],
            b"filenames": [b"x"],
        }
        (folder / name).write_bytes(pickle.dumps(content, 2))
    names = {b"fine_label_names": [b"whale", b"apple"], b"coarse_label_names": [b"animals", b"plants", b"things"]}
    (folder / "meta").write_bytes(pickle.dumps(names, 2))
    return images


@pytest.mark.parametrize("part", ["", "train"])
def test_cifar_100_is_imported_by_its_fine_labels(tmp_path, target, part):
    images = write_cifar_100(tmp_path / "cifar-100-python")
    manifest, _ = bring_in(tmp_path / "cifar-100-python" / part, target)
    assert [(one.name, one.images) for one in manifest.classes] == [("apple", 5), ("whale", 5)]
    whales = np.load(target / "classes/1.npy")
    assert (whales == images[0:10:2].reshape(-1, 3, 32, 32)).all()
    manifest, _ = bring_in(tmp_path / "cifar-100-python" / part, tmp_path / "more", with_val=True)
    assert [one.images for one in manifest.classes] == [7, 7]


def test_sources_that_cannot_be_imported_are_named_with_the_remedy(tmp_path, target):
    (tmp_path / "outer").mkdir()
    inner = make_source(tmp_path / "outer", "batches", make_images())
    assert f"its images are in a folder inside; did you mean {inner}?" in refusal(tmp_path / "outer", target)
    (tmp_path / "val").mkdir()
    (tmp_path / "val/val_data").write_bytes(b"")
    assert "validation images only" in refusal(tmp_path / "val", target)
    for name in ("Imagenet32_train.zip", "cifar-100-python.tar.gz"):
        (tmp_path / name).write_bytes(b"")
        assert "not a whole archive" in refusal(tmp_path / name, target)
    (tmp_path / "images.7z").write_bytes(b"")
    assert "an archive that is not read; unpack it" in refusal(tmp_path / "images.7z", target)
    (tmp_path / "down").mkdir()
    shutil.move(tmp_path / "Imagenet32_train.zip", tmp_path / "down")
    assert f"did you mean {tmp_path / 'down/Imagenet32_train.zip'}?" in refusal(tmp_path / "down", target)


@pytest.mark.parametrize("form", ["pickle", "npz"])
@pytest.mark.parametrize("side", [8, 64])
def test_batches_of_another_size_are_resized_on_request_with_a_note(tmp_path, target, form, side):
    images = np.random.default_rng(0).integers(0, 256, (20, 3, side, side), dtype=np.uint8)
    batch = {"data": images.reshape(20, -1), "labels": [1 + place % 2 for place in range(20)]}
    (tmp_path / "batches").mkdir()
    if form == "npz":
        np.savez(tmp_path / "batches/train_data_batch_1.npz", **batch)
    else:
        (tmp_path / "batches/train_data_batch_1").write_bytes(pickle.dumps(batch))
    assert f"images of {side}x{side}; add --resize box" in refusal(tmp_path / "batches", target)
    _, notes = bring_in(tmp_path / "batches", target, resize="box")
    what = "enlarged" if side < 32 else "shrunk"
    assert notes[0] == f"20 pictures {what} to 32x32 by the box filter (from {side}x{side})"
    of_first = np.stack([ClassFolder.open(target).mapped(0)[place] for place in range(10)]).astype(float)
    wide = images[::2].astype(float)
    expected = wide.reshape(10, 3, 32, 2, 32, 2).mean((3, 5)) if side == 64 else wide.repeat(4, 2).repeat(4, 3)
    assert abs(of_first - expected).max() <= 1


def test_pictures_that_were_enlarged_are_counted_in_a_note(tmp_path, target):
    for name in ("a", "b"):
        (tmp_path / "odd" / name).mkdir(parents=True)
        for place, size in enumerate([(32, 32), (20, 40), (64, 48)]):
            Image.new("RGB", size).save(tmp_path / "odd" / name / f"{place}.png")
    _, notes = bring_in(tmp_path / "odd", target)
    assert notes[:2] == [
        "2 pictures enlarged to 32x32 by the box filter (from 20x40)",
        "2 pictures shrunk to 32x32 by the box filter (from 64x48)",
    ]


def test_cifar_100_by_its_coarse_labels(tmp_path, target):
    write_cifar_100(tmp_path / "cifar-100-python", coarse=3)
    manifest, _ = bring_in(tmp_path / "cifar-100-python", target, labels_from="coarse_labels")
    assert [(one.name, one.images) for one in manifest.classes] == [("animals", 4), ("plants", 3), ("things", 3)]
    output = refusal(tmp_path / "cifar-100-python", tmp_path / "more", labels_from="coarse")
    assert 'train: --labels "coarse": the batch has no such labels (there are fine_labels, coarse_labels' in output


def test_parquet_columns_are_chosen_by_name_if_ambiguous(tmp_path, target):
    images = make_images(2)
    cells = [{"bytes": png(one), "path": None} for one in images.reshape(-1, 3, 32, 32)]
    other = cells[::-1]
    table = {"image": cells, "picture": other, "label": [0, 0, 1, 1] * 2, "labels": [0, 1] * 4, "id": [*range(8)]}
    pq.write_table(pa.table(table), tmp_path / "x.parquet")
    assert "images in column image or picture? Choose one with --images" in refusal(tmp_path / "x.parquet", target)
    output = refusal(tmp_path / "x.parquet", target, images_from="picture")
    assert "labels in column label or labels? Choose one with --labels" in output
    output = refusal(tmp_path / "x.parquet", target, images_from="foto")
    assert '--images "foto": no such column (there are image, picture, label, labels, id)' in output
    _, notes = bring_in(tmp_path / "x.parquet", target, images_from="picture", labels_from="labels")
    assert (ClassFolder.open(target).mapped(0)[0] == images[-1, -1]).all()
    assert "images from column picture, labels from column labels (there are also image, label, id)" in notes


def test_shards_of_other_splits_that_are_left_out_are_named(tmp_path, target):
    source = make_source(tmp_path, "parquet", make_images())
    shutil.copy(source / "data/train-00000-of-00002.parquet", source / "data/test-00000-of-00001.parquet")
    _, notes = bring_in(source, target)
    assert "1 shard of validation or test left out (test-00000-of-00001.parquet)" in notes


@pytest.mark.parametrize("form", ["npy", "folder"])
def test_formats_without_columns_refuse_column_names(tmp_path, target, form):
    source = make_source(tmp_path, form, make_images())
    assert "leave out --labels" in refusal(source, target, labels_from="label")
    assert "leave out --images" in refusal(source, target, images_from="image")
