"""A task of the array on its node: trains a stack of runs, and requeues itself when its time is over.

It checks the images before a worker starts, and copies them to the node's own disk if requested.

submitit pickles a task and calls it in the job. Its handler of Slurm's warning, before a time limit or a
pre-emption, asks the task for a `checkpoint`, requeues the job and exits. Here a warning is only noted when it comes,
and that handler is called when the workers have saved. A job that was killed without a warning is called again too, if
Slurm requeues it: it resumes from the run directories.
"""

import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from submitit.helpers import DelayedSubmission

from lop_engine.datasets import ClassFolder, ClassSequence, ImageSet, open_images, place_of
from lop_engine.datasets.staging import expand, stage
from lop_engine.errors import DataError, StoreError, UserError, sentence
from lop_engine.experiment.spec import Spec
from lop_engine.launch.claims import is_ours
from lop_engine.launch.local import LocalLauncher
from lop_engine.launch.plan import Plan, Resources, cut
from lop_engine.launch.slurm.jobs import mark_own_job, own_job
from lop_engine.processes import this_process
from lop_engine.runs.code import spec_to_train
from lop_engine.runs.directory import RunDir
from lop_engine.runs.files import log
from lop_engine.runs.locks import hold
from lop_engine.runs.records import State

PATIENCE_S = 10 * 60
"""A thousand tasks that start together check a thousand files each."""
LOOK_S = 0.1
_SHARED = "the images must lie where the compute nodes see them; then lop resume"


def node() -> str:
    """Return Slurm's name of this machine."""
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def has_images(spec: Spec) -> bool:
    """Whether a spec names a data set of images."""
    return "dataset" in spec.to_dict()


def look_at(spec: Spec, seeds: Sequence[int], should_stop: Callable[[], bool]) -> ImageSet | None:
    """Open the images and the class order of runs, like their worker; None after `should_stop`.

    Raises:
        DataError: names the node and the path: they are not visible there, cannot be used, or the file
            system does not answer.
    """
    results: list[ImageSet | Exception] = []

    def look() -> None:
        try:
            results.append(_open(spec, seeds))
        except Exception as error:
            results.append(error)

    # Calls to a dead file server never return.
    thread = threading.Thread(target=look, name="images", daemon=True)
    thread.start()
    deadline = time.monotonic() + PATIENCE_S
    while thread.is_alive() and time.monotonic() < deadline and not should_stop():
        thread.join(LOOK_S)
    if not results and should_stop():
        return None
    if not results:
        where = f"{node()}: {spec.dataset}"
        raise DataError(f"{where}: no answer for {PATIENCE_S // 60} minutes; lop resume tries again")
    if isinstance(results[0], Exception):
        raise results[0]
    return results[0]


def _open(spec: Spec, seeds: Sequence[int]) -> ImageSet:
    place: Path | None = None
    try:
        place = place_of(spec)
        if place and not place.is_dir():
            raise DataError(f"{place.absolute()}: no images there; {_SHARED}")
        images = open_images(spec, every_file=False)
        if "class_order" in spec.to_dict():
            ClassSequence.open(spec, images.num_classes).check_seeds(list(seeds))
    except UserError as error:
        raise DataError(f"{node()}: {str(error).splitlines()[0]}") from None
    except OSError as error:
        raise DataError(f"{node()}: {sentence(error, place)}; {_SHARED}") from None
    return images


def worker_options(
    images: ImageSet, directory: str, should_stop: Callable[[], bool], report: Callable[[str], None]
) -> list[str]:
    """Copy images to `directory` of this node; return the worker's options: the copy, or a note why it is missing.

    Staging only relieves the file server: if it fails, the original images are read.
    """
    if not isinstance(images, ClassFolder):
        report("images: synthetic, so there is nothing to stage")
        return []
    try:
        return [f"--images={stage(images, expand(directory), should_stop, report)}"]
    except DataError as error:
        if should_stop():  # there will be no worker
            return []
        note = f"{node()}: not staged: {error}; the images are read from {images.name}"
        report(note)
        return [f"--note={note}"]


POLL_S = 0.5
ASK_AGAIN_S = 2.0
HEARTBEAT_EVERY_S = 15.0
"""Hundreds of runs write their status to one file server."""


class ArrayTask:
    """Trains runs that can share a stack with a launcher, which retries after a worker died.

    Args:
        devices: one worker on each; the runs are spread over them.
        stage: the directory of the node to which the images are copied first, with variables not yet expanded.
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
        # An interrupted turn may have left runs as stopped; those that a user stopped no longer belong to this job.
        left: tuple[State, ...] = ("stopped",) if _restarts() else ()
        run_dirs = [run_dir for run_dir in self._stack() if _put_back(run_dir, ("queued", "running", "failed", *left))]
        try:
            options = self._images(run_dirs) if run_dirs else []
        except DataError as error:
            log(str(error))
            for run_dir in run_dirs:
                _refuse(run_dir, str(error))
        else:
            self._train(run_dirs, options)
            self._end(run_dirs, hand_on)

    def _images(self, run_dirs: list[RunDir]) -> list[str]:
        """Check the images, and copy them to this node if requested; return the worker's options.

        Raises:
            DataError: this node has no images to train on.
        """
        try:
            spec = spec_to_train(run_dirs[0])
        except (OSError, UserError):
            return []  # the worker will report it
        if not has_images(spec):
            return []
        images = look_at(spec, [run_dir.seed for run_dir in run_dirs], self._must_end)
        if images is None or self.stage is None:
            return []
        return worker_options(images, self.stage, self._must_end, log)

    def _train(self, run_dirs: list[RunDir], worker_options: list[str]) -> None:
        size = max(1, -(-len(run_dirs) // len(self.devices)))
        plan = Plan(cut(run_dirs, size), Resources(self.devices, self.threads, size))  # all can share a stack
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

    def _end(self, run_dirs: list[RunDir], hand_on: Any) -> None:
        """Queue unfinished runs again, if this job will be restarted; otherwise log the reason.

        Args:
            hand_on: submitit's handler; does not return.
        """
        if self._terminated:  # it is already decided whether the job starts again
            starts_again = _starts_again()
            why = "Slurm did not say why" if starts_again is None else "cancelled, or out of time"
            for run_dir in run_dirs:
                if not starts_again:
                    _say(run_dir, f"job {own_job()} was ended: {why}")
                else:
                    _put_back(run_dir, ("running", "stopped"))
        elif self._warned and any([_put_back(run_dir, ("queued", "running", "stopped")) for run_dir in run_dirs]):
            hand_on(signal.SIGUSR2, None)

    def checkpoint(self) -> DelayedSubmission:
        """Return what the job calls when it is restarted."""
        return DelayedSubmission(ArrayTask(self.paths, self.devices, self.threads, self.retries, self.stage))

    def _stack(self) -> list[RunDir]:
        return [RunDir(Path(path)) for path in self.paths]

    def _must_end(self) -> bool:
        return self._warned or self._terminated

    def _note_signal(self, number: int, frame: FrameType | None) -> None:
        """Note that the job will end soon (SIGUSR2), or ends now: it was cancelled, pre-empted or requeued."""
        if number == signal.SIGTERM:
            self._terminated = True
        else:
            self._warned = True


def _restarts() -> int:
    """Return how often Slurm has restarted this job."""
    return int(os.environ.get("SLURM_RESTART_COUNT", "0"))


def _starts_again() -> bool | None:
    """Whether Slurm, which ends this job now, will restart it: after a pre-emption or a requeue, not a cancellation.

    None if it does not answer: it may have a thousand such jobs to end.
    """
    command = ["scontrol", "show", "job", "-o", os.environ.get("SLURM_JOB_ID", "")]
    for turn in range(3):
        time.sleep(ASK_AGAIN_S * turn)
        with suppress(OSError, subprocess.SubprocessError):
            answer = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout
            if match := re.search(r"\bRestarts=(\d+)", answer):
                return int(match[1]) > _restarts()
    return None


def _say(run_dir: RunDir, note: str) -> None:
    with suppress(OSError, UserError), hold(run_dir):
        status = run_dir.read_status()
        if status.state == "stopped":
            run_dir.write_status(replace(status, note=note))


def _refuse(run_dir: RunDir, error: str) -> None:
    """End a queued run, because no worker can train it here."""
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

    A run that was submitted again, or is trained elsewhere, belongs to another job, as its status says.
    """
    with suppress(OSError, UserError), hold(run_dir):
        status = run_dir.read_status()
        if status.state in states and status.job == own_job() and run_dir.path.is_dir():
            queued = replace(status, state="queued", error=None, epochs_per_s=None, launcher=this_process())
            run_dir.write_status(replace(queued, heartbeat_every_s=HEARTBEAT_EVERY_S))
            return True
    return False
