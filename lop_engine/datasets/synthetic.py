"""Synthetic Continual ImageNet: procedural 32x32 colour classes for those who hold no ImageNet.

A class is a few "views", smooth colour patterns larger than the image. An image shows one view through a
window at a random place, at a random contrast that may be negative, over a background of its own, with
pixel noise. A class also leans to a colour of its own. A linear model can use little but that colour; the
pattern takes features that do not mind where it stands.

Integer arithmetic on raw random bits throughout: the same bytes on every machine.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from lop_engine.datasets.base import IMAGE_SHAPE, SIDE
from lop_engine.streams import Stream, bits

NUM_VIEWS = 3
VIEW_GRID = 8
"""Colour values a side from which a view is interpolated: sets how fine its pattern is."""
VIEW_SIDE = 40
"""Pixels a side; the window of 32 moves over the rest."""
BACKGROUND_GRID = 4
PATTERN_AMPLITUDE = 56
BACKGROUND_AMPLITUDE = 40
NOISE_AMPLITUDE = 48
COLOUR_AMPLITUDE = 10
"""Grey levels by which a class's mean colour leans."""


@dataclass(frozen=True)
class SyntheticImages:
    """`num_classes` classes of `num_images` images, made when they are asked for.

    Deterministic in (dataset seed, class); the first images of a class are the same however many are asked for.
    """

    num_classes: int
    num_images: int
    seed: int = 0

    @property
    def name(self) -> str:
        return f"synthetic (dataset seed {self.seed})"

    def images(self, index: int) -> np.ndarray:
        """The images of class `index`, shape (num_images, 3, 32, 32), uint8."""
        if not 0 <= index < self.num_classes:
            raise IndexError(f"class {index} of {self.num_classes}")
        return _class_images(self.seed, index, self.num_images)


@lru_cache(maxsize=128)
def _class_images(seed: int, index: int, num_images: int) -> np.ndarray:
    windows, lean = _class_patterns(seed, index)
    images = np.stack([_image_block(windows, lean, seed, index, block) for block in range(-(-num_images // 100))])
    images = images.reshape(-1, *IMAGE_SHAPE)[:num_images]
    images.flags.writeable = False
    return images


def _class_patterns(seed: int, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (windows, shape (views, 3, places, places, 32, 32), -127..127; lean, shape (3,))."""
    raw = bits((NUM_VIEWS * 3 * VIEW_GRID**2 + 3) // 8 + 1, seed, Stream.DATASET, index).view(np.uint8).astype(np.int32)
    lean = (raw[:3] - 127) * COLOUR_AMPLITUDE // 127
    grid = raw[3 : 3 + NUM_VIEWS * 3 * VIEW_GRID**2].reshape(NUM_VIEWS, 3, VIEW_GRID, VIEW_GRID) - 128
    views = _enlarge(grid, VIEW_SIDE)
    return np.lib.stride_tricks.sliding_window_view(views, (SIDE, SIDE), axis=(2, 3)), lean


def _image_block(windows: np.ndarray, lean: np.ndarray, seed: int, index: int, block: int) -> np.ndarray:
    """100 images, shape (100, 3, 32, 32), uint8."""
    num = 100
    pixels = num * 3 * SIDE * SIDE
    num_grid = num * 3 * BACKGROUND_GRID**2
    raw = bits((4 * num + num_grid + pixels) // 8 + 1, seed, Stream.CLASS_IMAGES, index, block).view(np.uint8)
    view, row, column, contrast = raw[: 4 * num].reshape(4, num).astype(np.int32)
    grid = raw[4 * num : 4 * num + num_grid].reshape(num, 3, BACKGROUND_GRID, BACKGROUND_GRID).astype(np.int32) - 128
    noise = raw[4 * num + num_grid : 4 * num + num_grid + pixels].reshape(num, *IMAGE_SHAPE)

    places = VIEW_SIDE - SIDE + 1
    pattern = windows[view * NUM_VIEWS >> 8, :, row * places >> 8, column * places >> 8]
    # Contrast +-(1/2 .. 1): the sign takes the pattern away from a linear model.
    strength = (64 + (contrast & 127) // 2) * np.where(contrast & 128, 1, -1)
    images = pattern * (strength * PATTERN_AMPLITUDE)[:, None, None, None] // (128 * 128)
    images += _enlarge(grid, SIDE) * BACKGROUND_AMPLITUDE // 128
    images += (noise.astype(np.int32) - 128) * NOISE_AMPLITUDE // 128
    images += 128 + lean[:, None, None]
    return np.clip(images, 0, 255).astype(np.uint8)


def _enlarge(grid: np.ndarray, side: int) -> np.ndarray:
    """Bilinear enlargement of the last two axes to `side`, in integers."""
    cells = grid.shape[-1] - 1
    position = np.arange(side) * (cells * 64) // side
    low, part = position // 64, (position % 64).astype(grid.dtype)
    rows = grid[..., low, :] * (64 - part)[:, None] + grid[..., low + 1, :] * part[:, None]
    columns = rows[..., low] * (64 - part) + rows[..., low + 1] * part
    return columns // 4096
