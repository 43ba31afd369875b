"""``python -m lop_engine.worker RUN_DIR...``: the child process that trains a stack of runs.

The run directory is its only input: run.json says what to train, the checkpoint where to resume. The worker
holds each directory's lock, updates its status and heartbeat, and writes its records. On SIGTERM and SIGUSR2 the
current epoch may finish within `GRACE_S`; SIGALRM does not wait for it. Work after the last checkpoint is repeated on
resume.
"""

import argparse
import os
import re
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

import psutil

from lop_engine.datasets.staging import reading
from lop_engine.errors import CaptureError, DataError, LaunchError, StoreError, UserError, in_one_line, memory_error
from lop_engine.experiment.code import place_in_own_file
from lop_engine.experiment.registry import execute_installed, is_own
from lop_engine.experiment.spec import Spec, stack_key, validate
from lop_engine.files import together
from lop_engine.processes import allow_more_open_files, start_of
from lop_engine.runs.code import begun_with, code_files, load_components
from lop_engine.runs.directory import RunDir
from lop_engine.runs.files import RunFiles, StopRequested, log
from lop_engine.runs.jobs import own_job
from lop_engine.runs.locks import (
    FAILED,
    LOCKED,
    NO_CUDA_GRAPH,
    OUT_OF_MEMORY,
    REFUSED,
    LockedError,
    hold_together,
    other_launcher,
)
from lop_engine.runs.records import State

GRACE_S = 3

#: Share of the time that heartbeats may take.
HEARTBEAT_SHARE = 0.01
HEARTBEAT_AT_LEAST_EVERY_S = 60.0


class Worker:
    """Process, signals and heartbeat of one stack; `lop_engine.worker.stack` trains it.

    Args:
        images: a copy of the spec's images.
        notes: text shown with these runs.
        cuda_graphs: on a GPU, launch each step as a CUDA graph.
        give_back: releases the lock of a run that has ended while others continue.
    """

    def __init__(
        self,
        run_dirs: list[RunDir],
        device: str,
        threads: int,
        images: Path | None = None,
        notes: Sequence[str] = (),
        cuda_graphs: bool = True,
        give_back: Callable[[RunDir], None] | None = None,
    ) -> None:
        self.specs, self.notes = _specs(run_dirs), list(notes)
        self._reads_copy = False
        if images:
            self._read_copy(images)
        self.runs = [RunFiles(run_dir, give_back) for run_dir in run_dirs]
        if len({run_dir.setting for run_dir in run_dirs}) > 1:
            for run in self.runs:
                run.label = f"{run.dir.setting}  {run.label}"
        self.device, self.threads, self.cuda_graphs = device, threads, cuda_graphs
        self.error: BaseException | None = None
        self._errors: list[Exception] = []
        self._stop_requested = False
        self.ended = threading.Event()
        self.least_beat_s = self.runs[0].status.heartbeat_every_s

    def run(self) -> int:
        """Train to the end, or until a stop; return the exit status."""
        try:
            self._start()
            import torch  # takes seconds; the status is already "running"

            from lop_engine.device import prepare_device
            from lop_engine.worker.stack import train_runs

            device = torch.device(self.device)
            torch.set_num_threads(self.threads)
            prepare_device(device)
            if any(map(is_own, self.specs[0].components)):
                from lop_engine.testing.rules import check_own_components

                check_own_components(self.specs[0])
            runs = [run for run in self.runs if not run.has_left]
            specs = [spec for spec, run in zip(self.specs, self.runs, strict=True) if not run.has_left]
            train_runs(specs, runs, device, lambda: self._stop_requested, self.cuda_graphs)
            if self._errors:
                raise self._errors[0]
        except StopRequested:
            self.end("stopped")
            log("stopped")
        except LockedError as error:
            self.ended.set()
            log(f"ended at once: {error}")
            return LOCKED
        except (Exception, SystemExit) as error:  # an own component may exit
            self.error = error  # keeps the tensors of a broken capture until the process ends, see `main`
            return self._fail(error)
        else:
            self.end("finished")
        return 0

    def _fail(self, error: BaseException) -> int:
        """Write the error into the runs' status; return the exit status."""
        short_of = memory_error(error)
        if isinstance(error, UserError) and not short_of:
            log(f"failed: {error}")
            why = in_one_line(error)
        else:
            log("".join(traceback.format_exception(error)))
            why = self._too_large(short_of) if short_of else place_in_own_file(error) + in_one_line(error)
        self.end("failed", why)
        if short_of:
            return OUT_OF_MEMORY
        if isinstance(error, CaptureError):
            return NO_CUDA_GRAPH
        # A copy may disappear when a node's disk is cleaned. The next try reads the original.
        refused = isinstance(error, UserError) and not (self._reads_copy and isinstance(error, DataError))
        return REFUSED if refused else FAILED

    def _too_large(self, short_of: BaseException) -> str:
        """Return the error text for running out of memory, with advice if the stack cannot be made smaller."""
        match = re.search(r"tried to allocate ([\d.]+ \w+)", str(short_of), re.IGNORECASE)
        tried = f" (tried to allocate {match[1]})" if match else ""
        if len(self.runs) > 1:
            runs = f"{len(self.runs)} runs in one worker"
            return f"{self.device}: out of memory with {runs}{tried}; resume with fewer --runs-per-worker"
        return (
            f"{self.device}: out of memory with a single run{tried}; free memory there, or choose another --device, "
            "then lop resume; or start over with a smaller mini_batch_size"
        )

    def _read_copy(self, images: Path) -> None:
        """Use a copy of the specs' images, if it matches; return a note if not."""
        try:
            copies = {spec: reading(spec, images) for spec in dict.fromkeys(self.specs)}
            self.specs, self._reads_copy = [copies[spec] for spec in self.specs], True
        except (DataError, OSError) as error:
            self.notes.append(f"{socket.gethostname()}: {error}; the images are read from {self.specs[0].dataset}")
            log(self.notes[-1])

    def _start(self) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the launcher handles the terminal's Ctrl-C
        signal.signal(signal.SIGTERM, self._request_stop)
        signal.signal(signal.SIGUSR2, self._request_stop)  # schedulers send it before a time limit
        signal.signal(signal.SIGALRM, self._give_up_epoch)
        if any(run.dir.read_status().state == "stopped" for run in self.runs):  # a stop while this process was starting
            for run in self.runs:
                run.set_status(state="stopped")
            raise StopRequested
        process = psutil.Process()
        changes = {
            "state": "running",
            "num_tasks": self.specs[0].num_tasks,
            "num_epochs": self.specs[0].num_parts,
            "pid": process.pid,
            "pid_started_at": process.create_time(),
            "pid_start": start_of(process.pid),
            "launcher": None,
            "host": socket.gethostname(),
            "device": self.device,
            "job": own_job(),
            "started_at": time.time(),
            "heartbeat_at": time.time(),
            "epochs_per_s": None,
            "log_of": "/".join(self.runs[0].dir.path.parts[-2:]),
            "stack": [],
            "error": None,
            "note": "; ".join(self.notes) or None,
        }
        failed = together(lambda run: run.set_status(durable=True, **changes), self.runs)
        for run, error in failed:
            log(f"{run.label}  failed: {in_one_line(error)}")
            run.leave("failed", in_one_line(error))
            self._errors.append(error)
        threading.Thread(target=self.beat, name="heartbeat", daemon=True).start()

    def beat(self) -> None:
        """Write the status of running runs, also during a long epoch.

        Many runs write less often, so that this takes little of the time; their statuses say how often.
        """
        every_s = self.least_beat_s
        while not self.ended.wait(every_s):
            began = time.thread_time()
            try:
                for run in self.runs:
                    run.beat(every_s)
            except LockedError as error:
                log(f"ended at once: {error}")
                os._exit(LOCKED)  # write nothing more into files that belong to another process
            if all(run.must_stop or run.has_left for run in self.runs):
                os.kill(os.getpid(), signal.SIGTERM)  # handled by the main thread
            every_s = beat_every_s(self.least_beat_s, time.thread_time() - began)

    def end(self, state: State, error: str | None = None) -> None:
        """Write the last status of every run that has not ended yet."""
        ignore_signals()
        self.ended.set()

        def end(run: RunFiles) -> None:
            with suppress(OSError, StoreError):  # a full or missing disk: the checkpoint decides
                run.sync()
            more = {"heartbeat_at": time.time(), "heartbeat_every_s": self.least_beat_s}
            run.set_status(durable=True, state=state, error=error, **more)

        failed = together(end, [run for run in self.runs if run.status.state == "running"])
        if failed:
            raise failed[0][1]

    def _request_stop(self, number: int, frame: FrameType | None) -> None:
        if not self._stop_requested:
            self._stop_requested = True
            signal.alarm(GRACE_S)

    def _give_up_epoch(self, number: int, frame: FrameType | None) -> None:
        ignore_signals()  # one is enough: a second one would interrupt the cleanup
        raise StopRequested


def beat_every_s(least_s: float, cost_s: float) -> float:
    """Return the seconds between heartbeats of `cost_s` processor time each: `least_s`, or more for many runs."""
    return max(least_s, min(round(cost_s / HEARTBEAT_SHARE, 1), HEARTBEAT_AT_LEAST_EVERY_S))


def ignore_signals() -> None:
    signal.alarm(0)
    for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)


def _specs(run_dirs: list[RunDir]) -> list[Spec]:
    """Return the spec of each run, with components loaded. Raises LaunchError for runs that cannot share a worker."""
    files = [code_files(run_dir, run_dir.read_config()) for run_dir in run_dirs]
    for run_dir in run_dirs[1:]:
        if begun_with(run_dir) != begun_with(run_dirs[0]):
            raise LaunchError(f"{run_dir.name}: has other code than {run_dirs[0].name}; they cannot share a worker")
    load_components(files[0])
    specs = [validate(run_dir.read_spec(), str(run_dir.run_json)) for run_dir in run_dirs]
    for run_dir, spec in zip(run_dirs, specs, strict=True):
        if stack_key(spec) != stack_key(specs[0]):
            raise LaunchError(
                f"{run_dir.name}: configured otherwise than {run_dirs[0].name}; they cannot share a worker"
            )
    return specs


def _refuse_runs_of_others(run_dirs: list[RunDir], launcher: str | None) -> None:
    """Raise LockedError for a run that was removed, or queued by a process other than `launcher`, since the start.

    A worker that was started by hand has no launcher, and trains the runs it is given.
    """
    for run_dir in run_dirs:
        if not run_dir.run_json.exists():
            raise LockedError(f"{run_dir.name}: was removed")
        other = other_launcher(run_dir.read_status())
        if launcher and other and other.token != launcher:
            raise LockedError(f"{run_dir.name}: is queued by {other}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lop_engine.worker", description="Train a stack of runs.")
    parser.add_argument("run_dirs", nargs="+", type=Path, metavar="RUN_DIR")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--images", type=Path, metavar="DIR", help="a copy of the images that run.json names")
    parser.add_argument("--note", action="append", default=[], metavar="TEXT", help="shown with these runs")
    parser.add_argument("--no-cuda-graphs", action="store_true", help="launch each training step kernel by kernel")
    parser.add_argument("--launcher", metavar="TOKEN", help="the process that starts this worker")
    args = parser.parse_args()
    execute_installed()
    run_dirs = [RunDir(path.absolute()) for path in args.run_dirs]
    allow_more_open_files()
    try:
        with hold_together(run_dirs) as give_back:
            _refuse_runs_of_others(run_dirs, args.launcher)
            options = args.images, args.note, not args.no_cuda_graphs, give_back
            worker = Worker(run_dirs, args.device, args.threads, *options)
            status = worker.run()
            if status in (NO_CUDA_GRAPH, OUT_OF_MEMORY):
                # Everything is written. Freeing the tensors of a broken capture may abort the process (pytorch#180395)
                # and change its exit status.
                os._exit(status)
            return status
    except UserError as error:
        print(error, file=sys.stderr)
        return LOCKED if isinstance(error, LockedError) else REFUSED


if __name__ == "__main__":
    sys.exit(main())
