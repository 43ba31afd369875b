"""From an encoded picture to 3x32x32 grey levels, by Pillow."""

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

from lop_engine.datasets.base import SIDE
from lop_engine.errors import DataError, did_you_mean, why
from lop_engine.files import require_regular

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

_MOST_SIZES = 100

#: What Pillow may decode: formats that are pictures and nothing else.
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "PPM", "GIF", "TIFF")
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".gif", ".tif", ".tiff")
FILTERS = ("box", "hamming", "bilinear", "bicubic", "lanczos")
#: The largest picture of ImageNet has 35 million pixels.
MAX_PIXELS = 80_000_000
#: Pictures from this size on are decoded one at a time: each takes hundreds of megabytes.
_LARGE = 4_000_000
_ONE_LARGE_PICTURE = threading.Lock()


def check_filter(name: str) -> None:
    """Raise DataError unless Pillow has such a filter."""
    if name not in FILTERS:
        raise DataError(f'--resize "{name}": choose one of {", ".join(FILTERS)}{did_you_mean(name, FILTERS)}')


class Resizer:
    """Brings pictures to 32x32 and counts those that were of another size; used by several threads."""

    def __init__(self, name: str | None) -> None:
        """`name` is one of `FILTERS`; "box", the default, is what downsampled ImageNet was made with."""
        self.name = name or FILTERS[0]
        self._lock = threading.Lock()
        self._enlarged: Counter[str] = Counter()
        self._shrunk: Counter[str] = Counter()

    def resized(self, picture: "Picture") -> "Picture":
        """The whole picture at 32x32; the same one if it has that size."""
        from PIL import Image

        if picture.size == (SIDE, SIDE):
            return picture
        with self._lock:
            counts = self._enlarged if min(picture.size) < SIDE else self._shrunk
            counts[f"{picture.width}x{picture.height}" if len(counts) < _MOST_SIZES else "other sizes"] += 1
        return picture.resize((SIDE, SIDE), Image.Resampling[self.name.upper()])

    def array(self, images: np.ndarray) -> np.ndarray:
        """Images (N, 3, height, width) uint8 as (N, 3, 32, 32)."""
        from PIL import Image

        pictures = (Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))) for image in images)
        return np.stack([np.asarray(self.resized(one)).transpose(2, 0, 1) for one in pictures])

    def notes(self) -> list[str]:
        """How many pictures were enlarged and how many shrunk, and from which sizes."""
        found = (("enlarged", self._enlarged), ("shrunk", self._shrunk))
        return [
            f"{counts.total()} picture{'s' * (counts.total() != 1)} {what} to {SIDE}x{SIDE} by the {self.name} filter "
            f"(from {', '.join(size for size, _ in counts.most_common(3))}{', ...' * (len(counts) > 3)})"
            for what, counts in found
            if counts
        ]


def decode(encoded: Path | bytes, where: str, resizer: "Resizer") -> np.ndarray:
    """Decode one picture as (3, 32, 32) uint8; one of another size is resized whole, not cropped.

    Raises:
        DataError: `where` cannot be decoded.
    """
    from PIL import Image

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
                shown = resizer.resized(picture.convert("RGB"))
            return np.asarray(shown).transpose(2, 0, 1)
    except FileNotFoundError:
        raise DataError(f"{where}: no such file") from None
    except Exception as error:  # whatever a decoder makes of bytes that are no picture: the file is at fault
        raise DataError(f"{where}: not a picture that can be read: {why(error)[:120]}") from None


@contextmanager
def quiet() -> Iterator[None]:
    """Pillow warns of odd metadata, which decides no pixel."""
    logging.getLogger("PIL").setLevel(logging.CRITICAL + 1)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        warnings.filterwarnings("ignore", category=UserWarning)
        yield
