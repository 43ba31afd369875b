"""Damaged, hostile or ambiguous sources are refused in one line and leave no files."""

import io
import os
import pickle
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lop_engine.datasets import ClassFolder
from tests.datasets.makers import FORMATS, WNIDS, bring_in, make_images, make_source, png, refusal, zip_with


def spoil(path, **changes) -> None:
    batch = pickle.loads(path.read_bytes())
    path.write_bytes(pickle.dumps(batch | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": np.zeros((18, 12288), np.uint8)}, "images of 64x64; add --resize box"),
        ({"data": np.zeros((18, 3071), np.uint8)}, "expected (images, 3072) numbers"),
        ({"data": np.zeros((17, 3072), np.uint8)}, "(18,) labels of int64 for 17 images"),
        ({"data": [1, 2]}, 'holds no array "data"'),
        ({"data": np.zeros((18, 3072), bool)}, "type bool"),
        ({"labels": None}, 'no list of whole numbers "labels"'),
        ({"labels": ["a"] * 18}, 'no list of whole numbers "labels"'),
        ({"labels": [2**70] * 18}, "train_data_batch_1"),
        ({"data": np.full((18, 3072), np.nan)}, "image 0 holds values that are not finite numbers"),
        ({"data": np.full((18, 3072), 1e300)}, "image 0 holds values that are not finite numbers"),
    ],
)
def test_an_invalid_batch_is_refused(tmp_path, target, changes, message):
    source = make_source(tmp_path, "batches", make_images())
    spoil(source / "train_data_batch_1", **changes)
    answer = refusal(source, target)
    assert message in answer
    assert "train_data_batch_1" in answer


def test_a_missing_batch_is_refused(tmp_path, target):
    source = make_source(tmp_path, "batches", make_images())
    (source / "train_data_batch_1").rename(source / "train_data_batch_3")
    assert "batch 1 is missing" in refusal(source, target)


@pytest.mark.parametrize("form", FORMATS)
def test_a_truncated_file_is_named(tmp_path, target, form):
    source = make_source(tmp_path, form, make_images())
    victim = sorted(p for p in source.rglob("*") if p.is_file() and p.suffix != ".txt")[-1]
    whole = victim.read_bytes()
    for length in sorted({0, 1, 9, 100, len(whole) // 2, len(whole) - 40}):
        victim.write_bytes(whole[:length])
        assert victim.name in refusal(source, target), length


def test_archives_that_would_fill_the_disk_are_refused(tmp_path, target):
    source = make_source(tmp_path, "npz", make_images())
    labels = io.BytesIO()
    np.save(labels, np.zeros(10, np.int64))
    zip_with(source / "train_data_batch_1.npz", {"labels.npy": labels.getvalue(), "data.npy": bytes(80 * 2**20)})
    assert "so it is refused" in refusal(source, target)
    zip_with(source / "train_data_batch_1.npz", {"../../escape.npy": b"x"})
    assert "train_data_batch_1.npz" in refusal(source, target)
    assert not (tmp_path / "escape.npy").exists()


def test_a_picture_of_too_many_pixels_is_refused(tmp_path, target):
    source = make_source(tmp_path, "folder", make_images())
    victim = source / "train" / WNIDS[0] / f"{WNIDS[0]}_000.png"
    Image.new("1", (12_000, 10_000)).save(victim)
    assert victim.name in refusal(source, target)


def test_link_loops_are_refused_and_other_links_followed(tmp_path, target):
    source = make_source(tmp_path, "folder", make_images())
    (source / "train" / WNIDS[0] / "loop").symlink_to(source / "train")
    assert "links back" in refusal(source, target)
    (source / "train" / WNIDS[0] / "loop").unlink()
    (source / "train" / WNIDS[0] / "self.png").symlink_to("self.png")
    assert "self.png" in refusal(source, target)
    (source / "train" / WNIDS[0] / "self.png").unlink()
    elsewhere = tmp_path / "elsewhere"
    (source / "train" / WNIDS[1]).rename(elsewhere)
    (source / "train" / WNIDS[1]).symlink_to(elsewhere)
    bring_in(source, target)
    assert ClassFolder.open(target).counts == (9,) * 4


def test_classes_with_no_or_one_picture_are_refused(tmp_path, target):
    source = make_source(tmp_path, "folder", make_images())
    (source / "train" / "n09999999").mkdir()
    assert "n09999999: holds no pictures" in refusal(source, target)
    (source / "train" / "n09999999" / "only.png").write_bytes(png(make_images()[0, 0]))
    assert 'class "n09999999" holds 1 image' in refusal(source, target)
    for wnid in (*WNIDS[1:], "n09999999"):
        shutil.rmtree(source / "train" / wnid)
    assert ": 1 class found; a task needs at least 2" in refusal(source, target)


def test_an_unknown_format_is_refused(tmp_path, target):
    (tmp_path / "empty").mkdir()
    assert "unknown format of images" in refusal(tmp_path / "empty", target)
    for form in ("npy", "batches", "folder", "parquet"):
        assert "empty" in refusal(tmp_path / "empty", target, format=form)
    assert 'did you mean "parquet"' in refusal(tmp_path / "empty", target, format="parket")


def test_invalid_labels_and_images_in_parquet_are_refused(tmp_path, target):
    cells = [png(one) for one in make_images(2)[:, 0]]
    for labels, message in [
        ([0, 1, -1, 1], "row 2: no label: -1"),
        ([0, 1, None, 1], "row 2: no label: None"),
        ([0.5, 1.0, 2.0, 3.0], "row 0: no label"),
    ]:
        pq.write_table(pa.table({"image": cells, "label": labels}), tmp_path / "x.parquet")
        assert message in refusal(tmp_path / "x.parquet", target)
    pq.write_table(pa.table({"image": [b"x", b"y"], "label": [0, 1]}), tmp_path / "x.parquet")
    formats = "JPEG, PNG, BMP, WEBP, PPM, GIF, TIFF"
    assert f"x.parquet, row 0: not a picture in one of the formats {formats}" in refusal(tmp_path / "x.parquet", target)
    empty = {"image": pa.array([], pa.binary()), "label": pa.array([], pa.int64())}
    pq.write_table(pa.table(empty), tmp_path / "x.parquet")
    assert ": no class found; a task needs at least 2" in refusal(tmp_path / "x.parquet", target)
    pq.write_table(pa.table({"foto": cells, "label": [0, 1, 2, 3]}), tmp_path / "x.parquet")
    assert "no known column of images (there are foto, label); name one with --images" in refusal(
        tmp_path / "x.parquet", target
    )


@pytest.mark.parametrize(
    ("form", "victim"),
    [
        ("npy", "classes/1.npy"),
        ("npy", "dataset.json"),
        ("batches", "train_data_batch_2"),
        ("batches", "map_clsloc.txt"),
        ("npz", "train_data_batch_1.npz"),
        ("folder", f"train/{WNIDS[1]}/{WNIDS[1]}_004.png"),
        ("parquet", "data/train-00001-of-00002.parquet"),
    ],
)
@pytest.mark.parametrize("kind", ["pipe", "device", "dangling"])
@pytest.mark.timeout(20)
def test_pipes_devices_and_dangling_links_are_refused(tmp_path, target, form, victim, kind):
    source = make_source(tmp_path, form, make_images())
    path = source / victim
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero" if kind == "device" else "nowhere")
    if (kind, path.name) == ("dangling", "dataset.json"):
        return  # a manifest is optional
    assert path.name in refusal(source, target)


@pytest.mark.timeout(20)
def test_links_that_reach_a_folder_repeatedly_are_refused(tmp_path, target):
    source = make_source(tmp_path, "folder", make_images())
    here = source / "train" / WNIDS[0]
    for depth in range(15):
        (here / f"d{depth}").mkdir()
        (here / "l1").symlink_to(here / f"d{depth}")
        here = here / f"d{depth}"
    assert "already read" in refusal(source, target)


def test_values_of_more_than_eight_bits_are_refused(tmp_path, target):
    source = make_source(tmp_path, "folder", make_images())
    victim = source / "train" / WNIDS[0] / f"{WNIDS[0]}_000.png"
    Image.fromarray(np.full((32, 32), 32768, np.uint16)).save(victim)
    assert "more than 8 bits a value" in refusal(source, target)


def test_shards_whose_labels_mean_different_things(tmp_path, target):
    source = make_source(tmp_path, "parquet", make_images())
    path = source / "data" / "train-00001-of-00002.parquet"
    table = pq.read_table(path)
    meta = table.schema.metadata[b"huggingface"]
    path.unlink()
    other = meta.replace(WNIDS[0].encode(), b"n0").replace(WNIDS[1].encode(), WNIDS[0].encode())
    pq.write_table(table.replace_schema_metadata({b"huggingface": other}), path)
    assert "labels have other names" in refusal(source, target)


def test_parquet_that_would_fill_the_memory_is_refused(tmp_path, target):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"image": [[0] * 1_000_000, [0] * 1_000_000], "label": [0, 1]}), path)
    assert "2000000 values in 2 rows: no images" in refusal(path, target)
