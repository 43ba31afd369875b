"""The images of one task."""

from dataclasses import dataclass

import numpy as np

from lop_engine.datasets.base import ImageSet


@dataclass(frozen=True)
class TaskImages:
    """One task of one seed: images as the network sees them.

    ``train`` (N, 3, 32, 32) and ``test`` float32; labels int64, 0 .. classes a task - 1, in blocks by class.
    """

    classes: list[int]
    train: np.ndarray
    train_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray


def load_task(images: ImageSet, classes: list[int], train_images: int, test_images: int) -> TaskImages:
    """The images of a task: the first `train_images` of each class train, the next `test_images` test."""
    stacks = [_as_seen(images, c)[: train_images + test_images] for c in classes]
    labels = np.arange(len(classes), dtype=np.int64)
    return TaskImages(
        classes,
        np.concatenate([stack[:train_images] for stack in stacks]),
        np.repeat(labels, train_images),
        np.concatenate([stack[train_images:] for stack in stacks]),
        np.repeat(labels, test_images),
    )


def _as_seen(images: ImageSet, index: int) -> np.ndarray:
    """The images of a class as float32, scaled if the set says so."""
    values = images.images(index)
    return values * np.float32(2 / 255) - np.float32(1) if images.is_scaled else values.astype(np.float32)
