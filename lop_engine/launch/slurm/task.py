"""What one task of the array does on its node: it trains a stack of seeds, and hands it on when its time is over.

submitit pickles a task, calls it in the job, and calls `checkpoint` when Slurm says that the time is over or the node
is wanted; then the job is requeued and called again. A job that was killed without a word is called again as well,
where Slurm requeues it: whatever the run directories say is where it goes on.
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

from submitit.helpers import DelayedSubmission

from lop_engine.errors import DataError, StoreError, UserError
from lop_engine.launch.local import LocalLauncher
from lop_engine.launch.plan import Resources, plan_runs
from lop_engine.launch.slurm.images import look_at, node, worker_options
from lop_engine.records import State
from lop_engine.run_files import log
from lop_engine.rundir import RunDir
from lop_engine.scheduler import own_job
from lop_engine.spec import validate

POLL_S = 0.5
HEARTBEAT_EVERY_S = 15.0
"""Hundreds of runs write their status to one file server."""


class ArrayTask:
    """Trains seeds of one setting with a launcher of its own, which tries a worker that died again.

    Args:
        devices: a worker trains on each; the seeds are spread over them.
        stage: the directory of the node to which the images are copied first, its variables not yet expanded.
    """

    def __init__(
        self, paths: list[str], devices: list[str], threads: int, retries: int, stage: str | None = None
    ) -> None:
        self.paths, self.devices, self.threads, self.retries, self.stage = paths, devices, threads, retries, stage
        self._launcher: LocalLauncher | None = None
        self._terminated = False

    def __call__(self) -> None:
        signal.signal(signal.SIGTERM, self._note_termination)
        for run_dir in (one for one in self._stack() if not os.path.exists(one.run_json)):
            log(f"{node()}: {run_dir.path}: no run there; unless it was removed, this node does not see the runs")
        wanted = [run_dir for run_dir in self._stack() if _put_back(run_dir, ("queued", "running", "failed"))]
        try:
            # Before there is a launcher: `checkpoint` may come in the middle, and then only queues the runs.
            options = self._images(wanted) if wanted else []
        except DataError as error:
            log(str(error))
            for run_dir in wanted:
                _refuse(run_dir, str(error))
        else:
            self._train(wanted, options)

    def _images(self, wanted: list[RunDir]) -> list[str]:
        """Look at the images, and copy them to this node if they are to be; return what a worker is told of it.

        Raises:
            DataError: this node has no images to train on.
        """
        try:
            spec = validate(wanted[0].read_spec(), str(wanted[0].run_json))
        except (OSError, UserError):
            return []  # the worker's to say
        images = look_at(spec, [run_dir.seed for run_dir in wanted], lambda: self._terminated)
        if images is None or self.stage is None:
            return []
        return worker_options(images, self.stage, lambda: self._terminated, log)

    def _train(self, wanted: list[RunDir], worker_options: list[str]) -> None:
        size = max(1, -(-len(wanted) // len(self.devices)))
        plan = plan_runs(wanted, Resources(self.devices, self.threads, size))
        self._launcher = launcher = LocalLauncher(plan, self.retries, worker_options)
        stopping = False
        while launcher.active:
            # `checkpoint` is called within a signal's handler: never on top of a poll, only in the sleep.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
            if self._terminated and not stopping:
                stopping = True
                launcher.stop()
            launcher.poll()
            for report in launcher.take_reports():
                print(report, flush=True)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})
            time.sleep(POLL_S)
        if self._terminated and _starts_again():
            for run_dir in wanted:
                _put_back(run_dir, ("running", "stopped"))
        elif self._terminated:
            for run_dir in wanted:
                _say(run_dir, f"job {own_job()} was ended: cancelled, or out of time")

    def checkpoint(self) -> DelayedSubmission | None:
        """Let the worker save and stop, and wait in the queue for another turn; None if nothing is left to do."""
        # A second warning, of a pre-emption while the time is over, must not find this half done.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
        unfinished = [run_dir for run_dir in self._stack() if _state(run_dir) in ("queued", "running")]
        if self._launcher:
            self._launcher.stop()
            while self._launcher.active:
                self._launcher.poll()
                time.sleep(0.1)
        left = [run_dir for run_dir in unfinished if _put_back(run_dir, ("queued", "running", "stopped"))]
        again = ArrayTask(self.paths, self.devices, self.threads, self.retries, self.stage)
        return DelayedSubmission(again) if left else None

    def _stack(self) -> list[RunDir]:
        return [RunDir(Path(path)) for path in self.paths]

    def _note_termination(self, number: int, frame: FrameType | None) -> None:
        """The job ends: it was cancelled, pre-empted or requeued. Its worker hears of it itself, and saves."""
        self._terminated = True


def _starts_again() -> bool:
    """Whether Slurm, which ends this job now, will start it again: a pre-emption or a requeue, not a cancellation."""
    job, restarts = os.environ.get("SLURM_JOB_ID", ""), int(os.environ.get("SLURM_RESTART_COUNT", "0"))
    command = ["scontrol", "show", "job", "-o", job]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return False
    found = re.search(r"\bRestarts=(\d+)", answer)
    return found is not None and int(found[1]) > restarts


def _say(run_dir: RunDir, note: str) -> None:
    with suppress(OSError, StoreError):
        status = run_dir.read_status()
        if status.state == "stopped":
            run_dir.write_status(replace(status, note=note))


def _refuse(run_dir: RunDir, error: str) -> None:
    """End a run that waits: no worker can train it here."""
    with suppress(OSError, StoreError):
        status = run_dir.read_status()
        if status.state == "queued":
            run_dir.write_status(replace(status, state="failed", error=error))


def _state(run_dir: RunDir) -> State | None:
    with suppress(OSError, StoreError):
        return run_dir.read_status().state
    return None


def _put_back(run_dir: RunDir, states: tuple[State, ...]) -> bool:
    """Queue a run of this job that is in one of `states`; return whether it is queued now.

    What was submitted again since, or is trained elsewhere by now, is another's: its status says so.
    """
    with suppress(OSError, StoreError):
        status = run_dir.read_status()
        if status.state in states and status.job == own_job() and run_dir.path.is_dir():
            queued = replace(status, state="queued", error=None, epochs_per_s=None)
            run_dir.write_status(replace(queued, heartbeat_every_s=HEARTBEAT_EVERY_S))
            return True
    return False
