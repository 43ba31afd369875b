"""Trains a stack of runs, from their checkpoints into their records."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from lop_engine.device.background import Background
from lop_engine.errors import StoreError, UserError, in_one_line
from lop_engine.experiment.spec import Spec
from lop_engine.experiment.sweep import describe_seeds
from lop_engine.extras import install_hint
from lop_engine.files import together
from lop_engine.runs.files import RunFiles, StopRequested, is_diverged, log, without_checkpoint
from lop_engine.runs.jobs import own_job
from lop_engine.runs.rules import Watch
from lop_engine.runs.store import read_table
from lop_engine.training import fused
from lop_engine.training.learner import Learner
from lop_engine.training.loop import EpochReport, Metrics, Position, train
from lop_engine.worker import checkpoint
from lop_engine.worker.checkpoint import Checkpoint

#: Share of the time that checkpoints may take.
CHECKPOINT_SHARE = 0.01
CHECKPOINT_AT_MOST_EVERY_S = 3.0
#: In a cluster's job, because hundreds of runs share a file server.
CHECKPOINT_OF_A_JOB_AT_MOST_EVERY_S = 60.0
SPEED_WINDOW_S = 30.0
_EMPTY = 64
"""A record file without documents has fewer bytes."""


class _NobodyLeftError(Exception):
    """No run of the stack is left to train."""


def train_runs(
    specs: Sequence[Spec],
    runs: Sequence[RunFiles],
    device: torch.device,
    stop_requested: Callable[[], bool],
    cuda_graphs: bool = True,
) -> None:
    """Train runs to the end. A run whose own files cannot be used fails; the others continue.

    Args:
        specs: one for each run; all have the same `stack_key`.
    Raises:
        CaptureError, ReplayError: see `training.train`.
        StopRequested: at the end of an epoch after `stop_requested`, with checkpoints written.
        StoreError, OSError: after training, if the checkpoint or a record file of a run could not be used.
    """
    errors: list[Exception] = []
    spec_of = dict(zip(runs, specs, strict=True))
    saved = _load_together(runs, errors)

    def position(run: RunFiles) -> Position:
        return _position(saved[run])

    # Runs at different positions cannot train together: the positions take turns.
    for start, group in groupby(sorted(saved, key=position), key=position):
        if stack := _not_stopped(group):
            own = [spec_of[run] for run in stack], stack, [saved[run] for run in stack]
            _Stack(*own, device, stop_requested, errors).train_from(start, cuda_graphs)
    if errors:  # errors that a user can fix are not retried, so other errors come first
        raise next((error for error in errors if not isinstance(error, UserError)), errors[0])


def _load_together(runs: Sequence[RunFiles], errors: list[Exception]) -> dict[RunFiles, Checkpoint | None]:
    """Load the checkpoint of each run; runs that cannot resume fail, and are left out.

    A kill between the checkpoints of a stack leaves some runs one checkpoint ahead. Those return to the previous one,
    so that the stack stays together: last digits depend on which runs are computed together.
    """
    saved = {}
    for run in runs:
        try:
            saved[run] = _load(run)
        except (StoreError, OSError) as error:
            _fail(run, error, errors)
    behind = min(map(_position, saved.values()), default=Position())
    for run, newest in saved.items():
        if _position(newest) > behind:
            with suppress(StoreError):
                before = checkpoint.load(run.dir.previous_checkpoint)
                if before and before.position == behind:
                    saved[run] = before
    return saved


def _not_stopped(runs: Iterable[RunFiles]) -> list[RunFiles]:
    """Return those of `runs` that were not asked to stop; the others end."""
    remaining = []
    for run in runs:
        if run.must_stop:
            run.leave("stopped")
        else:
            remaining.append(run)
    return remaining


def _fail(run: RunFiles, error: Exception, errors: list[Exception]) -> None:
    """End a run whose own files cannot be used."""
    errors.append(error)
    log(f"{run.label}  failed: {in_one_line(error)}")
    run.leave("failed", in_one_line(error))


def _load(run: RunFiles) -> Checkpoint | None:
    saved, note = checkpoint.load_newest(run.dir)
    if saved is None and any(path.exists() and path.stat().st_size > _EMPTY for path in run.dir.records):
        raise StoreError(f"{run.dir.checkpoint}: missing, so the run cannot resume; {without_checkpoint(run.dir)}")
    if note:
        log(f"{run.label}  {note}")
        run.set_status(note=note)
    return saved


def _names(runs: Sequence[RunFiles]) -> str:
    """Return ``seeds 0-29``; for several settings ``step_size=0.01 seeds 0-29, step_size=0.1 seeds 0-29``."""
    settings = {
        setting: "seeds " + describe_seeds(run.seed for run in group).rstrip(",")
        for setting, group in groupby(runs, key=lambda run: run.dir.setting)
    }
    return ", ".join(f"{setting} {seeds}" if len(settings) > 1 else seeds for setting, seeds in settings.items())


def _position(saved: Checkpoint | None) -> Position:
    return saved.position if saved else Position()


class _Stack:
    """Runs at the same position, which train together."""

    def __init__(
        self,
        specs: list[Spec],
        runs: list[RunFiles],
        saved: list[Checkpoint | None],
        device: torch.device,
        stop_requested: Callable[[], bool],
        errors: list[Exception],
    ) -> None:
        self.runs, self.device, self.stop_requested = runs, device, stop_requested
        self._watches = [Watch(spec, run.dir) for spec, run in zip(specs, runs, strict=True)]
        self._errors = errors
        self.learner = Learner(specs, [run.seed for run in runs], device)
        self.spec = self.learner.spec
        if fused.kernel_for(self.learner, device) and not fused.has_numba():
            log(f"numba is not installed, so the general training step is used; {install_hint('fast')} makes it faster")
        self._speed: deque[tuple[float, int]] = deque()
        self._checkpointed_at, self._checkpoint_took_s = time.monotonic(), 0.0
        self._notes = Background(device, "notes")
        states = [one for one in saved if one is not None]
        if states:
            self.learner.load_states([one.tensors for one in states])
        for run, one, watch in zip(runs, saved, self._watches, strict=True):
            with self._guarding(run):
                _open_records(run, one)
                if watch:
                    watch.resume(read_table(run.dir.tasks_json))

    def train_from(self, start: Position, cuda_graphs: bool) -> None:
        log(f"{_names(self.runs)} from task {start.task}, epoch {start.epoch}")
        self._progress(start)
        if start == Position():
            self._save(start)  # state to return to if the first checkpoints are not all written
        if not self._training():
            return
        try:
            with self._notes:
                train(self.spec, self.learner, self.device, self._report, start, cuda_graphs)
        except _NobodyLeftError:
            return
        self._fail_those(together(_finish, self._training()))

    def _report(self, report: EpochReport) -> None:
        """After every epoch, write records, then the checkpoint that covers them, then stop if requested.

        A GPU trains the next epoch while the metrics are copied and written; only a checkpoint waits for them.
        So a diverged seed is noticed up to an epoch later; its records end at the same epoch as on a CPU.
        """
        self._notes.submit(self._note, report)
        ended = report.position.task == self.spec.num_tasks
        stop = self.stop_requested() and not ended
        leaving = [] if ended else [run for run in self._training() if run.must_stop]
        checkpoint_is_due = bool(ended or stop or leaving or self._checkpoint_is_due())
        if checkpoint_is_due:
            self._notes.wait()
        self._require_runs()
        if checkpoint_is_due:
            self._save(report.position)
        if stop:
            raise StopRequested
        for run in leaving:
            if not run.has_left:
                run.leave("stopped")
                log(f"{run.label}  stopped")
        self._require_runs()

    def _note(self, report: EpochReport) -> None:
        if report.metrics is not None:
            self._record(report, report.metrics)
        self._progress(report.position)

    def _record(self, report: EpochReport, measured: Metrics) -> None:
        lines: list[str] = []
        for index, (run, watch) in enumerate(zip(self.runs, self._watches, strict=True)):
            if not run.has_left:
                with self._guarding(run):
                    metrics = {name: values[index] for name, values in measured.items()}
                    lines += record_run(run, report, report.facts[index], metrics, watch)
        if lines:
            log("\n".join(lines))

    def _progress(self, position: Position) -> None:
        now, epochs = time.monotonic(), position.task * self.spec.num_parts + position.epoch
        self._speed.append((now, epochs))
        while len(self._speed) > 2 and now - self._speed[0][0] > SPEED_WINDOW_S:
            self._speed.popleft()
        began, first = self._speed[0]
        speed = (epochs - first) / (now - began) if epochs > first else None
        for run in self._training():
            run.set_progress(position.task, position.epoch, speed)

    def _checkpoint_is_due(self) -> bool:
        """Whether a checkpoint is due: as often as it costs little, at least every `checkpoint_every_s`."""
        seldom_s = CHECKPOINT_OF_A_JOB_AT_MOST_EVERY_S if own_job() else CHECKPOINT_AT_MOST_EVERY_S
        cheap_s = max(seldom_s, self._checkpoint_took_s / CHECKPOINT_SHARE)
        return time.monotonic() - self._checkpointed_at > min(self.spec.checkpoint_every_s, cheap_s)

    def _save(self, position: Position) -> None:
        state = checkpoint.on_host(self.learner.state())
        began = time.monotonic()  # not earlier: a GPU may still be training the epoch
        failed = together(_save, self._checkpoints(position, state))
        self._fail_those((run, error) for (run, _), error in failed)
        self._checkpointed_at = time.monotonic()
        self._checkpoint_took_s = self._checkpointed_at - began

    def _checkpoints(self, position: Position, state: dict[str, Tensor]) -> Iterator[tuple[RunFiles, Checkpoint]]:
        for index, run in enumerate(self.runs):
            if run.has_left:
                continue
            yield run, Checkpoint(position, *run.num_documents, self.learner.part_of(state, index))

    def _training(self) -> list[RunFiles]:
        """Return the runs that have not ended."""
        return [run for run in self.runs if not run.has_left]

    def _require_runs(self) -> None:
        if not self._training():
            raise _NobodyLeftError

    @contextmanager
    def _guarding(self, run: RunFiles) -> Iterator[None]:
        """End only `run` if its files cannot be used."""
        try:
            yield
        except (StoreError, OSError) as error:
            _fail(run, error, self._errors)

    def _fail_those(self, failed: Iterable[tuple[RunFiles, Exception]]) -> None:
        """End only runs whose files could not be used. Raises any other error."""
        for run, error in failed:
            if not isinstance(error, StoreError | OSError):
                raise error
            _fail(run, error, self._errors)


def _open_records(run: RunFiles, saved: Checkpoint | None) -> None:
    if saved:
        run.open_records(saved.task_documents, saved.epoch_documents, (saved.position.task, saved.position.epoch))
    else:
        run.open_records(0, 0)


def record_run(
    run: RunFiles, report: EpochReport, facts: Mapping[str, Any], metrics: Mapping[str, float], watch: Watch
) -> list[str]:
    """Record an epoch of a run, which may be the last of its task, or of the run; return lines for the log."""
    lines = []
    rule = None
    run.record_epoch(report.task, report.epoch, metrics)
    if report.task_seconds is not None:
        document = run.record_task(report.task, facts, report.task_seconds, metrics)
        rule = watch.after_task(document) if watch else None
        place = [f"{run.label}", f"task {report.task}", *(f"{name} {fact}" for name, fact in facts.items())]
        values = [f"{name} {value:.4g}" for name, value in metrics.items()]
        lines.append("  ".join([*place, f"{report.task_seconds:.2f} s", *values]))
    if is_diverged(metrics):
        run.sync()
        error = f"weights are no longer finite after task {report.task}, epoch {report.epoch}"
        run.leave("diverged", error)
        lines.append(f"{run.label}  diverged: {error}")
    elif rule and report.task + 1 < run.status.num_tasks:  # the run finishes after its last task
        done = report.task + 1
        run.leave("ended-by-rule", rule=rule, rule_task=done, tasks_done=done, epochs_done=0)
        lines.append(f"{run.label}  ended by rule after task {report.task}: {rule}")
    return lines


def _finish(run: RunFiles) -> None:
    run.set_status(durable=True, state="finished", heartbeat_at=time.time())


def _save(saved: tuple[RunFiles, Checkpoint]) -> None:
    """Sync a run's records to disk, then write the checkpoint that covers them."""
    run, loaded = saved
    run.sync()
    checkpoint.save(run.dir, loaded)
