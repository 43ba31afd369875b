"""The file that a person asked for, under the name that they gave it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from lop_engine.errors import UserError
from lop_engine.files import name_file, replacing


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """Write `path` as a whole or not at all, in a directory made where it is missing; what a link leads to is written.

    Raises:
        UserError: `path` is a link to a file of another kind, such as a run's records.
        OSError: one that names `path`, whatever file was written on the way.
    """
    target = Path(os.path.realpath(path))
    if target.suffix.lower() != path.suffix.lower():
        raise UserError(f"{path}: a link to {target}, which is no {path.suffix} file; name another file")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with replacing(target) as file:
            yield file
    except OSError as error:
        name_file(error, path)
        raise
