"""From an encoded picture to 3x32x32 grey levels, by Pillow."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from lop_engine.datasets.base import SIDE
from lop_engine.errors import DataError, did_you_mean

#: What Pillow may decode: formats that are pictures and nothing else.
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "PPM", "GIF", "TIFF")
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".gif", ".tif", ".tiff")
FILTERS = ("box", "hamming", "bilinear", "bicubic", "lanczos")
#: The largest picture of ImageNet has 35 million pixels.
MAX_PIXELS = 100_000_000


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
        with Image.open(io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded, formats=FORMATS) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise ValueError(f"{picture.width} x {picture.height} pixels")
            shown = picture.convert("RGB")
            if shown.size != (SIDE, SIDE):
                shown = shown.resize((SIDE, SIDE), Image.Resampling[resize.upper()])
            return np.asarray(shown).transpose(2, 0, 1)
    except FileNotFoundError:
        raise DataError(f"{where}: no such file") from None
    except Exception as error:  # whatever a decoder makes of bytes that are no picture: the file is at fault
        reason = (str(error).splitlines() or [""])[0][:120] or type(error).__name__
        raise DataError(f"{where}: not a picture that can be read: {reason}") from None


@contextmanager
def quiet() -> Iterator[None]:
    """Pillow warns of odd metadata, which decides no pixel."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        warnings.filterwarnings("ignore", category=UserWarning)
        yield
