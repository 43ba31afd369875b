"""Limits the number of workers on this machine, across all launchers."""

import hashlib
import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

from lop_engine.files import resolved
from lop_engine.launch.plan import Resources
from lop_engine.machine.devices import cores
from lop_engine.runs.jobs import scheduler
from lop_engine.runs.locks import try_lock


class Places:
    """Places for workers of one runs directory: one per core, and on each GPU as many as the plan uses.

    Each job of a cluster has its own places. A place is a locked file on this machine. The worker inherits the lock, so
    the place becomes free when the worker and its launcher have ended, in any way.

    Args:
        is_limited: False if `--workers` sets the number; more places are then created as needed.
    """

    def __init__(self, runs_dir: Path, resources: Resources, is_limited: bool) -> None:
        # Two jobs on a node have separate cores and GPUs, and may both call their GPU number 0.
        of_job = scheduler().allocation().encode()
        key = hashlib.sha256(os.fsencode(resolved(runs_dir)) + b"\0" + of_job).hexdigest()[:16]
        local = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
        self._directory = local / f"lop-{os.getuid()}" / "workers" / key
        self._runs_dir = runs_dir
        self._workers_on = Counter(resources.devices)
        self._is_limited = is_limited

    def take(self, device: str) -> int | None:
        """Take a free place on a device and return its descriptor; None if all are taken.

        If files cannot be locked, workers are not counted and the descriptor is that of ``/dev/null``.
        """
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            for name in self._names(device):
                fd = try_lock(self._directory / name)
                if fd is not None:
                    return fd
        except FileNotFoundError:  # another launcher has just removed the empty directory
            return self.take(device)
        except OSError:
            return os.open(os.devnull, os.O_RDONLY)
        return None

    def clean(self) -> None:
        """Remove the files that are not locked, and their directory if it becomes empty."""
        with suppress(OSError):
            for path in self._directory.iterdir():
                fd = try_lock(path)
                if fd is not None:
                    path.unlink()
                    os.close(fd)
            self._directory.rmdir()

    def explain(self, device: str) -> str:
        """Return the message for a worker that has to wait."""
        where = "all cores" if device == "cpu" else device
        return (
            f"waiting: other workers of {self._runs_dir} use {where}; the next run starts when one of them ends "
            "(with --workers N it starts at once)"
        )

    def _names(self, device: str) -> Iterator[str]:
        if device == "cpu":
            yield from (f"core-{core}" for core in cores())
        else:
            yield from (f"{_card(device)}.{number}" for number in range(self._workers_on[device]))
        if not self._is_limited:
            yield from (f"more.{number}" for number in count())


def _card(device: str) -> str:
    """Return a name for the GPU that torch calls ``cuda:1``, the same in every process on this machine."""
    number = int(device.partition(":")[2] or 0)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    name = visible[number].strip() if number < len(visible) else ""
    return "gpu-" + re.sub(r"[^\w-]", "_", name or str(number))
