"""Every path of one run, and the two small JSON files that say what it is and where it stands."""

import errno
import glob
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import orjson
from pydantic import TypeAdapter, ValidationError

from lop_engine import __version__
from lop_engine.errors import LaunchError, StoreError, why
from lop_engine.experiment.run import Run
from lop_engine.files import overwrite, read_small, replacing
from lop_engine.runs.records import RunStatus

SCHEMA = 2
"""Of the run directories that this version writes: run.json and the record files. Without a number it is 1."""

_MOST_BYTES = 2**24
_SEED = re.compile(r"seed_([0-9]{1,9})")
_LOG_OF = re.compile(r"[^/]+/seed_[0-9]{1,9}")
_STATUS = TypeAdapter(RunStatus)


@dataclass(frozen=True, order=True)
class RunDir:
    """``<runs_dir>/<experiment>/<setting>/seed_<seed>``: the one owner of these names."""

    path: Path

    @classmethod
    def of(cls, runs_dir: Path, run: Run) -> "RunDir":
        return cls(_setting_dir(runs_dir, run.experiment, run.setting) / f"seed_{run.seed:03d}")

    @cached_property
    def experiment(self) -> str:
        return self.path.parent.parent.name

    @cached_property
    def setting(self) -> str:
        return self.path.parent.name

    @property
    def seed(self) -> int:
        match = _SEED.fullmatch(self.path.name)
        assert match, f"not a run directory: {self.path}"
        return int(match[1])

    @property
    def name(self) -> str:
        """How a person calls this run: ``cbp/default/seed_003``."""
        return "/".join(self.path.parts[-3:])

    @property
    def run_json(self) -> Path:
        return self.path / "run.json"

    @property
    def status_json(self) -> Path:
        return self.path / "status.json"

    @property
    def tasks_json(self) -> Path:
        return self.path / "tasks.json"

    @property
    def epochs_json(self) -> Path:
        return self.path / "epochs.json"

    @property
    def records(self) -> tuple[Path, Path]:
        return self.tasks_json, self.epochs_json

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.pt"

    @property
    def previous_checkpoint(self) -> Path:
        """The one before, for the case that the newest is damaged."""
        return self.path / "checkpoint.previous.pt"

    @property
    def has_checkpoint(self) -> bool:
        return self.checkpoint.exists() or self.previous_checkpoint.exists()

    @property
    def log(self) -> Path:
        return self.path / "worker.log"

    def worker_log(self, status: RunStatus) -> Path:
        """The log of the worker that trains this run: it lies with the first run of its stack."""
        if status.log_of and _LOG_OF.fullmatch(status.log_of):
            return self.path.parents[1] / status.log_of / self.log.name
        first = status.stack[0] if status.stack else self.seed
        return self.path.with_name(f"seed_{first:03d}") / self.log.name

    @property
    def lock(self) -> Path:
        """The lock file, beside the directory so that the lock survives while that is made, replaced or removed."""
        return self.path.with_name(f".{self.path.name}.lock")

    def read_config(self) -> dict[str, Any]:
        """The content of run.json. Raises StoreError, also for a run of a newer version of lop."""
        config = read_json(self.run_json)
        schema = config.get("schema", 1)
        if not isinstance(schema, int) or schema < 1:
            raise StoreError(f"{self.run_json}: schema is not a version ({schema!r}); restore run.json from a backup")
        if schema > SCHEMA:
            raise StoreError(newer(self.run_json, "schema", schema, SCHEMA, config))
        return config

    def read_spec(self) -> dict[str, Any]:
        """The spec in run.json, not yet validated. Raises StoreError."""
        spec = self.read_config().get("spec")
        if not isinstance(spec, dict):
            raise StoreError(f"{self.run_json}: holds no spec")
        return spec

    def read_id(self) -> str:
        """Identifier of this run among earlier and later ones of its name. Raises StoreError, FileNotFoundError."""
        config = self.read_config()
        return str(config.get("id") or config.get("created_at"))

    def read_status(self) -> RunStatus:
        """The content of status.json; a run that has none yet is queued. Raises StoreError."""
        try:
            return _STATUS.validate_python(read_json(self.status_json))
        except FileNotFoundError:
            return RunStatus()
        except ValidationError as error:
            raise StoreError(f'{self.status_json}: "{error.errors()[0]["loc"][0]}" is not what it should be') from None

    def write_status(self, status: RunStatus, durable: bool = False) -> None:
        """Replace the status in one step; on a full disk, write over the old one in its place."""
        try:
            with replacing(self.status_json, durable) as file:
                file.write(orjson.dumps(status, option=orjson.OPT_INDENT_2))
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not self.status_json.exists():
                raise
            overwrite(self.status_json, orjson.dumps(status))

    def refuse_link(self) -> None:
        """Raise LaunchError if the directory lies elsewhere, behind a symbolic link."""
        if self.path.resolve() != self.path.parents[2].resolve() / self.name:
            raise LaunchError(f"{self.path}: is a symbolic link or lies behind one; remove it by hand")

    def clear(self) -> None:
        """Remove the run and all its records, in one visible step. The run's lock must be held.

        Raises:
            LaunchError: the directory lies behind a symbolic link. Nothing has been removed.
        """
        self.refuse_link()
        leaving = self.path.with_name(f".{self.path.name}.{os.getpid()}.removed")
        self.path.rename(leaving)
        shutil.rmtree(leaving)


@lru_cache(maxsize=4096)
def _setting_dir(runs_dir: Path, experiment: str, setting: str) -> Path:
    return runs_dir / experiment / setting


def find_runs(runs_dir: Path) -> Iterator[RunDir]:
    """Every run directory under `runs_dir`, in the order of experiment, setting and seed."""
    # Unlike Path.glob, glob.glob is not upset by a directory that is being removed.
    paths = [runs_dir / path for path in glob.glob("*/*/seed_*/run.json", root_dir=runs_dir)]
    run_dirs = [RunDir(path.parent) for path in paths if _SEED.fullmatch(path.parent.name)]
    yield from sorted(run_dirs, key=lambda run_dir: (run_dir.experiment, run_dir.setting, run_dir.seed, run_dir))


def find_seeds(setting: Path) -> Iterator[RunDir]:
    """Every run directory of one setting, given its directory."""
    names = glob.glob("seed_*/run.json", root_dir=setting)
    paths = [(setting / name).parent for name in names]
    yield from sorted(RunDir(path) for path in paths if _SEED.fullmatch(path.name))


def read_json(path: Path) -> dict[str, Any]:
    """Read one JSON object. Raises FileNotFoundError, or StoreError naming the file."""
    try:
        raw = orjson.loads(read_small(path, _MOST_BYTES))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {why(error)}") from None
    except orjson.JSONDecodeError as error:
        raise StoreError(f"{path}: not valid JSON ({error})") from None
    if not isinstance(raw, dict):
        raise StoreError(f"{path}: not a JSON object")
    return raw


def write_json(path: Path, content: Mapping[str, Any], durable: bool = False) -> None:
    """Replace `path` in one step, see `files.replacing`."""
    with replacing(path, durable) as file:
        file.write(orjson.dumps(content, option=orjson.OPT_INDENT_2))


def newer(path: Path, what: str, version: int, known: int, config: Mapping[str, Any]) -> str:
    """What to say of a file that a newer version of lop wrote.

    Args:
        config: the run's run.json, which names that version.
    """
    versions = config.get("versions")
    lop = versions.get("lop") if isinstance(versions, dict) else None
    by = f"by lop {lop}" if isinstance(lop, str) else "by a newer lop"
    return f"{path}: written {by} ({what} {version}); lop {__version__} reads {what} {known} at most; update lop"


def numerics_of(config: Mapping[str, Any]) -> int:
    """The `lop_engine.NUMERICS` that a run began with, given its run.json; 1 for runs from before it was recorded."""
    code = config.get("code")
    numerics = code.get("numerics") if isinstance(code, dict) else None
    return numerics if isinstance(numerics, int) else 1


Code = tuple[tuple[str, str], ...]
"""What a run's numbers follow from: `OWN_NUMERICS` and its number, name and checksum of each own component's file."""

OWN_NUMERICS = "lop's own numerics"


def code_of(config: Mapping[str, Any]) -> Code:
    """The code of a run, given its run.json, earlier code first; without what is not well-formed there."""
    earlier, files = config.get("earlier_files", []), config.get("files", [])
    code = config.get("code")
    numbers = [*(code.get("earlier_numerics", []) if isinstance(code, dict) else []), numerics_of(config)]
    ours = [(OWN_NUMERICS, str(number)) for number in numbers]
    try:
        modules = [one for state in (*earlier, files) for group in state for one in group]
        return (*ours, *((Path(one["path"]).name, str(one["sha256"])) for one in modules))
    except (TypeError, KeyError):
        return tuple(ours)


def versions_of(code: Code) -> tuple[str, ...]:
    """Equal for runs of one code, also if a file has been renamed."""
    return tuple(version for _, version in code)
