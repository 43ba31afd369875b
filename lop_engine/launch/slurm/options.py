"""Requests to a cluster: read from ``lop.toml`` and ``--slurm key=value``, and checked before anything is submitted."""

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from platformdirs import user_config_path
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from lop_engine.errors import ConfigError, did_you_mean, why
from lop_engine.files import read_small

FILE_NAME = "lop.toml"

_TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<clock>\d+(?::\d+){0,2})")


def _minutes(value: Any) -> int:
    """Parse Slurm's formats: minutes, ``H:MM``, ``H:MM:SS``, ``D-HH``, ``D-HH:MM:SS``."""
    match = _TIME.fullmatch(str(value).strip())
    if not match:
        raise ValueError("not a time: write minutes, hours:minutes:seconds or days-hours")
    parts = [int(part) for part in match["clock"].split(":")]
    if match["days"] is not None:
        hours, minutes, seconds = [*parts, 0, 0][:3]
        total = int(match["days"]) * 1440 + hours * 60 + minutes + (seconds > 0)
    elif len(parts) == 1:
        total = parts[0]
    else:
        hours, minutes, seconds = parts if len(parts) == 3 else (0, *parts)
        total = hours * 60 + minutes + (seconds > 0)
    if not total:
        raise ValueError("not a time")
    return total


def minutes_of(text: str) -> int | None:
    """Parse a time limit as Slurm prints it, in minutes; None if missing (``UNLIMITED``)."""
    try:
        return _minutes(text)
    except ValueError:
        return None


def _memory(value: Any) -> str:
    text = str(value).strip().upper().removesuffix("B")
    if not re.fullmatch(r"[1-9]\d*[KMGT]?", text):
        raise ValueError("not an amount of memory: write 8G, or 8000M")
    return text


def stage_directory(value: Any) -> str:
    """Check a directory of the compute nodes, which they will expand. Raises ValueError."""
    text = str(value).strip()
    if not text or text.startswith("-"):  # an unset shell variable, or the next option in its place
        raise ValueError(
            "is not a directory; quote a variable of the compute nodes, or the shell here expands it: '$TMPDIR'"
        )
    if not text.startswith(("/", "~", "$")):
        raise ValueError("begin with /, ~ or a variable of the compute nodes: '$TMPDIR'")
    if "$" in re.sub(r"\$(?:\w+|\{\w+\})", "", text):
        raise ValueError("only $NAME and ${NAME} are expanded on the node")
    return text


def _lines(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class SlurmOptions(BaseModel):
    """Resources of each task of the array, and options of its submission."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    time: Annotated[int, BeforeValidator(_minutes)] = 24 * 60
    """In minutes; a task that needs more is requeued and resumes. By default, the partition's limit if that is less."""
    gpus: Annotated[int, Field(ge=0, le=8)] = 0
    """GPUs per task, each with a worker."""
    cpus: Annotated[int, Field(ge=1, le=1024)] = 1
    """CPUs per task, shared by the workers on its GPUs; without GPUs each CPU has a worker."""
    memory: Annotated[str | None, BeforeValidator(_memory)] = None
    """Memory per task; a worker needs about 500 MB per seed on a CPU. None: the cluster's default."""
    array_parallelism: Annotated[int, Field(ge=1)] = 1000
    """Most tasks of a submission that run at the same time."""
    grace: Annotated[int, Field(ge=20, le=3600)] = 90
    """Seconds between Slurm's warning and the end."""
    setup: Annotated[tuple[str, ...], BeforeValidator(_lines)] = ()
    """Shell lines before training: module load, a virtual environment."""
    stage: Annotated[str | None, BeforeValidator(stage_directory)] = None
    """A directory on a node's own disk, to which the images are copied before training; expanded there."""


@dataclass(frozen=True)
class SlurmRequest:
    """A request to a cluster, and the options that were typed."""

    options: SlurmOptions
    typed: tuple[str, ...]
    """``key=value`` options; the rest are from files."""
    tasks_per_array: int | None = None
    """The largest array that this cluster allows; None if unknown."""
    notes: tuple[str, ...] = ()
    """Notes for the user about the request on this cluster."""
    waits_for_nodes: bool = False
    """Whether every node that could run a task is down or drained."""

    @property
    def launcher(self) -> str:
        return "slurm"

    @classmethod
    def of(cls, typed: Sequence[str], before: Sequence[str] = ()) -> "SlurmRequest":
        """Return the request as typed now, with the options of `before` as defaults. Raises ConfigError."""
        replaced = {_key(word) for word in typed}
        words = (*(word for word in before if _key(word) not in replaced), *typed)
        return cls(read_options(words), words)


def _key(word: str) -> str:
    return word.partition("=")[0]


def read_options(typed: Sequence[str], directory: Path = Path()) -> SlurmOptions:
    """Read options from the user's file, this directory's, and the command line; later ones replace earlier ones.

    Raises:
        ConfigError: names file or option, key, value and the valid choices.
    """
    values: dict[str, Any] = {}
    source: dict[str, str] = {}
    text: Any
    for path in (user_config_path("lop") / FILE_NAME, directory / FILE_NAME):
        for key, value in _section(path).items():
            values[key], source[key] = value, f"{path}, [slurm]"
    for word in typed:
        key, equals, text = word.partition("=")
        if not equals:
            raise ConfigError(f'--slurm "{word}": write key=value, for example --slurm partition=gpu')
        if key == "setup" and source.get(key) == "--slurm":
            text = [*values[key], text]  # lines, joined
        elif key == "setup":
            text = [text]
        values[key], source[key] = text, "--slurm"
    for key in values:
        if key not in SlurmOptions.model_fields:
            near = did_you_mean(key, SlurmOptions.model_fields) or f"; there are {', '.join(SlurmOptions.model_fields)}"
            raise ConfigError(f'{source[key]}: unknown option "{key}"{near}')
    try:
        return SlurmOptions(**values)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0])
        why = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f'{source[key]}: {key} "{values[key]}": {why}') from None


def _section(path: Path) -> dict[str, Any]:
    try:
        section = tomllib.loads(read_small(path, 2**20).decode()).get("slurm", {})
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {why(error)}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    if not isinstance(section, dict):
        raise ConfigError(f"{path}: slurm is a section: write [slurm], and partition = ... below it")
    return section
