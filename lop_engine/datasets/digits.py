"""MNIST's images as permuted MNIST uses them, and generated digits for users without MNIST.

A generated digit is one of two shapes of its class (a seven with or without a bar), randomly scaled, sheared and moved,
and drawn with a pen of random width. Random numbers are raw bits, scaled; distances are rounded to grey levels.

Dimensions: N images, P pixels.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from lop_engine.datasets.base import GREY_SHAPE, ImageSet, Split
from lop_engine.datasets.class_folder import ClassFolder
from lop_engine.streams import Stream, bits

NUM_CLASSES = 10
IMAGES_PER_CLASS = 6000
PIXELS = 28 * 28
_BLOCK = 500
"""Images drawn together, so that the first ones do not depend on the number requested."""
_DRAWN_BLOCKS = 2
"""Blocks per class that are drawn; the others show the same digits at other positions."""
_ROUND = ((3, 1), (1.6, 1.3), (1, 3), (1.6, 4.7), (3, 5), (4.4, 4.7), (5, 3), (4.4, 1.3), (3, 1))
_UPPER = ((3, 0.6), (1.7, 1.1), (1.4, 1.8), (1.9, 2.6), (3, 2.9), (4.1, 2.6), (4.6, 1.8), (4.3, 1.1), (3, 0.6))
_LOWER = ((3, 2.9), (1.8, 3.3), (1.2, 4.2), (1.7, 5.1), (3, 5.5), (4.3, 5.1), (4.8, 4.2), (4.2, 3.3), (3, 2.9))
#: Shapes by class: each a tuple of polylines (x, y) on a square of 6 x 6.
SHAPES = (
    ((_ROUND,), (((3, 0.6), (2, 1.4), (1.8, 3), (2, 4.6), (3, 5.4), (4, 4.6), (4.2, 3), (4, 1.4), (3, 0.6)),)),
    ((((3, 0.7), (3, 5.3)),), (((2, 1.7), (3.2, 0.7), (3.2, 5.3)),)),
    (
        (((1.5, 1.6), (2.4, 0.7), (3.8, 0.8), (4.4, 1.8), (3.8, 3), (1.4, 5.2), (4.8, 5.2)),),
        (((1.6, 1.4), (3, 0.7), (4.3, 1.6), (3.6, 3.2), (2, 5), (1.5, 4.4), (2.3, 4.3), (4.6, 5.3)),),
    ),
    (
        (((1.5, 1.2), (3, 0.7), (4.3, 1.6), (3, 2.8), (4.6, 4), (3.2, 5.3), (1.3, 4.8)),),
        (((1.4, 0.8), (4.4, 0.8), (2.8, 2.6), (4.5, 3.4), (4.2, 4.9), (2.6, 5.4), (1.3, 4.8)),),
    ),
    (
        (((3.8, 5.4), (3.8, 0.6), (1.1, 3.7), (4.9, 3.7)),),
        (((1.5, 0.8), (1.4, 2.9), (4.4, 2.9)), ((4.5, 0.8), (4.2, 5.4))),
    ),
    (
        (((4.5, 0.8), (1.8, 0.8), (1.6, 2.7), (3.4, 2.4), (4.6, 3.7), (3.6, 5.2), (1.4, 4.9)),),
        (((4.6, 0.7), (2.4, 0.9), (2, 2.6), (3.9, 3), (4, 4.7), (2.6, 5.4), (1.5, 5)),),
    ),
    (((*_LOWER[4:], *_LOWER[1:5], _LOWER[3], (1.4, 3.3), (2, 1.6), (3.8, 0.7)),), ((*_LOWER, (1.2, 4), (1.9, 0.6)),)),
    (
        (((1.3, 0.8), (4.7, 0.8), (2.4, 5.4)),),
        (((1.3, 0.8), (4.7, 0.8), (2.6, 5.4)), ((2, 3), (4.6, 3))),
    ),
    ((_UPPER, _LOWER), (((3, 2.9), (1.6, 1.6), (3, 0.6), (4.3, 1.6), (1.6, 4.4), (3, 5.4), (4.4, 4.3), (3, 2.9)),)),
    (((*_UPPER, (4.6, 1.8), (4.2, 5.4)),), ((*_UPPER, (4.6, 1.8), (4.4, 4), (2.6, 5.4)),)),
)


@dataclass(frozen=True)
class SyntheticDigits:
    """Ten classes of 6,000 digit-like images, deterministic in (dataset seed, class)."""

    seed: int = 0
    shape = GREY_SHAPE
    num_classes = NUM_CLASSES
    num_images = IMAGES_PER_CLASS
    dtype = np.dtype(np.uint8)
    split = Split(IMAGES_PER_CLASS - 1, 1)

    @property
    def name(self) -> str:
        return f"generated digits (dataset seed {self.seed})"

    @property
    def sha256(self) -> str:
        """Return the checksum of a block of the first class: it changes with the seed and with lop's way of drawing."""
        return hashlib.sha256(_block(self.seed, 0, 0).tobytes()).hexdigest()

    def images(self, index: int, num_images: int) -> np.ndarray:
        """Return the first `num_images` images of class `index`, (num_images, 1, 28, 28) uint8."""
        if not 0 <= index < NUM_CLASSES:
            raise IndexError(f"class {index} of {NUM_CLASSES}")
        blocks = [_block(self.seed, index, block) for block in range(-(-num_images // _BLOCK))]
        return np.concatenate(blocks)[:num_images]


def all_digits(images: ImageSet) -> tuple[np.ndarray, np.ndarray]:
    """Return all images of a data set, (N, 784) in their type, and the classes, (N,) int64, ordered by class."""
    return _generated(images) if isinstance(images, SyntheticDigits) else _all(images)


@lru_cache(maxsize=1)
def _generated(images: SyntheticDigits) -> tuple[np.ndarray, np.ndarray]:
    return _all(images)


def _all(images: ImageSet) -> tuple[np.ndarray, np.ndarray]:
    counts = images.counts if isinstance(images, ClassFolder) else (IMAGES_PER_CLASS,) * images.num_classes
    pixels = [images.images(index, count).reshape(count, -1) for index, count in enumerate(counts)]
    return np.concatenate(pixels), np.repeat(np.arange(len(counts)), counts)


def _block(seed: int, index: int, block: int) -> np.ndarray:
    """Return a block of images of a class, (500, 1, 28, 28) uint8: drawn digits, each moved by up to two pixels."""
    drawn = _drawn_block(seed, index, block % _DRAWN_BLOCKS)
    raw = bits(_BLOCK, seed, Stream.CLASS_IMAGES, PIXELS, index, _DRAWN_BLOCKS + block)
    down, right = (raw >> np.uint64(32)) % np.uint64(5), (raw >> np.uint64(48)) % np.uint64(5)
    padded = np.pad(drawn, ((0, 0), (2, 2), (2, 2)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (28, 28), axis=(1, 2))
    return windows[np.arange(_BLOCK), down.astype(int), right.astype(int)][:, None]


@lru_cache(maxsize=2 * _DRAWN_BLOCKS * NUM_CLASSES)
def _drawn_block(seed: int, index: int, block: int) -> np.ndarray:
    """Return randomly drawn digits of a class, (500, 28, 28) uint8."""
    raw = bits(_BLOCK, seed, Stream.CLASS_IMAGES, PIXELS, index, block).astype("<u8").view(np.uint8)
    byte = (raw.reshape(_BLOCK, 8).T / 256).astype(np.float32)
    shapes = SHAPES[index]
    which = (byte[0] * len(shapes)).astype(int)
    images = np.zeros((_BLOCK, PIXELS), np.uint8)
    for number, lines in enumerate(shapes):
        chosen = np.flatnonzero(which == number)
        images[chosen] = _drawn(lines, byte[1:, chosen])
    return images.reshape(_BLOCK, *GREY_SHAPE[1:])


def _drawn(lines: tuple[tuple[tuple[float, float], ...], ...], byte: np.ndarray) -> np.ndarray:
    """Draw the polylines of a shape as (N, P) uint8; `byte` (7, N) in 0 .. 1 are the parameters of each image."""
    scale_x, scale_y, shear, move_x, move_y, pen, bend = byte
    starts = np.array([point for line in lines for point in line[:-1]], np.float32)
    ends = np.array([point for line in lines for point in line[1:]], np.float32)

    def placed(points: np.ndarray) -> np.ndarray:
        """Return points of the square in image coordinates, (N, points, 2)."""
        x, y = (points - 3).T
        x = x + 0.06 * (bend[:, None] - 0.5) * (y**2 - 3)
        across = x * (3 + 1.3 * scale_x[:, None]) + y * 1.6 * (shear[:, None] - 0.5)
        down = y * (3.3 + 0.9 * scale_y[:, None])
        return np.stack([across + 13.5 + 5 * (move_x[:, None] - 0.5), down + 13.5 + 5 * (move_y[:, None] - 0.5)], 2)

    squared = _distances(placed(starts), placed(ends))
    level = (0.8 + 0.9 * pen[:, None] - np.sqrt(squared)) * 0.8 + 0.5
    return np.rint(np.clip(level, 0, 1) * 255).astype(np.uint8)


def _distances(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Return the squared distance of each pixel from the nearest of the segments (N, segments, 2), (N, P)."""
    side = np.arange(28, dtype=np.float32)
    pixel_x, pixel_y = np.tile(side, 28), np.repeat(side, 28)
    nearest = np.full((len(start), PIXELS), np.inf, np.float32)
    for segment in range(start.shape[1]):
        from_x, from_y = start[:, segment].T[:, :, None]
        along_x, along_y = (end - start)[:, segment].T[:, :, None]
        length = along_x**2 + along_y**2
        x, y = pixel_x - from_x, pixel_y - from_y
        part = np.clip((x * along_x + y * along_y) / length, 0, 1)
        np.minimum(nearest, (x - part * along_x) ** 2 + (y - part * along_y) ** 2, out=nearest)
    return nearest
