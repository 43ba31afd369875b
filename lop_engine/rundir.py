"""Every path of one run, and the two small JSON files that say what it is and where it stands."""

import glob
import os
import re
import shutil
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from pydantic import TypeAdapter, ValidationError

from lop_engine.errors import StoreError
from lop_engine.files import replacing
from lop_engine.records import RunStatus, State
from lop_engine.spec import Run

_SEED = re.compile(r"seed_([0-9]+)")
_STATUS = TypeAdapter(RunStatus)


@dataclass(frozen=True, order=True)
class RunDir:
    """``<runs_dir>/<experiment>/<setting>/seed_<seed>``: the one owner of these names."""

    path: Path

    @classmethod
    def of(cls, runs_dir: Path, run: Run) -> "RunDir":
        return cls(runs_dir / run.experiment / run.setting / f"seed_{run.seed:03d}")

    @property
    def experiment(self) -> str:
        return self.path.parent.parent.name

    @property
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
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.pt"

    @property
    def log(self) -> Path:
        return self.path / "worker.log"

    def worker_log(self, status: RunStatus) -> Path:
        """The log of the worker that trains this run: it lies with the first seed of its stack."""
        first = status.stack[0] if status.stack else self.seed
        return self.path.with_name(f"seed_{first:03d}") / self.log.name

    @property
    def lock(self) -> Path:
        return self.path / "run.lock"

    def read_config(self) -> dict[str, Any]:
        """The content of run.json. Raises StoreError."""
        return read_json(self.run_json)

    def read_status(self) -> RunStatus:
        """The content of status.json; a run that has none yet is queued. Raises StoreError."""
        try:
            return _STATUS.validate_python(read_json(self.status_json))
        except FileNotFoundError:
            return RunStatus()
        except ValidationError as error:
            raise StoreError(f'{self.status_json}: "{error.errors()[0]["loc"][0]}" is not what it should be') from None

    def write_status(self, status: RunStatus, durable: bool = False) -> None:
        write_json(self.status_json, status.to_dict(), durable)

    def clear(self) -> None:
        """Remove the run and all its records: in one step as far as anybody can see."""
        leaving = self.path.with_name(f".{self.path.name}.{os.getpid()}.removed")
        self.path.rename(leaving)
        shutil.rmtree(leaving)


def find_runs(runs_dir: Path) -> Iterator[RunDir]:
    """Every run directory under `runs_dir`, in the order of experiment, setting and seed."""
    # Unlike Path.glob, glob.glob is not upset by a directory that is being removed.
    paths = [runs_dir / path for path in glob.glob("*/*/seed_*/run.json", root_dir=runs_dir)]
    found = [RunDir(path.parent) for path in paths if _SEED.fullmatch(path.parent.name)]
    yield from sorted(found, key=lambda run_dir: (run_dir.experiment, run_dir.setting, run_dir.seed, run_dir))


def read_json(path: Path) -> dict[str, Any]:
    """Read one JSON object. Raises FileNotFoundError, or StoreError naming the file."""
    try:
        raw = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}") from None
    except orjson.JSONDecodeError as error:
        raise StoreError(f"{path}: not valid JSON ({error})") from None
    if not isinstance(raw, dict):
        raise StoreError(f"{path}: not a JSON object")
    return raw


def write_json(path: Path, content: Mapping[str, Any], durable: bool = False) -> None:
    """Replace `path` in one step, see `files.replacing`."""
    with replacing(path, durable) as file:
        file.write(orjson.dumps(content, option=orjson.OPT_INDENT_2))


def observed_state(status: RunStatus, now: float) -> State:
    """The state as far as a reader can tell: a `running` run whose worker is gone is `lost`.

    On the worker's own host its process is looked at (pid and start time, for pids are reused).
    Elsewhere only the heartbeat tells; clocks differ, so a stale one has to be well overdue.
    """
    if status.state != "running":
        return status.state
    if status.host == socket.gethostname():
        return "running" if _is_alive(status.pid, status.pid_started_at) else "lost"
    overdue_s = now - (status.heartbeat_at or 0) - status.heartbeat_every_s
    return "lost" if overdue_s > 120 else "running"


def _is_alive(pid: int | None, started_at: float | None) -> bool:
    import psutil

    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - (started_at or 0)) < 2
    except (psutil.Error, ValueError):
        return False
