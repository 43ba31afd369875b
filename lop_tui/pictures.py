"""Sample images of a data set: a grid for a PNG, half-block art for a terminal."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.text import Text

from lop_engine.datasets import ClassFolder
from lop_engine.files import replacing

_GAP = 2
_ZOOM = 2
#: Characters across of the largest image in the terminal; a character shows two pixels, one above the other.
COLUMNS = 16


def spread(total: int, wanted: int) -> list[int]:
    """Up to `wanted` numbers from 0 .. total - 1, evenly spaced."""
    return [total * place // min(total, wanted) for place in range(min(total, wanted))]


def grid(folder: ClassFolder, classes: Sequence[int], images: int) -> np.ndarray:
    """A row of images for each class, twice their size: (height, width, 3) uint8."""
    cell = folder.shape[1] * _ZOOM + _GAP
    canvas = np.full((cell * len(classes) + _GAP, cell * images + _GAP, 3), 255, np.uint8)
    for row, index in enumerate(classes):
        for column, shown in enumerate(_shown(folder, index, images)):
            top, left = row * cell + _GAP, column * cell + _GAP
            canvas[top : top + cell - _GAP, left : left + cell - _GAP] = shown.repeat(_ZOOM, 0).repeat(_ZOOM, 1)
    return canvas


def save(picture: np.ndarray, path: Path) -> None:
    """Write a picture as PNG, whole or not at all."""
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(picture).save(content, "PNG")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(content.getvalue())


def half_blocks(folder: ClassFolder, classes: Sequence[int], images: int) -> Text:
    """Images at half their size; the upper pixel of a character is its colour, the lower one its background."""
    text = Text()
    for index in classes:
        text.append("  ".join(dict.fromkeys((str(index), folder.class_names[index]))) + "\n")
        small = [_halved(shown) for shown in _shown(folder, index, images)]
        for line in range(0, folder.shape[1] // 2, 2):
            for picture in small:
                for upper, lower in zip(picture[line], picture[line + 1], strict=True):
                    text.append("▀", style=f"rgb({_rgb(upper)}) on rgb({_rgb(lower)})")
                text.append(" ")
            text.append("\n")
    return text


def _shown(folder: ClassFolder, index: int, images: int) -> np.ndarray:
    """The first images of a class as levels of red, green and blue, (N, H, W, 3) uint8; other numbers are stretched."""
    values = np.array(folder.mapped(index)[:images]).transpose(0, 2, 3, 1)
    values = values.repeat(3, 3) if values.shape[3] == 1 else values
    if values.dtype == np.uint8:
        return values
    values = np.nan_to_num(values.astype(np.float64))
    low, high = values.min(), values.max()
    return ((values - low) * (255 / (high - low or 1))).astype(np.uint8)


def _halved(picture: np.ndarray) -> np.ndarray:
    """(H, W, 3) to (H / 2, W / 2, 3), means of 2x2 pixels."""
    height, width = picture.shape[0] // 2, picture.shape[1] // 2
    return picture.reshape(height, 2, width, 2, 3).mean((1, 3)).astype(np.uint8)


def _rgb(pixel: np.ndarray) -> str:
    return ",".join(map(str, pixel.tolist()))
