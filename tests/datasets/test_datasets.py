"""Class sequences, the synthetic images, and folders of .npy files."""

import hashlib
import json
import os
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lop_engine.datasets import (
    ClassFolder,
    ClassSequence,
    SyntheticImages,
    open_images,
    read_class_order,
    resolve,
    stack_images,
)
from lop_engine.errors import DataError
from lop_engine.experiment.spec import Spec

#: sha256 of 250 images of classes 0, 1 and 999 under dataset seeds 0 and 7. It depends on the constants of
#: `synthetic.py`, as does every result on these images. Print the new one with
#: python -c "from tests.datasets.test_datasets import synthetic_digest; print(synthetic_digest())"
SYNTHETIC_SHA256 = "0b318d043cbcb23265a688c2d597aaf6c6ca7f4fb35c218b392a00eb0b1509b2"


def synthetic_digest():
    images = [SyntheticImages(1000, seed).images(index, 250) for seed in (0, 7) for index in (0, 1, 999)]
    return hashlib.sha256(b"".join(one.tobytes() for one in images)).hexdigest()


def test_synthetic_images_are_the_same_bytes_on_every_machine():
    assert synthetic_digest() == SYNTHETIC_SHA256


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 1000), st.integers(4, 60), st.integers(2, 4), st.integers(0, 20))
def test_a_pass_is_a_fresh_permutation_cut_into_tasks(seed, total, num_classes, this_pass):
    tasks_a_pass = total // num_classes
    tasks = range(this_pass * tasks_a_pass, (this_pass + 1) * tasks_a_pass)
    drawn = [ClassSequence(total, num_classes).classes(seed, task) for task in tasks]
    assert all(len(classes) == num_classes for classes in drawn)
    flat = [index for classes in drawn for index in classes]
    assert len(set(flat)) == len(flat)
    assert set(flat) <= set(range(total))
    assert all(type(index) is int for index in flat)


def test_the_orders_of_different_passes_and_seeds_are_independent():
    passes = [[ClassSequence(1000, 2).classes(seed, task) for task in range(500 * p, 500 * (p + 1))] for seed, p in
              [(0, 0), (0, 1), (0, 2), (1, 0)]]  # fmt: skip
    for one in range(4):
        for other in range(one):
            assert sum(a == b for a, b in zip(passes[one], passes[other], strict=True)) <= 2
    # Every class occurs once in a pass; its positions in different passes are uncorrelated.
    places = [np.argsort(np.concatenate(drawn)) for drawn in passes]
    assert abs(np.corrcoef(places)[np.triu_indices(4, 1)]).max() < 0.1


def test_classes_that_do_not_fill_a_task_are_skipped_in_that_pass():
    first = [ClassSequence(5, 2).classes(0, task) for task in range(2)]
    assert len({index for classes in first for index in classes}) == 4
    assert {index for task in range(40) for index in ClassSequence(5, 2).classes(0, task)} == set(range(5))


def test_a_seed_has_the_same_tasks_with_every_method(tmp_path):
    common = {"num_tasks": 3, "num_showings": 1, "dataset": "synthetic", "dataset_classes": 6, "train_images": 3}
    tasks = []
    for keys in [{"agent": "bp", "step_size": 0.1}, {"agent": "cbp", "step_size": 0.01, "opt": "adam", "width": 2.0}]:
        spec = Spec(**common, **keys, test_images=2)
        images = open_images(spec)
        classes = [ClassSequence(images.num_classes, 2).classes(5, task) for task in range(3)]
        tasks.append((classes, stack_images(images, classes, 5)))
    assert tasks[0][0] == tasks[1][0]
    assert (tasks[0][1] == tasks[1][1]).all()


@pytest.mark.parametrize("num_images", [1, 99, 100, 101, 250])
def test_the_first_images_do_not_depend_on_the_number_of_images(num_images):
    few, many = SyntheticImages(10).images(3, num_images), SyntheticImages(50).images(3, 300)
    assert few.shape == (num_images, 3, 32, 32)
    assert few.dtype == np.uint8
    assert (few == many[:num_images]).all()


def test_images_of_different_classes_and_dataset_seeds_differ():
    images = [SyntheticImages(3, seed).images(index, 2) for seed in range(3) for index in range(3)]
    assert len({one.tobytes() for one in images}) == 9
    assert len({image.tobytes() for image in SyntheticImages(3).images(0, 200)}) == 200


@pytest.mark.parametrize("index", [-1, 3])
def test_an_unknown_class_is_refused(index):
    with pytest.raises(IndexError, match=f"class {index} of 3"):
        SyntheticImages(3).images(index, 1)


def test_changing_returned_images_does_not_change_the_data_set(folder):
    shared = SyntheticImages(4).images(0, 5)
    with pytest.raises(ValueError, match="read-only"):
        shared[:] = 0
    for images in (SyntheticImages(4), ClassFolder.open(folder)):
        before = images.images(0, 5).copy()
        stack_images(images, [[0, 1]], 5)[:] = 0
        assert (images.images(0, 5) == before).all()
    own = ClassFolder.open(folder)
    own.images(0, 5)[:] = 0
    assert own.images(0, 5).any()


def test_the_images_of_a_task_are_grouped_by_class(folder):
    stacked = stack_images(ClassFolder.open(folder), [[2, 0], [1, 3]], 5)
    assert stacked.shape == (2, 2, 5, 3, 32, 32)
    assert stacked.dtype == np.float32
    for seed, classes in enumerate([[2, 0], [1, 3]]):
        for place, index in enumerate(classes):
            assert (stacked[seed, place] == np.load(folder / "classes" / f"{index}.npy")[:5]).all()


@pytest.mark.parametrize(
    ("stored", "stacked"), [("u1", "u1"), ("<f2", "f2"), ("<f4", "f4"), (">f8", "f4"), ("<i4", "f4"), ("<u2", "f4")]
)
def test_stacked_images_have_the_stored_type_or_float32(tmp_path, stored, stacked):
    values = np.arange(2 * 3 * 32 * 32).reshape(2, 3, 32, 32) % 200
    for index in range(2):
        write_class(tmp_path, index, (values + index).astype(stored))
    stack = stack_images(ClassFolder.open(tmp_path), [[1, 0]], 2)
    assert stack.dtype == np.dtype(stacked)
    assert (stack[0] == np.stack([values + 1, values])).all()


def test_open_keys_of_a_spec_are_filled_in_from_its_images(folder, tmp_path):
    grey = SyntheticImages(3)
    resolved = resolve(spec(), grey)
    assert (resolved.train_images, resolved.test_images, resolved.normalisation) == (600, 100, "scaled")
    assert resolved.dataset_sha256 == grey.sha256
    assert resolve(resolved, grey) == resolved
    floats = resolve(spec(), ClassFolder.open(folder))
    assert (floats.train_images, floats.test_images, floats.normalisation) == (5, 1, "none")
    assert resolve(spec(normalisation="none"), grey).normalisation == "none"
    assert resolve(spec(train_images=3), ClassFolder.open(folder)).test_images == 1
    with pytest.raises(DataError, match=r"a class holds 6 images, 7 are needed .* lower train_images or test_images"):
        resolve(spec(train_images=6), ClassFolder.open(folder))
    with pytest.raises(DataError, match=r'normalisation "scaled" is for grey levels .* these are float32'):
        resolve(spec(normalisation="scaled"), ClassFolder.open(folder))


def test_images_that_changed_since_a_spec_was_resolved_are_refused():
    resolved = resolve(spec(dataset="synthetic"), SyntheticImages(1000))
    assert open_images(resolved).name == "synthetic (dataset seed 0)"
    with pytest.raises(DataError, match="not the images that dataset_sha256 asks for"):
        open_images(resolved.with_changes(**{"dataset_seed": 1}))


@pytest.fixture
def folder(tmp_path):
    """Write four classes of six images in the layout of the reference."""
    for index in range(4):
        images = np.random.default_rng(index).normal(size=(6, 3, 32, 32)).astype(np.float32)
        write_class(tmp_path, index, images)
    return tmp_path


def write_class(folder, index, images):
    (folder / "classes").mkdir(exist_ok=True)
    np.save(folder / "classes" / f"{index}.npy", images)


def test_a_folder_is_opened_by_its_path_or_its_classes_folder(folder):
    (folder / "classes" / "notes.npy").write_bytes(b"")
    for path in (folder, folder / "classes"):
        images = ClassFolder.open(path)
        assert images.num_classes == 4
        assert images.counts == (6,) * 4
        assert images.images(3, 5).shape == (5, 3, 32, 32)


def refusal(folder):
    with pytest.raises(DataError) as error:
        ClassFolder.open(folder)
    message = str(error.value)
    assert "\n" not in message
    assert str(folder) in message
    return message


def test_a_missing_class_file_between_others_is_refused(folder):
    (folder / "classes" / "2.npy").unlink()
    assert refusal(folder).endswith("class file 2.npy is missing (3 files, up to 3.npy)")


def test_a_folder_without_class_files_is_refused(tmp_path):
    assert refusal(tmp_path).endswith("holds no class files (classes/0.npy, classes/1.npy, ...)")


@pytest.mark.parametrize("index", [0, 2])
@pytest.mark.parametrize(
    "images",
    [
        np.zeros((6, 32, 32, 3)),
        np.zeros((6, 3, 32, 31)),
        np.zeros((3, 32, 32)),
        np.float32(1),
        np.zeros((6, 3, 32, 32), bool),
        np.zeros((6, 3, 32, 32), complex),
        np.zeros((6, 3, 32, 32), "S1"),
    ],
    ids=lambda images: f"{images.shape} {images.dtype}",
)
def test_arrays_that_are_not_images_are_refused(folder, images, index):
    write_class(folder, index, images)
    message = refusal(folder)
    assert f"{index}.npy: shape {images.shape} of {images.dtype}, expected (images, 3, 32, 32) numbers" in message


def test_too_few_images_are_refused(folder):
    with pytest.raises(DataError, match=r"0\.npy: 6 images, 7 are needed"):
        ClassFolder.open(folder).images(0, 7)
    write_class(folder, 3, np.zeros((1, 3, 32, 32), np.float32))
    assert refusal(folder).endswith("3.npy: 1 images, a class needs at least 2 (one to train, one to test)")


def test_classes_of_different_types_are_refused(folder):
    write_class(folder, 2, np.zeros((6, 3, 32, 32)))
    assert refusal(folder).endswith("2.npy: float64 values, 0.npy has float32")


class Bomb:
    """A pickle that creates the file `mark` if it is executed."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def test_pickles_are_refused_and_never_executed(folder):
    path, mark = folder / "classes" / "0.npy", folder / "mark"
    np.save(path, np.array([Bomb(mark)], dtype=object), allow_pickle=True)
    assert "0.npy: not a whole .npy array" in refusal(folder)
    path.write_bytes(pickle.dumps(Bomb(mark)))
    assert "0.npy: not a whole .npy array" in refusal(folder)
    assert not mark.exists()


def test_truncated_or_damaged_files_are_refused(folder):
    path = folder / "classes" / "0.npy"
    content = path.read_bytes()
    for length in [0, 1, 5, 8, 11, 60, 128, 129, 5000, len(content) - 1]:
        path.write_bytes(content[:length])
        assert "0.npy: not a whole .npy array" in refusal(folder)
    path.write_bytes(content.replace(b"(6, 3", b"(6( 3"))
    assert "0.npy: not a whole .npy array" in refusal(folder)
    np.savez(folder / "archive.npz", content)
    os.replace(folder / "archive.npz", path)
    assert "0.npy: not a whole .npy array" in refusal(folder)
    path.unlink()
    path.mkdir()
    assert "0.npy: not a whole .npy array" in refusal(folder)


def test_a_file_that_disappears_during_training_is_named(folder):
    images = ClassFolder.open(folder)
    (folder / "classes" / "3.npy").unlink()
    with pytest.raises(DataError, match=r"3\.npy"):
        images.images(3, 5)


def spec(**keys):
    return Spec(agent="bp", step_size=0.1, num_tasks=1, num_showings=1, **keys)


def test_images_are_opened_by_name_and_by_path(folder, monkeypatch):
    assert open_images(spec(dataset="synthetic", dataset_classes=7)).num_classes == 7
    assert open_images(spec(dataset=str(folder))).num_classes == 4
    monkeypatch.chdir(folder)
    with pytest.raises(DataError, match=r"data/imagenet32: no images there\. .* lop data import .* --data synthetic"):
        open_images(spec())
    (folder / "data").mkdir()
    os.rename(folder / "classes", folder / "data" / "imagenet32")
    assert open_images(spec()).images(1, 6).shape == (6, 3, 32, 32)


def test_fewer_classes_than_a_task_needs_are_refused(folder):
    with pytest.raises(DataError, match="4 classes, a task needs 5"):
        open_images(spec(dataset=str(folder), num_classes=5))


def make_order(path, table, **changes):
    """Write `table` to `path`, in the format of its suffix, and return a spec with this class order."""
    match path.name:
        case "order.npy":
            np.save(path, np.array(table))
        case "order.json":
            path.write_text(json.dumps(table))
        case "order.csv":
            path.write_text("".join(",".join(map(str, row)) + "\n" for row in table))
        case "class_order":
            path.write_bytes(pickle.dumps(np.array(table)))
        case "rows.pkl":
            path.write_bytes(pickle.dumps([np.array(row, np.int32) for row in table], protocol=2))
        case "lists.pkl":
            path.write_bytes(pickle.dumps(table))
    base = {"agent": "bp", "step_size": 0.1, "num_tasks": 5, "num_showings": 1, "class_order": str(path)}
    return Spec(**(base | changes))


@pytest.mark.parametrize("name", ["order.npy", "order.json", "order.csv", "class_order", "rows.pkl", "lists.pkl"])
def test_a_class_order_of_the_user_is_followed_and_repeated(tmp_path, name):
    spec = make_order(tmp_path / name, [[3, 1, 0, 2, 5, 4], [0, 1, 2, 3, 4, 5]])
    sequence = ClassSequence.open(spec, total_classes=6)
    assert [sequence.classes(0, task) for task in range(5)] == [[3, 1], [0, 2], [5, 4], [3, 1], [0, 2]]
    assert sequence.classes(1, 4) == [2, 3]
    odd = ClassSequence.open(make_order(tmp_path / name, [[0, 1, 2, 3, 4]]), total_classes=6)
    assert [odd.classes(0, task) for task in range(4)] == [[0, 1], [2, 3], [4, 0], [1, 2]]
    sequence.check_seeds([0, 1])
    with pytest.raises(DataError, match="holds 2 rows, seed 2 has none"):
        sequence.check_seeds([0, 2])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([[0, 1, 2, 6]], "classes 0 to 6, the images have 0 to 5"),
        ([[0, -1]], "classes -1 to 0"),
        ([[0, 1, 2, 2]], "row 0: task 1 holds the same class twice"),
        ([[0, 1, 2, 3, 0]], "row 0: task 2 holds the same class twice"),
        ([[0]], "rows of 1 classes, a task needs 2"),
        ([0, 1], "expected whole numbers"),
        ([[0.5, 1.5]], "expected whole numbers"),
        ([], "expected whole numbers"),
        ([[0, 1], [2]], "not a class order"),
        ("text", "expected whole numbers"),
    ],
)
def test_an_invalid_class_order_is_refused_by_name(tmp_path, table, message):
    with pytest.raises(DataError, match=message) as refused:
        ClassSequence.open(make_order(tmp_path / "order.json", table), total_classes=6)
    assert "order.json" in str(refused.value)


def test_a_missing_or_dangerous_class_order_is_refused(tmp_path):
    spec = make_order(tmp_path / "order.npy", [[0, 1]])
    np.save(tmp_path / "order.npy", np.array([[Bomb(tmp_path / "mark")]], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="not a class order"):
        ClassSequence.open(spec, 6)
    (tmp_path / "order.npy").unlink()
    with pytest.raises(DataError, match="no such class order"):
        ClassSequence.open(spec, 6)
    path = tmp_path / "class_order"
    path.write_bytes(pickle.dumps([Bomb(tmp_path / "mark")]))
    with pytest.raises(DataError, match=r"class_order: calls posix\.mkdir.* nothing was run"):
        read_class_order(path)
    assert not (tmp_path / "mark").exists()


def test_a_class_order_that_was_edited_since_is_refused(tmp_path):
    first = resolve(make_order(tmp_path / "order.csv", [[0, 1, 2, 3]]), SyntheticImages(4))
    ClassSequence.open(first, 4)
    same = make_order(tmp_path / "order.json", [[0, 1, 2, 3]])
    assert resolve(same, SyntheticImages(4)).class_order_sha256 == first.class_order_sha256
    make_order(tmp_path / "order.csv", [[0, 1, 3, 2]])
    with pytest.raises(DataError, match="it has been changed"):
        ClassSequence.open(first, 4)
