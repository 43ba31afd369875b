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
    stacks = [scale(images.images(c)[: train_images + test_images]) for c in classes]
    labels = np.arange(len(classes), dtype=np.int64)
    return TaskImages(
        classes,
        np.concatenate([stack[:train_images] for stack in stacks]),
        np.repeat(labels, train_images),
        np.concatenate([stack[train_images:] for stack in stacks]),
        np.repeat(labels, test_images),
    )


def scale(images: np.ndarray) -> np.ndarray:
    """uint8 to float32 in [-1, 1]; other types as they come (the reference scales nothing), as float32."""
    if images.dtype == np.uint8:
        return images * np.float32(2 / 255) - np.float32(1)
    return images.astype(np.float32)
