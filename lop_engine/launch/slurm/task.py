"""What one task of the array does on its node: it trains a stack of runs, and hands it on when its time is over.

submitit pickles a task and calls it in the job. Its handler of Slurm's warning, that the time is over or the node is
wanted, asks the task for a `checkpoint`, requeues the job and exits: here a warning is only noted when it comes, and
that handler is called when the workers have saved. A job that was killed without a word is called again as well, where
Slurm requeues it: whatever the run directories say is where it goes on.
"""

import os
import re
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from submitit.helpers import DelayedSubmission

from lop_engine.errors import DataError, StoreError, UserError
from lop_engine.launch.claims import is_ours
from lop_engine.launch.local import LocalLauncher
from lop_engine.launch.plan import Plan, Resources, cut
from lop_engine.launch.slurm.images import has_images, look_at, node, worker_options
from lop_engine.processes import this_process
from lop_engine.runs.code import spec_to_train
from lop_engine.runs.directory import RunDir
from lop_engine.runs.files import log
from lop_engine.runs.locks import hold
from lop_engine.runs.records import State
from lop_engine.runs.scheduler import mark_own_job, own_job

POLL_S = 0.5
ASK_AGAIN_S = 2.0
HEARTBEAT_EVERY_S = 15.0
"""Hundreds of runs write their status to one file server."""


class ArrayTask:
    """Trains runs that can share a stack with a launcher of its own, which tries a worker that died again.

    Args:
        devices: a worker trains on each; the runs are spread over them.
        stage: the directory of the node to which the images are copied first, its variables not yet expanded.
    """

    def __init__(
        self, paths: list[str], devices: list[str], threads: int, retries: int, stage: str | None = None
    ) -> None:
        self.paths, self.devices, self.threads, self.retries, self.stage = paths, devices, threads, retries, stage
        self._warned = self._terminated = False

    def __call__(self) -> None:
        mark_own_job()
        hand_on = signal.getsignal(signal.SIGUSR2)
        for number in (signal.SIGUSR2, signal.SIGTERM):
            signal.signal(number, self._note_signal)
        for run_dir in (one for one in self._stack() if not os.path.exists(one.run_json)):
            log(f"{node()}: {run_dir.path}: no run there; unless it was removed, this node does not see the runs")
        # A turn that was cut off may have left runs as stopped: those that a person stopped are no longer this job's.
        left: tuple[State, ...] = ("stopped",) if _restarts() else ()
        wanted = [run_dir for run_dir in self._stack() if _put_back(run_dir, ("queued", "running", "failed", *left))]
        try:
            options = self._images(wanted) if wanted else []
        except DataError as error:
            log(str(error))
            for run_dir in wanted:
                _refuse(run_dir, str(error))
        else:
            self._train(wanted, options)
            self._end(wanted, hand_on)

    def _images(self, wanted: list[RunDir]) -> list[str]:
        """Look at the images, and copy them to this node if they are to be; return what a worker is told of it.

        Raises:
            DataError: this node has no images to train on.
        """
        try:
            spec = spec_to_train(wanted[0])
        except (OSError, UserError):
            return []  # the worker's to say
        if not has_images(spec):
            return []
        images = look_at(spec, [run_dir.seed for run_dir in wanted], self._must_end)
        if images is None or self.stage is None:
            return []
        return worker_options(images, self.stage, self._must_end, log)

    def _train(self, wanted: list[RunDir], worker_options: list[str]) -> None:
        size = max(1, -(-len(wanted) // len(self.devices)))
        plan = Plan(cut(wanted, size), Resources(self.devices, self.threads, size))  # all can share a stack
        launcher = LocalLauncher(plan, self.retries, worker_options)
        stopping = False
        while launcher.active:
            if self._must_end() and not stopping:
                stopping = True
                launcher.stop()
            launcher.poll()
            for report in launcher.take_reports():
                log(report)
            time.sleep(POLL_S)

    def _end(self, wanted: list[RunDir], hand_on: Any) -> None:
        """Queue again what is left to train, where this job goes on; say why it does not.

        Args:
            hand_on: submitit's handler; does not return.
        """
        if self._terminated:  # by then it is settled whether the job starts again: nothing to ask for
            starts_again = _starts_again()
            why = "Slurm did not say why" if starts_again is None else "cancelled, or out of time"
            for run_dir in wanted:
                if not starts_again:
                    _say(run_dir, f"job {own_job()} was ended: {why}")
                else:
                    _put_back(run_dir, ("running", "stopped"))
        elif self._warned and any([_put_back(run_dir, ("queued", "running", "stopped")) for run_dir in wanted]):
            hand_on(signal.SIGUSR2, None)

    def checkpoint(self) -> DelayedSubmission:
        """What the job calls in its next turn."""
        return DelayedSubmission(ArrayTask(self.paths, self.devices, self.threads, self.retries, self.stage))

    def _stack(self) -> list[RunDir]:
        return [RunDir(Path(path)) for path in self.paths]

    def _must_end(self) -> bool:
        return self._warned or self._terminated

    def _note_signal(self, number: int, frame: FrameType | None) -> None:
        """The job is to end soon (SIGUSR2), or ends: it was cancelled, pre-empted or requeued."""
        if number == signal.SIGTERM:
            self._terminated = True
        else:
            self._warned = True


def _restarts() -> int:
    """How often Slurm has started this job again."""
    return int(os.environ.get("SLURM_RESTART_COUNT", "0"))


def _starts_again() -> bool | None:
    """Whether Slurm, which ends this job now, will start it again: a pre-emption or a requeue, not a cancellation.

    None if it does not say: it may have a thousand such jobs to end.
    """
    command = ["scontrol", "show", "job", "-o", os.environ.get("SLURM_JOB_ID", "")]
    for turn in range(3):
        time.sleep(ASK_AGAIN_S * turn)
        with suppress(OSError, subprocess.SubprocessError):
            answer = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout
            if found := re.search(r"\bRestarts=(\d+)", answer):
                return int(found[1]) > _restarts()
    return None


def _say(run_dir: RunDir, note: str) -> None:
    with suppress(OSError, UserError), hold(run_dir):
        status = run_dir.read_status()
        if status.state == "stopped":
            run_dir.write_status(replace(status, note=note))


def _refuse(run_dir: RunDir, error: str) -> None:
    """End a run that waits: no worker can train it here."""
    with suppress(OSError, UserError), hold(run_dir):
        status = run_dir.read_status()
        if is_ours(status):
            run_dir.write_status(replace(status, state="failed", error=error))


def _state(run_dir: RunDir) -> State | None:
    with suppress(OSError, StoreError):
        return run_dir.read_status().state
    return None


def _put_back(run_dir: RunDir, states: tuple[State, ...]) -> bool:
    """Queue a run of this job that is in one of `states`; return whether it is queued now.

    What was submitted again since, or is trained elsewhere by now, is another's: its status says so.
    """
    with suppress(OSError, UserError), hold(run_dir):
        status = run_dir.read_status()
        if status.state in states and status.job == own_job() and run_dir.path.is_dir():
            queued = replace(status, state="queued", error=None, epochs_per_s=None, launcher=this_process())
            run_dir.write_status(replace(queued, heartbeat_every_s=HEARTBEAT_EVERY_S))
            return True
    return False
