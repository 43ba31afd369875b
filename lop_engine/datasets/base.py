"""What the engine asks of a set of images."""

from typing import Protocol

import numpy as np

SIDE = 32
IMAGE_SHAPE = (3, SIDE, SIDE)


class ImageSet(Protocol):
    """Images by class: the first `train_images` of a class are for training, the next for testing."""

    @property
    def name(self) -> str:
        """Where the images come from, for people."""

    @property
    def num_classes(self) -> int: ...

    @property
    def is_scaled(self) -> bool:
        """Whether grey levels 0 .. 255 become -1 .. 1; else values are taken as they come, as the reference does."""

    def images(self, index: int) -> np.ndarray:
        """The images of class `index`, shape (num_images, 3, 32, 32), uint8 or a float type."""
