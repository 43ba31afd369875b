"""Images by class, and the endless stream of tasks drawn from them. numpy only."""

from pathlib import Path

from lop_engine.datasets.base import ImageSet
from lop_engine.datasets.class_sequence import ClassSequence
from lop_engine.datasets.imagenet32 import NpyFolder
from lop_engine.datasets.synthetic import SyntheticImages
from lop_engine.datasets.task_stream import TaskImages, load_task
from lop_engine.errors import DataError
from lop_engine.spec import Spec

__all__ = ["ClassSequence", "ImageSet", "NpyFolder", "SyntheticImages", "TaskImages", "load_task", "open_images"]

#: Where ``"dataset": "imagenet32"`` is looked for.
IMAGENET32_DIR = Path("data/imagenet32")


def open_images(spec: Spec) -> ImageSet:
    """Open the images that a spec names: ``synthetic``, ``imagenet32`` or a path. Raises DataError."""
    num_images = spec.train_images + spec.test_images
    if spec.dataset == "synthetic":
        images: ImageSet = SyntheticImages(spec.dataset_classes, num_images, spec.dataset_seed)
    else:
        path = IMAGENET32_DIR if spec.dataset == "imagenet32" else Path(spec.dataset).expanduser()
        if not path.is_dir():
            raise DataError(
                f"{path}: no images there. Either put ImageNet-32 there as classes/0.npy, classes/1.npy, ... "
                "(data/README.md says where to get it; --data PATH names another place), "
                "or train on the built-in stand-in with --data synthetic"
            )
        images = NpyFolder.open(path, num_images)
    if images.num_classes < spec.num_classes:
        raise DataError(f"{images.name}: {images.num_classes} classes, a task needs {spec.num_classes}")
    return images
