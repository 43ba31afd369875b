"""Arrays that are read in pieces."""

from collections.abc import Iterator
from typing import Any

import numpy as np


def read_blocks(file: Any, dtype: np.dtype, shape: tuple[int, ...], num_rows: int) -> Iterator[np.ndarray]:
    """Read an array in C order from where `file` stands, `num_rows` of its first axis at a time. Raises EOFError."""
    row_bytes = int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize
    for start in range(0, shape[0], num_rows):
        rows = min(num_rows, shape[0] - start)
        data = file.read(rows * row_bytes)
        if len(data) != rows * row_bytes:
            raise EOFError("ends in the middle of its images")
        yield np.frombuffer(data, dtype).reshape(rows, *shape[1:])
