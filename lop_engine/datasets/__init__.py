"""Images by class, and the stream of tasks drawn from them. numpy only."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lop_engine.datasets.base import DIRECTORIES, GREY_SHAPE, PAPER_SPLIT, SHAPES, Data, ImageSet, Split, stack_images
from lop_engine.datasets.class_folder import ClassFolder
from lop_engine.datasets.class_order import ClassOrder, ClassSequence, read_class_order
from lop_engine.datasets.digits import SyntheticDigits
from lop_engine.datasets.synthetic import SyntheticImages
from lop_engine.errors import DataError
from lop_engine.experiment.spec import Spec

__all__ = [
    "IMAGENET32_DIR",
    "PAPER_SPLIT",
    "ClassFolder",
    "ClassOrder",
    "ClassSequence",
    "Data",
    "ImageSet",
    "Split",
    "SyntheticImages",
    "look_at_digits",
    "look_at_images",
    "open_images",
    "place_of",
    "read_class_order",
    "resolve",
    "stack_images",
]

#: Default place of ``"dataset": "imagenet32"``.
IMAGENET32_DIR = Path("data/imagenet32")
_NAMED = {"imagenet32": IMAGENET32_DIR, "mnist": DIRECTORIES[GREY_SHAPE]}


def place_of(spec: Spec) -> Path | None:
    """Return the place of a spec's images; None if they are generated. Raises DataError."""
    if spec.dataset == "synthetic":
        return None
    try:
        return _NAMED.get(spec.dataset) or Path(spec.dataset).expanduser()
    except RuntimeError as error:  # no such user
        raise DataError(f"{spec.dataset}: {error}") from None


def open_images(spec: Spec, every_file: bool = True) -> ImageSet:
    """Open the images of a spec: ``synthetic``, ``imagenet32`` or a path.

    Args:
        every_file: see `ClassFolder.open`.
    Raises:
        DataError: there are none, or they are not the ones that the spec was resolved with.
    """
    path = place_of(spec)
    if path is None:
        images = _stand_in(spec)
    else:
        if not path.is_dir():
            what = "ImageNet at 32x32" if spec.image_shape != GREY_SHAPE else "MNIST"
            raise DataError(
                f"{path}: no images there. Import them with lop data import SOURCE ({what}: "
                "data/README.md), or train on built-in synthetic images with --data synthetic"
            )
        images = ClassFolder.open(path, every_file)
    if images.shape != spec.image_shape:
        raise DataError(
            f"{images.name}: {SHAPES[images.shape]}, problem {spec.problem} takes {SHAPES[spec.image_shape]}; name "
            "other images with --data PATH, or import these again with --shape"
        )
    if images.num_classes < spec.num_classes or (images.num_classes > spec.num_classes and images.shape == GREY_SHAPE):
        raise DataError(f"{images.name}: {images.num_classes} classes, a task needs {spec.num_classes}")
    if spec.dataset_sha256 and spec.dataset_sha256 != images.sha256:
        raise DataError(
            f"{images.name}: not the images that dataset_sha256 asks for ({spec.dataset_sha256[:12]}...; "
            f"these have {images.sha256[:12] or 'no checksum'})"
        )
    return images


def _stand_in(spec: Spec) -> ImageSet:
    if spec.image_shape == GREY_SHAPE:
        return SyntheticDigits(spec.dataset_seed)
    return SyntheticImages(spec.dataset_classes, spec.dataset_seed)


def look_at_digits(spec: Spec, seeds: Sequence[int]) -> Data:
    """Open the images of permuted MNIST, like workers will.

    Raises:
        DataError: images are missing or cannot be used.
    """
    images, notes = open_images(spec), []
    if isinstance(images, SyntheticDigits):
        notes.append("generated digits, not MNIST; import MNIST with lop data import, then use --data mnist")
    elif not images.sha256:
        notes.append(f"{images.name} was not imported, so changes of its images are not detected (lop data import)")
    return Data(spec.with_changes(**{"dataset_sha256": images.sha256}), images.name, tuple(notes))


def resolve(spec: Spec, images: ImageSet) -> Spec:
    """Return `spec` with the keys that depend on its images: split, normalisation, checksums.

    Raises:
        DataError: the images are fewer, or of another kind, than the spec asks for.
    """
    train, test = spec.train_images, spec.test_images
    split = Split(train or images.split.train, test or images.split.test)
    if images.num_images is not None and split.total > images.num_images:
        raise DataError(
            f"{images.name}: a class holds {images.num_images} images, {split.total} are needed ({split}); "
            "lower train_images or test_images"
        )
    normalisation = spec.normalisation
    is_grey_levels = images.dtype == np.uint8
    if normalisation == "auto":
        normalisation = "scaled" if is_grey_levels else "none"
    elif normalisation == "scaled" and not is_grey_levels:
        raise DataError(
            f'{images.name}: normalisation "scaled" is for grey levels 0 to 255 (uint8), these are {images.dtype}; '
            'use "none"'
        )
    changes: dict[str, object] = {
        "train_images": split.train,
        "test_images": split.test,
        "normalisation": normalisation,
    }
    changes["dataset_sha256"] = images.sha256
    if spec.class_order:
        changes["class_order_sha256"] = read_class_order(Path(spec.class_order)).sha256
    return spec.with_changes(**changes)


def look_at_images(spec: Spec, seeds: Sequence[int]) -> Data:
    """Open the images and class orders of runs, like workers will.

    Raises:
        DataError: images are missing or cannot be used, or a seed has no class order.
    """
    images = open_images(spec)
    sequence = ClassSequence.open(spec, images.num_classes)
    sequence.check_seeds(list(seeds))
    return Data(resolve(spec, images), images.name, tuple(_notes(spec, images, sequence)))


def _notes(spec: Spec, images: ImageSet, sequence: ClassSequence) -> list[str]:
    notes = []
    if not spec.train_images and not spec.test_images and images.split != PAPER_SPLIT:
        notes.append(
            f"{images.name}: {images.num_images} images in the smallest class: {images.split} images per class, "
            f"the paper has {PAPER_SPLIT}"
        )
    if not images.sha256:
        notes.append(f"{images.name} was not imported, so changes of its images are not detected (lop data import)")
    if sequence.table is not None and sequence.table.shape[1] < spec.num_tasks * spec.num_classes:
        notes.append(
            f"the rows of {spec.class_order} have {sequence.table.shape[1]} classes, {spec.num_tasks} tasks "
            f"need {spec.num_tasks * spec.num_classes}, so the classes repeat"
        )
    return notes
