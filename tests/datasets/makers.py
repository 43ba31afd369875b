"""Small data sets in every format that users have."""

import io
import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lop_engine.datasets.class_folder import Manifest
from lop_engine.datasets.importing import ImportOptions, import_images
from lop_engine.errors import DataError

WNIDS = ("n01440764", "n02119789", "n03000684", "n09835506")
FORMATS = ("npy", "batches", "npz", "folder", "parquet")


def make_images(num_images: int = 9) -> np.ndarray:
    """Return uint8 images of shape (classes, num_images, 3, 32, 32), in the order of WNIDS."""
    return np.random.default_rng(1).integers(0, 256, (len(WNIDS), num_images, 3, 32, 32), dtype=np.uint8)


def make_source(folder: Path, form: str, images: np.ndarray, **options) -> Path:
    """Write `images` below `folder` in the format `form`; return the path to import."""
    path = folder / form
    path.mkdir()
    {"npy": _npy, "batches": _batches, "npz": _npz, "folder": _folder, "parquet": _parquet}[form](
        path, images, **options
    )
    return path


def shuffled(images: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Return (labels, images) with mixed classes, each class's images in order.

    Labels count from 1, in another order.
    """
    rng = np.random.default_rng(2)
    classes = rng.permutation(np.repeat(np.arange(len(images)), images.shape[1]))
    counts = [0] * len(images)
    rows = []
    for index in classes:
        rows.append(images[index, counts[index]])
        counts[index] += 1
    labels = rng.permutation(len(images)) + 1
    return labels[classes], np.stack(rows), labels.tolist()


def png(image: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).save(content, "PNG")
    return content.getvalue()


def _npy(path: Path, images: np.ndarray) -> None:
    (path / "classes").mkdir()
    for index, one in enumerate(images):
        np.save(path / "classes" / f"{index}.npy", one)


def _split_batches(images: np.ndarray) -> list[dict]:
    labels, rows, _ = shuffled(images)
    flat = rows.reshape(len(rows), -1)
    halves = np.array_split(np.arange(len(rows)), 2)
    return [{"data": flat[half], "labels": labels[half].tolist(), "mean": flat.mean(0)} for half in halves]


def write_map(path: Path, images: np.ndarray) -> None:
    _, _, labels = shuffled(images)
    lines = [f"{wnid} {label} thing_{label}\n" for wnid, label in zip(WNIDS, labels, strict=True)]
    (path / "map_clsloc.txt").write_text("".join(lines))


def _batches(path: Path, images: np.ndarray, protocol: int = 3) -> None:
    for number, batch in enumerate(_split_batches(images), start=1):
        (path / f"train_data_batch_{number}").write_bytes(pickle.dumps(batch, protocol=protocol))
    write_map(path, images)


def _npz(path: Path, images: np.ndarray) -> None:
    for number, batch in enumerate(_split_batches(images), start=1):
        np.savez_compressed(path / f"train_data_batch_{number}.npz", **batch)
    write_map(path, images)


def _folder(path: Path, images: np.ndarray) -> None:
    for wnid, one in zip(WNIDS, images, strict=True):
        (path / "train" / wnid).mkdir(parents=True)
        for place, image in enumerate(one):
            (path / "train" / wnid / f"{wnid}_{place:03d}.png").write_bytes(png(image))


def _parquet(path: Path, images: np.ndarray) -> None:
    labels, rows, order = shuffled(images)
    names = [WNIDS[order.index(label + 1)] for label in range(len(images))]
    cells = [{"bytes": png(row), "path": None} for row in rows]
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": names}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    table = pa.table({"image": cells, "label": (labels - 1).tolist()}).replace_schema_metadata(metadata)
    (path / "data").mkdir()
    half = len(rows) // 2
    pq.write_table(table.slice(0, half), path / "data" / "train-00000-of-00002.parquet")
    pq.write_table(table.slice(half), path / "data" / "train-00001-of-00002.parquet")


def zip_with(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def quiet(what: str, done: int, total: int) -> None:
    assert 0 < done <= total


def bring_in(source, target, **options) -> tuple[Manifest, list[str]]:
    return import_images(source, target, ImportOptions(**options), quiet)


def refusal(source, target, **options) -> str:
    """Return the one-line message of a refused import, and check that it left no files."""
    before = sorted(target.parent.rglob("*")) if target.parent.exists() else []
    with pytest.raises(DataError) as refused:
        bring_in(source, target, **options)
    assert "\n" not in str(refused.value)
    assert sorted(target.parent.rglob("*")) == before if before else not target.exists()
    return str(refused.value)
