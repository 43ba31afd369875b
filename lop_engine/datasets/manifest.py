"""`dataset.json`: what a folder of class files holds."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lop_engine.datasets.base import Split
from lop_engine.errors import DataError, why
from lop_engine.experiment.mistakes import explain
from lop_engine.files import read_small, replacing

NAME = "dataset.json"
MAX_BYTES = 64 * 2**20


class ClassEntry(BaseModel):
    """One class: the file ``classes/<place in the list>.npy``."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str
    """Its WNID, or whatever the source calls it."""
    images: int = Field(ge=2)
    sha256: str = Field(pattern="[0-9a-f]{64}")
    """Of the images' bytes, in C order."""


class Manifest(BaseModel):
    """The content of `dataset.json`: written last, so a folder that has one is complete."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: Literal["lop images 1"] = "lop images 1"
    source: dict[str, str]
    """Where the images came from and how: for people."""
    dtype: str
    train_images: int = Field(ge=1)
    test_images: int = Field(ge=1)
    normalisation: Literal["none", "scaled"]
    """What a spec that says "auto" gets."""
    minimum: float
    maximum: float
    channel_means: list[float]
    """Of the stored values, in the order red, green, blue."""
    channel_stds: list[float]
    classes: list[ClassEntry] = Field(min_length=2)
    sha256: str
    """See `combined_sha256`."""

    @property
    def split(self) -> Split:
        return Split(self.train_images, self.test_images)

    def write(self, folder: Path) -> None:
        """Write ``folder/dataset.json``, whole and on the disk."""
        with replacing(folder / NAME, durable=True) as file:
            file.write(orjson.dumps(self.model_dump(), option=orjson.OPT_INDENT_2))

    @classmethod
    def read(cls, folder: Path) -> "Manifest | None":
        """Read ``folder/dataset.json``; None if there is none. Raises DataError."""
        path = folder / NAME
        try:
            return cls.model_validate(orjson.loads(read_small(path, MAX_BYTES)))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {why(error)}") from None
        except orjson.JSONDecodeError as error:
            raise DataError(f"{path}: not valid JSON ({error}); import the images again") from None
        except ValidationError as error:
            first: Any = error.errors()[0]
            raise DataError(
                f"{path}: {explain(first, cls.model_fields) if first['loc'] else 'not a JSON object'}; "
                "import the images again"
            ) from None


def combined_sha256(dtype: str, checksums: Sequence[str]) -> str:
    """One checksum for classes in their order, and for the type that their bytes are to be read as."""
    return hashlib.sha256("\n".join([dtype, *checksums]).encode()).hexdigest()
