"""The files that a worker writes for one run: its status and its records."""

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

#: After a gap this long between heartbeats, a worker checks that the run is still its own before it writes.
_SILENT_S = 60.0


class StopRequested(BaseException):
    """Ends the training when the worker is told to stop."""


class RunFiles:
    """The files of one run, for its only writer (the holder of the run's lock).

    Args:
        give_back: called when the run has ended while others of its stack continue.
    """

    def __init__(self, run_dir: RunDir, give_back: Callable[[RunDir], None] | None = None) -> None:
        self.dir = run_dir
        self.must_stop = False
        """Whether its status asks it to end."""
        self.has_left = False
        """Whether it has ended while others of its stack may continue."""
        self._give_back = give_back
        self.seed, self.label = run_dir.seed, f"seed {run_dir.seed}"
        self.status: RunStatus = run_dir.read_status()
        self._tables: dict[str, TableWriter] = {}
        self._status_lock = threading.Lock()
        self._progress: dict[str, object] = {}
        self._beaten_at = time.monotonic()

    @property
    def num_documents(self) -> tuple[int, int]:
        """Return the numbers of documents in tables `tasks` and `epochs`."""
        return self._tables["tasks"].num_documents, self._tables["epochs"].num_documents

    def open_records(self, task_documents: int, epoch_documents: int, place: tuple[int, int] | None = None) -> None:
        """Open the record files, cut back to the documents that the checkpoint covers.

        Args:
            place: the task and epoch that follow the checkpoint, if there is one.
        Raises:
            StoreError: a file lacks a document that the checkpoint covers, or cannot be used.
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
        """Append a document. Raises LockedError like `beat`, after a gap between heartbeats."""
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
        """Wait until all records are on disk."""
        for table in self._tables.values():
            table.sync()

    def set_status(self, durable: bool = False, **changes: object) -> None:
        """Change fields of the status and write it."""
        with self._status_lock:
            self.status = replace(self.status, **self._progress | changes)  # type: ignore[arg-type]
            self.dir.write_status(self.status, durable)

    def leave(self, state: State, error: str | None = None, **changes: object) -> None:
        """End this run while the others of its stack continue. Its files are not written afterwards.

        Args:
            changes: additional fields of its status.
        """
        self.has_left = True
        with contextlib.suppress(OSError, StoreError):  # its files may be the reason why it ends
            self.sync()
        with contextlib.suppress(OSError):
            self.set_status(durable=True, state=state, error=error, heartbeat_at=time.time(), **changes)
        if self._give_back:
            self._give_back(self.dir)

    def set_progress(self, tasks_done: int, epochs_done: int, epochs_per_s: float | None) -> None:
        """Set the progress; the next heartbeat writes it."""
        self._progress = {"tasks_done": tasks_done, "epochs_done": epochs_done, "epochs_per_s": epochs_per_s}

    def beat(self, every_s: float | None = None) -> bool:
        """Write a running run's status with a new heartbeat; return whether its end was requested.

        Errors of the disk are ignored here; writing the records will report them.

        Args:
            every_s: seconds until the next heartbeat; unchanged by default.
        Raises:
            LockedError: another worker trains this run, which was considered lost. Nothing has been written.
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
    """Whether a document's task and epoch come before `place`."""
    own = document.get("task"), document.get("epoch")
    return all(type(number) is int for number in own) and own < place


def kept_records(run_dir: RunDir) -> str:
    """Return ``its records are kept (3 finished tasks, 30 epochs)``; "" if there is no complete document."""
    tasks, epochs = map(num_whole_documents, run_dir.records)
    if not tasks and not epochs:
        return ""
    return f"its records are kept ({tasks} finished task{'s' * (tasks != 1)}, {epochs} epoch{'s' * (epochs != 1)})"


def without_checkpoint(run_dir: RunDir) -> str:
    """Return advice for a run without a checkpoint to resume from."""
    if records := kept_records(run_dir):
        return f"{records}: restore a checkpoint from a backup, or train the run again under another --runs-dir"
    return "start this run over with --fresh"


def log(text: str) -> None:
    """Write a line to worker.log; a full disk is ignored."""
    with contextlib.suppress(OSError):
        print(text, flush=True)


def is_diverged(metrics: Mapping[str, float]) -> bool:
    """Whether a seed has no finite metrics, because its weights or loss are no longer finite."""
    return all(math.isnan(value) for value in metrics.values())
