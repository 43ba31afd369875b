"""What a worker keeps of one run on disk: its status and its records."""

import contextlib
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from lop_engine.errors import StoreError
from lop_engine.runs.directory import RunDir
from lop_engine.runs.locks import LockedError
from lop_engine.runs.records import RunStatus, State, epoch_document, task_document
from lop_engine.runs.store import TableWriter, num_whole_documents

#: Without a heartbeat for so long a worker asks, before it writes, whether the run is still its own.
_SILENT_S = 60.0


class StopRequested(BaseException):
    """Unwinds the training when the worker is told to stop."""


class RunFiles:
    """The files of one run, as their one writer (who holds the run's lock) sees them.

    Args:
        give_back: called when the run has ended while others of its stack train on.
    """

    def __init__(self, run_dir: RunDir, give_back: Callable[[RunDir], None] | None = None) -> None:
        self.dir = run_dir
        self.must_stop = False
        """Whether somebody has asked for its end through its status."""
        self.has_left = False
        """Whether it has ended while others of its stack may train on."""
        self._give_back = give_back
        self.seed, self.label = run_dir.seed, f"seed {run_dir.seed}"
        self.status: RunStatus = run_dir.read_status()
        self._tables: dict[str, TableWriter] = {}
        self._status_lock = threading.Lock()
        self._progress: dict[str, object] = {}
        self._beaten_at = time.monotonic()

    @property
    def num_documents(self) -> tuple[int, int]:
        """Documents in tables `tasks` and `epochs`."""
        return self._tables["tasks"].num_documents, self._tables["epochs"].num_documents

    def open_records(self, task_documents: int, epoch_documents: int, place: tuple[int, int] | None = None) -> None:
        """Open the record files, cut back to what the checkpoint covers.

        Args:
            place: the task and epoch that follow the checkpoint, if there is one.
        Raises:
            StoreError: a file lacks a document that the checkpoint covers, or cannot be used for another reason.
        """
        self._tables = {
            "tasks": TableWriter(self.dir.tasks_json, "tasks", keep=task_documents),
            "epochs": TableWriter(self.dir.epochs_json, "epochs", keep=epoch_documents),
        }
        for table in self._tables.values():
            if table.resaved:
                log(f"{table.path}: was saved by another program and is rewritten; old file: {table.resaved.name}")
        if task_documents and (last := self._tables["tasks"].last().get("task")) != task_documents - 1:
            raise StoreError(
                f"{self.dir.tasks_json}: a task is missing: document {task_documents} is of task {last}; "
                "restore it from a backup"
            )
        epoch = self._tables["epochs"].last()
        if place and epoch_documents and not _is_before(epoch, place):
            raise StoreError(
                f"{self.dir.epochs_json}: an epoch is missing: document {epoch_documents} (task {epoch.get('task')}, "
                f"epoch {epoch.get('epoch')}) is not from before the checkpoint; restore it from a backup"
            )

    def record_epoch(self, task: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """Append a document. Raises LockedError, as `beat`, after a time in which this process stood still."""
        if time.monotonic() - self._beaten_at > self.status.heartbeat_every_s + _SILENT_S:
            self.beat()
        self._tables["epochs"].append(epoch_document(task, epoch, metrics))

    def record_task(
        self, task: int, facts: Mapping[str, Any], seconds: float, metrics: Mapping[str, float]
    ) -> dict[str, Any]:
        """Append a document, and return it."""
        document = task_document(task, facts, seconds, metrics)
        self._tables["tasks"].append(document)
        return document

    def sync(self) -> None:
        """Return when all records are on the disk."""
        for table in self._tables.values():
            table.sync()

    def set_status(self, durable: bool = False, **changes: object) -> None:
        """Change fields of the status and write it."""
        with self._status_lock:
            self.status = replace(self.status, **self._progress | changes)  # type: ignore[arg-type]
            self.dir.write_status(self.status, durable)

    def leave(self, state: State, error: str | None = None, **changes: object) -> None:
        """End this run while the others of its stack continue. Nothing is written to its files afterwards.

        Args:
            changes: further fields of its status.
        """
        self.has_left = True
        with contextlib.suppress(OSError, StoreError):  # its files may be why it ends
            self.sync()
        with contextlib.suppress(OSError):
            self.set_status(durable=True, state=state, error=error, heartbeat_at=time.time(), **changes)
        if self._give_back:
            self._give_back(self.dir)

    def set_progress(self, tasks_done: int, epochs_done: int, epochs_per_s: float | None) -> None:
        """Note the progress; the next heartbeat writes it."""
        self._progress = {"tasks_done": tasks_done, "epochs_done": epochs_done, "epochs_per_s": epochs_per_s}

    def beat(self, every_s: float | None = None) -> bool:
        """Write a running run's status with a fresh heartbeat; return whether somebody has asked for its end.

        A disk that refuses is left to the records.

        Args:
            every_s: seconds until the next heartbeat; by default as before.
        Raises:
            LockedError: another worker trains this run, which was taken for lost. Nothing has been written.
        """
        is_stopped = False
        with self._status_lock:
            if self.status.state != "running":
                return False
            with contextlib.suppress(OSError, StoreError):
                status = self.dir.read_status()
                if status.state == "running" and status.worker != self.status.worker:
                    raise LockedError(f"{self.dir.name}: taken over by {status.holder}")
                is_stopped = status.state == "stopped"
                self.must_stop = self.must_stop or is_stopped
            with contextlib.suppress(OSError):
                every_s = every_s or self.status.heartbeat_every_s
                now = {"heartbeat_at": time.time(), "heartbeat_every_s": every_s}
                self.status = replace(self.status, **self._progress | now)  # type: ignore[arg-type]
                self.dir.write_status(self.status)
                self._beaten_at = time.monotonic()
        return is_stopped


def _is_before(document: Mapping[str, Any], place: tuple[int, int]) -> bool:
    """Whether a document names a task and an epoch before `place`."""
    own = document.get("task"), document.get("epoch")
    return all(type(number) is int for number in own) and own < place


def kept_records(run_dir: RunDir) -> str:
    """``its records are kept (3 finished tasks, 30 epochs)``; empty if no whole document exists."""
    tasks, epochs = map(num_whole_documents, run_dir.records)
    if not tasks and not epochs:
        return ""
    return f"its records are kept ({tasks} finished task{'s' * (tasks != 1)}, {epochs} epoch{'s' * (epochs != 1)})"


def without_checkpoint(run_dir: RunDir) -> str:
    """Advice for a run without a checkpoint to resume from."""
    if records := kept_records(run_dir):
        return f"{records}: restore a checkpoint from a backup, or train the run again under another --runs-dir"
    return "start this run over with --fresh"


def log(text: str) -> None:
    """Say something in worker.log; what a full disk does not take is not worth a run."""
    with contextlib.suppress(OSError):
        print(text, flush=True)


def is_diverged(metrics: Mapping[str, float]) -> bool:
    """A seed whose weights or loss are no longer finite has no metrics at all."""
    return all(math.isnan(value) for value in metrics.values())
