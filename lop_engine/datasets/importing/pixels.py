"""From an encoded picture to 3x32x32 grey levels, by Pillow."""

import io
import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np

from lop_engine.datasets.base import SIDE
from lop_engine.errors import DataError, did_you_mean, why
from lop_engine.files import require_regular

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


def decode(encoded: Path | bytes, where: str, resize: str) -> np.ndarray:
    """Decode one picture as (3, 32, 32) uint8; one of another size is resized whole, not cropped.

    Args:
        resize: a name of `FILTERS`; "box" is what downsampled ImageNet was made with.
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
                shown = picture.convert("RGB")
                if shown.size != (SIDE, SIDE):
                    shown = shown.resize((SIDE, SIDE), Image.Resampling[resize.upper()])
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
