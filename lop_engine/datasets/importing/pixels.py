"""Converts an encoded picture to 3x32x32 or 1x28x28 grey levels with Pillow."""

import io
import logging
import threading
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lop_engine.datasets.base import GREY_SHAPE, IMAGE_SHAPE, Shape, in_numbers
from lop_engine.errors import DataError, did_you_mean, why
from lop_engine.files import require_regular

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

_MOST_SIZES = 100

#: Formats that Pillow may decode: only those for pictures.
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "PPM", "GIF", "TIFF")
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".gif", ".tif", ".tiff")
FILTERS = ("box", "hamming", "bilinear", "bicubic", "lanczos")
#: The largest picture of ImageNet has 35 million pixels.
MAX_PIXELS = 80_000_000
#: Pictures of this size or larger are decoded one at a time, because each takes hundreds of megabytes.
_LARGE = 4_000_000
_ONE_LARGE_PICTURE = threading.Lock()


def check_filter(name: str) -> None:
    """Raise DataError unless Pillow has this filter."""
    if name not in FILTERS:
        raise DataError(f'--resize "{name}": choose one of {", ".join(FILTERS)}{did_you_mean(name, FILTERS)}')


_GREY_MODES = ("1", "L", "LA")


class Resizer:
    """Resizes pictures to one size and counts those of another size; used by several threads.

    Args:
        name: one of `FILTERS`; "box", the default, is the filter of downsampled ImageNet.
        shape: shape of the resulting images.
        converts_colours: whether colour pictures are converted to grey if `shape` is grey; else they are refused.
    """

    def __init__(self, name: str | None, shape: Shape = IMAGE_SHAPE, converts_colours: bool = True) -> None:
        self.name = name or FILTERS[0]
        self.shape, self.converts_colours = shape, converts_colours
        self._size = (shape[2], shape[1])
        self._lock = threading.Lock()
        self._enlarged: Counter[str] = Counter()
        self._shrunk: Counter[str] = Counter()

    def resized(self, picture: "Picture") -> "Picture":
        """Return the whole picture at the size of the images; the same object if it has that size."""
        from PIL import Image

        if picture.size == self._size:
            return picture
        with self._lock:
            counts = self._enlarged if min(picture.size) < min(self._size) else self._shrunk
            counts[f"{picture.width}x{picture.height}" if len(counts) < _MOST_SIZES else "other sizes"] += 1
        return picture.resize(self._size, Image.Resampling[self.name.upper()])

    def array(self, images: np.ndarray) -> np.ndarray:
        """Return images (N, 3, height, width) uint8 as (N, 3, 32, 32)."""
        from PIL import Image

        pictures = (Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))) for image in images)
        return np.stack([np.asarray(self.resized(one)).transpose(2, 0, 1) for one in pictures])

    def pixels(self, picture: "Picture") -> np.ndarray:
        """Return a picture as an image of the shape. Raises ValueError for colours that are not converted."""
        if self.shape[0] == 1:
            if picture.mode not in _GREY_MODES and not self.converts_colours:
                raise ValueError(f"colours ({picture.mode}), and the first picture is grey; choose one with --shape")
            return np.asarray(self.resized(picture.convert("L")))[None]
        return np.asarray(self.resized(picture.convert("RGB"))).transpose(2, 0, 1)

    def notes(self) -> list[str]:
        """Return how many pictures were enlarged and how many shrunk, and from which sizes."""
        changes = (("enlarged", self._enlarged), ("shrunk", self._shrunk))
        how = f"to {in_numbers(self._size)} by the {self.name} filter"
        return [
            f"{counts.total()} picture{'s' * (counts.total() != 1)} {what} {how} "
            f"(from {', '.join(size for size, _ in counts.most_common(3))}{', ...' * (len(counts) > 3)})"
            for what, counts in changes
            if counts
        ]


def decode(encoded: Path | bytes, where: str, resizer: "Resizer") -> np.ndarray:
    """Decode one picture as an image of the resizer's shape, uint8; one of another size is resized whole, not cropped.

    Raises:
        DataError: `where` cannot be decoded.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        if isinstance(encoded, Path):
            require_regular(encoded)
        with Image.open(io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded, formats=FORMATS) as picture:
            num_pixels = picture.width * picture.height
            if num_pixels > MAX_PIXELS:
                raise ValueError(f"{picture.width} x {picture.height} pixels")
            if picture.mode[:1] in ("I", "F"):
                raise ValueError(f"more than 8 bits a value (mode {picture.mode}); save it with 8")
            with _ONE_LARGE_PICTURE if num_pixels > _LARGE else nullcontext():
                return resizer.pixels(picture)
    except FileNotFoundError:
        raise DataError(f"{where}: no such file") from None
    except UnidentifiedImageError:
        raise DataError(f"{where}: not a picture in one of the formats {', '.join(FORMATS)}") from None
    except Exception as error:  # whatever a decoder raises for bytes that are not a picture: the file is at fault
        raise DataError(f"{where}: not a picture that can be read: {why(error)[:120]}") from None


def shape_of(encoded: Path | bytes | None) -> Shape:
    """Return the shape of images made from pictures like this one: grey ones of 28x28 keep theirs."""
    from PIL import Image

    try:
        if isinstance(encoded, Path):
            require_regular(encoded)
        with Image.open(io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded, formats=FORMATS) as picture:  # type: ignore[arg-type]
            is_small_and_grey = picture.size == GREY_SHAPE[:0:-1] and picture.mode in _GREY_MODES
            return GREY_SHAPE if is_small_and_grey else IMAGE_SHAPE
    except Exception:  # a damaged picture is reported when it is read
        return IMAGE_SHAPE


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress Pillow's warnings of odd metadata, which do not affect pixels."""
    logging.getLogger("PIL").setLevel(logging.CRITICAL + 1)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        warnings.filterwarnings("ignore", category=UserWarning)
        yield
