"""Paths of a run, and its two small JSON files: configuration and status."""

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
"""Version of the files that this lop writes: run.json and the record files. Files without a number are version 1."""

_MOST_BYTES = 2**24
_SEED = re.compile(r"seed_([0-9]{1,9})")
_LOG_OF = re.compile(r"[^/]+/seed_[0-9]{1,9}")
_STATUS = TypeAdapter(RunStatus)


@dataclass(frozen=True, order=True)
class RunDir:
    """``<runs_dir>/<experiment>/<setting>/seed_<seed>``. All file names of a run are defined here."""

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
        """Return the run's name in messages: ``cbp/default/seed_003``."""
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
        """Path of the checkpoint before the newest, used if that is damaged."""
        return self.path / "checkpoint.previous.pt"

    @property
    def has_checkpoint(self) -> bool:
        return self.checkpoint.exists() or self.previous_checkpoint.exists()

    @property
    def log(self) -> Path:
        return self.path / "worker.log"

    def worker_log(self, status: RunStatus) -> Path:
        """Return the log of the run's worker, in the directory of the first run of its stack."""
        if status.log_of and _LOG_OF.fullmatch(status.log_of):
            return self.path.parents[1] / status.log_of / self.log.name
        first = status.stack[0] if status.stack else self.seed
        return self.path.with_name(f"seed_{first:03d}") / self.log.name

    @property
    def lock(self) -> Path:
        """Return the lock file, beside the directory, so that it survives when that is created, replaced or removed."""
        return self.path.with_name(f".{self.path.name}.lock")

    def read_config(self) -> dict[str, Any]:
        """Return the content of run.json. Raises StoreError, also for a run of a newer version of lop."""
        config = read_json(self.run_json)
        schema = config.get("schema", 1)
        if not isinstance(schema, int) or schema < 1:
            raise StoreError(f"{self.run_json}: schema is not a version ({schema!r}); restore run.json from a backup")
        if schema > SCHEMA:
            raise StoreError(newer(self.run_json, "schema", schema, SCHEMA, config))
        return config

    def read_spec(self) -> dict[str, Any]:
        """Return the spec in run.json, not yet validated. Raises StoreError."""
        spec = self.read_config().get("spec")
        if not isinstance(spec, dict):
            raise StoreError(f"{self.run_json}: holds no spec")
        return spec

    def read_id(self) -> str:
        """Return the identifier that tells this run from others of its name. Raises StoreError, FileNotFoundError."""
        config = self.read_config()
        return str(config.get("id") or config.get("created_at"))

    def read_status(self) -> RunStatus:
        """Return the content of status.json; a run without one is queued. Raises StoreError."""
        try:
            return _STATUS.validate_python(read_json(self.status_json))
        except FileNotFoundError:
            return RunStatus()
        except ValidationError as error:
            raise StoreError(f'{self.status_json}: "{error.errors()[0]["loc"][0]}" is not what it should be') from None

    def write_status(self, status: RunStatus, durable: bool = False) -> None:
        """Replace the status atomically; on a full disk, overwrite it in place."""
        try:
            with replacing(self.status_json, durable) as file:
                file.write(orjson.dumps(status, option=orjson.OPT_INDENT_2))
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not self.status_json.exists():
                raise
            overwrite(self.status_json, orjson.dumps(status))

    def refuse_link(self) -> None:
        """Raise LaunchError if the directory is reached through a symbolic link."""
        if self.path.resolve() != self.path.parents[2].resolve() / self.name:
            raise LaunchError(f"{self.path}: is a symbolic link or lies behind one; remove it by hand")

    def clear(self) -> None:
        """Remove the run and all its records in one step. The run's lock must be held.

        Raises:
            LaunchError: the directory is reached through a symbolic link. Nothing has been removed.
        """
        self.refuse_link()
        leaving = self.path.with_name(f".{self.path.name}.{os.getpid()}.removed")
        self.path.rename(leaving)
        shutil.rmtree(leaving)


@lru_cache(maxsize=4096)
def _setting_dir(runs_dir: Path, experiment: str, setting: str) -> Path:
    return runs_dir / experiment / setting


def find_runs(runs_dir: Path) -> Iterator[RunDir]:
    """Yield every run directory under `runs_dir`, sorted by experiment, setting and seed."""
    # Unlike Path.glob, glob.glob tolerates a directory that is being removed.
    yield from _run_dirs(runs_dir, tuple(glob.glob("*/*/seed_*/run.json", root_dir=runs_dir)))


@lru_cache(maxsize=8)
def _run_dirs(runs_dir: Path, names: tuple[str, ...]) -> tuple[RunDir, ...]:
    """Return the run directories of run.json files in order; viewers ask for the same ones every second."""
    paths = [runs_dir / name for name in names]
    run_dirs = [RunDir(path.parent) for path in paths if _SEED.fullmatch(path.parent.name)]
    return tuple(sorted(run_dirs, key=lambda run_dir: (run_dir.experiment, run_dir.setting, run_dir.seed, run_dir)))


def find_seeds(setting: Path) -> Iterator[RunDir]:
    """Yield every run directory of one setting, given its directory."""
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
    """Replace `path` atomically, see `files.replacing`."""
    with replacing(path, durable) as file:
        file.write(orjson.dumps(content, option=orjson.OPT_INDENT_2))


def newer(path: Path, what: str, version: int, known: int, config: Mapping[str, Any]) -> str:
    """Return the message for a file that a newer version of lop wrote.

    Args:
        config: the run's run.json, which holds that version.
    """
    versions = config.get("versions")
    lop = versions.get("lop") if isinstance(versions, dict) else None
    by = f"by lop {lop}" if isinstance(lop, str) else "by a newer lop"
    return f"{path}: written {by} ({what} {version}); lop {__version__} reads {what} {known} at most; update lop"


def numerics_of(config: Mapping[str, Any]) -> int:
    """Return the `lop_engine.NUMERICS` of a run, from its run.json; 1 for runs that do not record it."""
    code = config.get("code")
    numerics = code.get("numerics") if isinstance(code, dict) else None
    return numerics if isinstance(numerics, int) else 1


Code = tuple[tuple[str, str], ...]
"""What a run's numbers depend on: `OWN_NUMERICS`, and name and checksum of each own component's file."""

OWN_NUMERICS = "lop's own numerics"


def code_of(config: Mapping[str, Any]) -> Code:
    """Return the code of a run, from its run.json, earlier code first; malformed entries are left out."""
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
    """Return a value that is equal for runs of the same code, even if a file was renamed."""
    return tuple(version for _, version in code)
