"""Images in every form become one and the same data set, or nothing at all."""

import errno
import io
import os
import pickle
import resource
import shutil
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lop_engine.datasets import ClassFolder
from lop_engine.datasets.class_folder import Manifest
from lop_engine.datasets.importing import ImportOptions, import_images
from lop_engine.datasets.verify import verify
from lop_engine.errors import DataError
from tests.data.makers import FORMATS, WNIDS, make_images, make_source, png, zip_with


def quiet(what: str, done: int, total: int) -> None:
    assert 0 < done <= total


def bring_in(source, target, **options) -> tuple[Manifest, list[str]]:
    return import_images(source, target, ImportOptions(**options), quiet)


def refusal(source, target, **options) -> str:
    """The one line that is said, and nothing is left."""
    before = sorted(target.parent.rglob("*")) if target.parent.exists() else []
    with pytest.raises(DataError) as refused:
        bring_in(source, target, **options)
    assert "\n" not in str(refused.value)
    assert sorted(target.parent.rglob("*")) == before if before else not target.exists()
    return str(refused.value)


@pytest.fixture
def target(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "set"


@pytest.mark.parametrize("form", FORMATS)
def test_the_round_trip_is_byte_identical_and_classes_keep_their_names(tmp_path, target, form):
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


def test_the_same_wnid_from_any_form_gives_the_same_images(tmp_path, target):
    images = make_images()
    sha256 = set()
    for form in FORMATS[1:]:
        manifest, _ = bring_in(make_source(tmp_path, form, images), target.with_name(form))
        sha256.add((manifest.sha256, tuple((entry.name, entry.sha256) for entry in manifest.classes)))
    assert len(sha256) == 1


@pytest.mark.parametrize("protocol", range(6))
def test_batches_in_every_pickle_protocol(tmp_path, target, protocol):
    images = make_images(30)
    bring_in(make_source(tmp_path, "batches", images, protocol=protocol), target)
    assert (ClassFolder.open(target).mapped(2) == images[2]).all()


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f2", "<f8", "<i4", "<u2"])
def test_numbers_of_other_kinds_stay_as_they_came(tmp_path, target, dtype):
    images = (make_images().astype(np.float64) - 100).clip(0).astype(dtype)
    manifest, _ = bring_in(make_source(tmp_path, "npy", images), target)
    assert manifest.normalisation == "none"
    assert manifest.dtype == np.dtype(dtype).newbyteorder("=").name
    assert (ClassFolder.open(target).mapped(1) == images[1]).all()


def test_the_first_images_of_a_class_are_taken_and_the_split_is_as_asked(tmp_path, target):
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


def test_a_data_set_of_lop_s_own_is_a_source_too(tmp_path, target):
    first, _ = bring_in(make_source(tmp_path, "folder", make_images()), target)
    again, _ = bring_in(target, target.with_name("again"))
    assert again.sha256 == first.sha256
    assert [entry.name for entry in again.classes] == list(WNIDS)


def test_classes_that_are_called_by_numbers_stand_in_the_order_of_the_numbers(tmp_path, target):
    images = np.random.default_rng(0).integers(0, 256, (12, 2, 3, 32, 32), dtype=np.uint8)
    for index, one in enumerate(images):
        (tmp_path / "digits" / str(index)).mkdir(parents=True)
        for place, image in enumerate(one):
            (tmp_path / "digits" / str(index) / f"{place}.png").write_bytes(png(image))
    first, _ = bring_in(tmp_path / "digits", target)
    assert [entry.name for entry in first.classes] == [str(index) for index in range(12)]
    again, _ = bring_in(target / "classes", target.with_name("again"))
    assert again.sha256 == first.sha256


def test_validation_images_follow_by_choice(tmp_path, target):
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


def test_larger_pictures_are_resized_whole_by_the_box_filter(tmp_path, target):
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


def test_grey_and_transparent_pictures_become_colour(tmp_path, target):
    for name, mode, colour in [("a", "L", 77), ("b", "RGBA", (1, 2, 3, 128))]:
        (tmp_path / "odd" / name).mkdir(parents=True)
        for place in range(2):
            Image.new(mode, (32, 32), colour).save(tmp_path / "odd" / name / f"{place}.png")
    (tmp_path / "odd" / "a" / "notes.txt").write_text("not a picture")
    (tmp_path / "odd" / "a" / ".hidden.png").write_text("not a picture")
    bring_in(tmp_path / "odd", target)
    assert (ClassFolder.open(target).mapped(0) == 77).all()
    assert (ClassFolder.open(target).mapped(1)[0, :, 0, 0] == [1, 2, 3]).all()


def test_labels_may_be_names_and_images_plain_numbers_in_parquet(tmp_path, target):
    images = make_images(3)
    rows = [one.reshape(-1).tolist() for one in images.reshape(-1, 3, 32, 32)]
    labels = [wnid for wnid in WNIDS for _ in range(3)]
    (tmp_path / "plain").mkdir()
    pq.write_table(pa.table({"img": rows, "wnid": labels}), tmp_path / "plain" / "all.parquet")
    bring_in(tmp_path / "plain" / "all.parquet", target)
    assert ClassFolder.open(target).class_names == list(WNIDS)
    assert (ClassFolder.open(target).mapped(3) == images[3]).all()


def test_a_file_of_names(tmp_path, target):
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
        ("a\nb\n\x1b[31m\nd\n", "no name that can be printed"),
    ]:
        names.write_text(text)
        assert message in refusal(source, target.with_name("none"), names=names)
    assert "cannot be read" in refusal(source, target.with_name("none"), names=tmp_path / "nowhere")


def test_what_is_there_is_never_lost(tmp_path, target):
    source = make_source(tmp_path, "npy", make_images())
    bring_in(source, target)
    before = (target / "dataset.json").read_bytes()
    assert "is there already; name another place with --to DIR, or say --replace" in refusal(source, target)
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


def test_source_and_target_do_not_lie_in_each_other(tmp_path, target):
    source = make_source(tmp_path, "npy", make_images())
    for inside in (source, source / "new", tmp_path):
        with pytest.raises(DataError, match="lie in each other"):
            bring_in(source, inside)
    assert "no such file or folder" in refusal(tmp_path / "nowhere", target)


def test_the_rest_of_an_interrupted_import_is_cleared_away(tmp_path, target):
    source = make_source(tmp_path, "npy", make_images())
    rest = target.with_name(".set.importing")
    (rest / "classes").mkdir(parents=True)
    (rest / "classes" / "0.npy").write_bytes(b"half")
    assert not target.exists()
    bring_in(source, target)
    assert not rest.exists()
    assert verify(target, quiet).problems == []


def test_an_import_stopped_anywhere_leaves_nothing(tmp_path, target):
    source = make_source(tmp_path, "batches", make_images())
    steps = []
    import_images(source, target, ImportOptions(), lambda *step: steps.append(step))
    shutil.rmtree(target)

    for stop_at in range(len(steps)):
        seen = []

        def report(what, done, total, seen=seen, stop_at=stop_at):
            seen.append(what)
            if len(seen) > stop_at:
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


def test_two_imports_into_one_place(tmp_path, target):
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
def test_a_batch_that_is_none(tmp_path, target, changes, message):
    source = make_source(tmp_path, "batches", make_images())
    spoil(source / "train_data_batch_1", **changes)
    answer = refusal(source, target)
    assert message in answer
    assert "train_data_batch_1" in answer


def test_a_missing_batch(tmp_path, target):
    source = make_source(tmp_path, "batches", make_images())
    (source / "train_data_batch_1").rename(source / "train_data_batch_3")
    assert "batch 1 is missing" in refusal(source, target)


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_cut_off_anywhere_is_named(tmp_path, target, form):
    source = make_source(tmp_path, form, make_images())
    victim = sorted(p for p in source.rglob("*") if p.is_file() and p.suffix != ".txt")[-1]
    whole = victim.read_bytes()
    for length in sorted({0, 1, 9, 100, len(whole) // 2, len(whole) - 40}):
        victim.write_bytes(whole[:length])
        assert victim.name in refusal(source, target), length


def test_archives_that_would_fill_the_disk(tmp_path, target):
    source = make_source(tmp_path, "npz", make_images())
    labels = io.BytesIO()
    np.save(labels, np.zeros(10, np.int64))
    zip_with(source / "train_data_batch_1.npz", {"labels.npy": labels.getvalue(), "data.npy": bytes(80 * 2**20)})
    assert "no images do that" in refusal(source, target)
    zip_with(source / "train_data_batch_1.npz", {"../../escape.npy": b"x"})
    assert "train_data_batch_1.npz" in refusal(source, target)
    assert not (tmp_path / "escape.npy").exists()


def test_a_picture_of_too_many_pixels(tmp_path, target):
    source = make_source(tmp_path, "folder", make_images())
    victim = source / "train" / WNIDS[0] / f"{WNIDS[0]}_000.png"
    Image.new("1", (12_000, 10_000)).save(victim)
    assert victim.name in refusal(source, target)


def test_links_that_lead_in_circles(tmp_path, target):
    source = make_source(tmp_path, "folder", make_images())
    (source / "train" / WNIDS[0] / "loop").symlink_to(source / "train")
    assert "leads back" in refusal(source, target)
    (source / "train" / WNIDS[0] / "loop").unlink()
    (source / "train" / WNIDS[0] / "self.png").symlink_to("self.png")
    assert "self.png" in refusal(source, target)
    (source / "train" / WNIDS[0] / "self.png").unlink()
    elsewhere = tmp_path / "elsewhere"
    (source / "train" / WNIDS[1]).rename(elsewhere)
    (source / "train" / WNIDS[1]).symlink_to(elsewhere)
    bring_in(source, target)
    assert ClassFolder.open(target).counts == (9,) * 4


def test_classes_without_pictures_and_classes_of_one(tmp_path, target):
    source = make_source(tmp_path, "folder", make_images())
    (source / "train" / "n09999999").mkdir()
    assert "n09999999: holds no pictures" in refusal(source, target)
    (source / "train" / "n09999999" / "only.png").write_bytes(png(make_images()[0, 0]))
    assert 'class "n09999999" holds 1 image' in refusal(source, target)
    for wnid in (*WNIDS[1:], "n09999999"):
        shutil.rmtree(source / "train" / wnid)
    assert "a task needs at least 2" in refusal(source, target)


def test_what_is_no_form_at_all(tmp_path, target):
    (tmp_path / "empty").mkdir()
    assert "no form of images that is known" in refusal(tmp_path / "empty", target)
    for form in ("npy", "batches", "folder", "parquet"):
        assert "empty" in refusal(tmp_path / "empty", target, format=form)
    assert 'did you mean "parquet"' in refusal(tmp_path / "empty", target, format="parket")


def test_labels_in_parquet_that_are_none(tmp_path, target):
    cells = [png(one) for one in make_images(2)[:, 0]]
    for labels, message in [
        ([0, 1, -1, 1], "row 2: no label: -1"),
        ([0, 1, None, 1], "row 2: no label: None"),
        ([0.5, 1.0, 2.0, 3.0], "row 0: no label"),
    ]:
        pq.write_table(pa.table({"image": cells, "label": labels}), tmp_path / "x.parquet")
        assert message in refusal(tmp_path / "x.parquet", target)
    pq.write_table(pa.table({"image": [b"x", b"y"], "label": [0, 1]}), tmp_path / "x.parquet")
    assert "x.parquet, row 0: not a picture" in refusal(tmp_path / "x.parquet", target)
    pq.write_table(pa.table({"foto": cells, "label": [0, 1, 2, 3]}), tmp_path / "x.parquet")
    assert "no known column of images (there are foto, label); name one with --images" in refusal(
        tmp_path / "x.parquet", target
    )


def test_a_folder_that_is_not_quite_a_data_set_never_gives_way(tmp_path, target):
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
def test_a_failure_in_the_last_moment_puts_the_old_data_set_back(tmp_path, target, monkeypatch, kind):
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


def test_an_import_killed_while_it_swapped_is_put_right_by_the_next_even_one_that_fails(tmp_path, target):
    source = make_source(tmp_path, "npy", make_images())
    bring_in(source, target)
    target.rename(target.with_name(".set.replaced"))
    with pytest.raises(DataError, match="is there already"):
        bring_in(source, target)
    assert verify(target, quiet).problems == []


def test_a_folder_that_comes_meanwhile_stays(tmp_path, target):
    source = make_source(tmp_path, "npy", make_images())

    def report(what, done, total):
        target.mkdir(exist_ok=True)
        (target / "precious").write_text("mine")

    with pytest.raises(DataError, match="is there already"):
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
def test_targets_that_are_no_place(tmp_path, name, monkeypatch):
    source = make_source(tmp_path, "npy", make_images())
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(DataError):
        import_images(source, Path(name), ImportOptions(), quiet)
    assert list((tmp_path / "here").iterdir()) == []


def test_images_replaced_under_an_open_data_set_are_noticed(tmp_path, target):
    source = make_source(tmp_path, "npy", make_images())
    bring_in(source, target)
    opened = ClassFolder.open(target)
    opened.images(0, 9)
    bring_in(make_source(tmp_path, "folder", make_images()[::-1]), target, replace=True)
    with pytest.raises(DataError, match="replaced since they were opened"):
        opened.images(0, 9)


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
        return  # no manifest is no mistake
    assert path.name in refusal(source, target)


@pytest.mark.timeout(20)
def test_links_that_multiply(tmp_path, target):
    source = make_source(tmp_path, "folder", make_images())
    here = source / "train" / WNIDS[0]
    for depth in range(15):
        (here / f"d{depth}").mkdir()
        (here / "l1").symlink_to(here / f"d{depth}")
        here = here / f"d{depth}"
    assert "looked at already" in refusal(source, target)


def test_more_than_eight_bits_a_value_are_refused_not_cut(tmp_path, target):
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


def test_parquet_that_would_fill_the_memory(tmp_path, target):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"image": [[0] * 1_000_000, [0] * 1_000_000], "label": [0, 1]}), path)
    assert "2000000 values in 2 rows: no images" in refusal(path, target)


def test_many_classes_need_no_more_open_files_than_few(tmp_path):
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


def test_verify_names_the_first_of_equal_classes_and_what_was_edited(tmp_path, target):
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


def test_a_note_where_nobody_would_notice_other_images(tmp_path):
    from lop_engine.experiment.run import Run
    from lop_engine.experiment.spec import Spec
    from lop_engine.launch import resolve_runs

    source = make_source(tmp_path, "npy", make_images())
    spec = Spec(agent="bp", step_size=0.1, num_tasks=1, num_showings=1, dataset=str(source))
    assert any("was not imported" in note for note in resolve_runs([Run("bp", "default", 0, spec)]).notes)


def write_cifar_100(folder: Path, coarse: int = 1) -> np.ndarray:
    """CIFAR-100 as Python reads it, small: two classes, five images of each to train and two to test."""
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


def test_what_is_found_but_cannot_be_imported_is_named(tmp_path, target):
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
def test_batches_of_another_size_are_resized_on_request_and_a_note_says_so(tmp_path, target, form, side):
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
    said = refusal(tmp_path / "cifar-100-python", tmp_path / "more", labels_from="coarse")
    assert 'train: --labels "coarse": the batch has no such labels (there are fine_labels, coarse_labels' in said


def test_columns_of_parquet_are_chosen_by_name_where_several_could_be_meant(tmp_path, target):
    images = make_images(2)
    cells = [{"bytes": png(one), "path": None} for one in images.reshape(-1, 3, 32, 32)]
    other = cells[::-1]
    table = {"image": cells, "picture": other, "label": [0, 0, 1, 1] * 2, "labels": [0, 1] * 4, "id": [*range(8)]}
    pq.write_table(pa.table(table), tmp_path / "x.parquet")
    assert "images in column image or picture? Choose one with --images" in refusal(tmp_path / "x.parquet", target)
    said = refusal(tmp_path / "x.parquet", target, images_from="picture")
    assert "labels in column label or labels? Choose one with --labels" in said
    said = refusal(tmp_path / "x.parquet", target, images_from="foto")
    assert '--images "foto": no such column (there are image, picture, label, labels, id)' in said
    _, notes = bring_in(tmp_path / "x.parquet", target, images_from="picture", labels_from="labels")
    assert (ClassFolder.open(target).mapped(0)[0] == images[-1, -1]).all()
    assert "images from column picture, labels from column labels (there are also image, label, id)" in notes


def test_shards_of_other_splits_that_are_left_out_are_named(tmp_path, target):
    source = make_source(tmp_path, "parquet", make_images())
    shutil.copy(source / "data/train-00000-of-00002.parquet", source / "data/test-00000-of-00001.parquet")
    _, notes = bring_in(source, target)
    assert "1 shard of validation or test left out (test-00000-of-00001.parquet)" in notes


@pytest.mark.parametrize("form", ["npy", "folder"])
def test_forms_without_columns_refuse_names_of_columns(tmp_path, target, form):
    source = make_source(tmp_path, form, make_images())
    assert "leave out --labels" in refusal(source, target, labels_from="label")
    assert "leave out --images" in refusal(source, target, images_from="image")
