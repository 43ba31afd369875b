"""Reads arrays in pieces."""

from collections.abc import Iterator
from typing import Any

import numpy as np


def read_blocks(file: Any, dtype: np.dtype, shape: tuple[int, ...], num_rows: int) -> Iterator[np.ndarray]:
    """Yield blocks of `num_rows` along the first axis of a C-ordered array at `file`'s position. Raises EOFError."""
    row_bytes = int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize
    for start in range(0, shape[0], num_rows):
        rows = min(num_rows, shape[0] - start)
        data = file.read(rows * row_bytes)
        if len(data) != rows * row_bytes:
            raise EOFError("ends in the middle of its images")
        yield np.frombuffer(data, dtype).reshape(rows, *shape[1:])
