"""Synthetic Continual ImageNet: procedural 32x32 colour classes for users without ImageNet.

A class is a few "textures": small colour tiles that repeat. An image shows one of its class's textures, or one that all
classes share (like a picture whose object is hard to recognise), at a random phase and contrast, through a soft
patch of random shape, over a smooth random background, with pixel noise. A class also has a mean colour.
A linear model can use little except that colour; textures need translation-invariant features, such as those of a
convolution; images with a shared texture can only be classified by colour, or memorised.

Integer arithmetic on raw random bits: the same bytes on every machine. The constants were chosen so that a
linear model and the paper's network reach about the same accuracy as on ImageNet: docs/data.md has the figures.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from lop_engine.datasets.base import IMAGE_SHAPE, PAPER_SPLIT, SIDE
from lop_engine.streams import Stream, bits

NUM_TEXTURES = 2
"""Number of a class's own textures."""
NUM_SHARED_TEXTURES = 8
SHARED_SHARE = 118
"""Images, of 256, with a shared texture: they limit the accuracy of the paper's network."""
TILE_GRID = 4
"""Colour values per side of a tile: sets the fineness of a texture."""
TILE_SIDE = 8
"""Period of a texture in pixels."""
FIELD_GRID = 4
"""Values per side from which an image's patch and background are interpolated."""
TEXTURE_AMPLITUDE = 140
BACKGROUND_AMPLITUDE = 40
NOISE_AMPLITUDE = 40
COLOUR_AMPLITUDE = 10
"""Grey levels by which a class's mean colour differs: almost all that a linear model can use."""

_TEXTURE_OF_BYTE = np.concatenate(
    [
        np.arange(256 - SHARED_SHARE) * NUM_TEXTURES // (256 - SHARED_SHARE),
        NUM_TEXTURES + np.arange(SHARED_SHARE) * NUM_SHARED_TEXTURES // SHARED_SHARE,
    ]
)

_BLOCK = 100
"""Images are drawn in blocks of this many, so that the first ones do not depend on the number requested."""


@dataclass(frozen=True)
class SyntheticImages:
    """`num_classes` classes of unlimited images, generated on request.

    Deterministic in (dataset seed, class); the first images of a class do not depend on the number requested.
    """

    num_classes: int
    seed: int = 0
    shape = IMAGE_SHAPE
    dtype = np.dtype(np.uint8)
    split = PAPER_SPLIT
    num_images = None

    @property
    def name(self) -> str:
        return f"synthetic (dataset seed {self.seed})"

    @property
    def sha256(self) -> str:
        """Return the checksum of the first hundred images: it changes with the seed, and if `lop` draws differently."""
        return hashlib.sha256(_class_images(self.seed, 0, _BLOCK).tobytes()).hexdigest()

    def images(self, index: int, num_images: int) -> np.ndarray:
        """Return the first `num_images` images of class `index`, shape (num_images, 3, 32, 32), uint8, read-only."""
        if not 0 <= index < self.num_classes:
            raise IndexError(f"class {index} of {self.num_classes}")
        return _class_images(self.seed, index, num_images)

    def blocks(self, index: int, num_images: int) -> Iterator[np.ndarray]:
        """Yield the same images in blocks, without caching."""
        return _class_blocks(self.seed, index, num_images)


@lru_cache(maxsize=64)
def _class_images(seed: int, index: int, num_images: int) -> np.ndarray:
    images = np.concatenate(list(_class_blocks(seed, index, num_images)))
    images.flags.writeable = False
    return images


def _class_blocks(seed: int, index: int, num_images: int) -> Iterator[np.ndarray]:
    windows, lean = _class_textures(seed, index)
    for start in range(0, num_images, _BLOCK):
        yield _image_block(windows, lean, seed, index, start // _BLOCK)[: num_images - start]


def _class_textures(seed: int, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a class's textures and the shared ones, in every phase, and the class's mean colour.

    Returns:
        (textures, 3, phases, phases, 32, 32), -128..127; (3,).
    """
    a_texture = 3 * TILE_GRID**2
    raw = _random_bytes(3 + NUM_TEXTURES * a_texture, seed, Stream.DATASET, index)
    lean = (raw[:3] - 128) * COLOUR_AMPLITUDE // 128
    shared = _random_bytes(NUM_SHARED_TEXTURES * a_texture, seed, Stream.SHARED_TEXTURES)
    grid = np.concatenate([raw[3:], shared]).reshape(-1, 3, TILE_GRID, TILE_GRID) - 128
    grid -= grid.mean((2, 3), keepdims=True, dtype=np.int32).astype(np.int32)
    tile = _enlarge(np.pad(grid, ((0, 0), (0, 0), (0, 1), (0, 1)), mode="wrap"), TILE_SIDE)
    repeats = SIDE // TILE_SIDE + 1
    sheet = np.tile(tile, (1, 1, repeats, repeats))[..., : SIDE + TILE_SIDE - 1, : SIDE + TILE_SIDE - 1]
    return np.lib.stride_tricks.sliding_window_view(sheet, (SIDE, SIDE), axis=(2, 3)), lean


def _image_block(windows: np.ndarray, lean: np.ndarray, seed: int, index: int, block: int) -> np.ndarray:
    """Return a block of images, (100, 3, 32, 32), uint8."""
    pixels, field = 3 * SIDE * SIDE, FIELD_GRID**2
    raw = _random_bytes(_BLOCK * (4 + 4 * field + pixels), seed, Stream.CLASS_IMAGES, index, block)
    choice, fields, noise = np.split(raw, [_BLOCK * 4, _BLOCK * (4 + 4 * field)])
    texture, row, column, contrast = choice.reshape(4, _BLOCK)
    patch, background = np.split(_enlarge(fields.reshape(_BLOCK, 4, FIELD_GRID, FIELD_GRID), SIDE), [1], axis=1)

    images = windows[_TEXTURE_OF_BYTE[texture], :, row * TILE_SIDE >> 8, column * TILE_SIDE >> 8]
    images = images * patch * (16 + contrast)[:, None, None, None] // 256 * TEXTURE_AMPLITUDE // (128 * 128)
    images += (background - 128) * BACKGROUND_AMPLITUDE // 128
    images += (noise.reshape(_BLOCK, *IMAGE_SHAPE) - 128) * NOISE_AMPLITUDE // 128
    images += 128 + lean[:, None, None]
    return np.clip(images, 0, 255).astype(np.uint8)


def _random_bytes(num_bytes: int, seed: int, stream: Stream, *counters: int) -> np.ndarray:
    """Return random bytes as int32, little-endian on every machine."""
    words = bits(-(-num_bytes // 8), seed, stream, *counters)
    return words.astype("<u8").view(np.uint8)[:num_bytes].astype(np.int32)


def _enlarge(grid: np.ndarray, side: int) -> np.ndarray:
    """Enlarge the last two axes to `side` by bilinear interpolation in integers; the last values are the far border."""
    cells = grid.shape[-1] - 1
    position = np.arange(side) * (cells * 64) // side
    low, part = position // 64, (position % 64).astype(grid.dtype)
    rows = grid[..., low, :] * (64 - part)[:, None] + grid[..., low + 1, :] * part[:, None]
    columns = rows[..., low] * (64 - part) + rows[..., low + 1] * part
    return columns // 4096
