"""Workers on this machine: a queue of stacks, a process for each, so many at a time."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lop_engine.launch.plan import Plan
from lop_engine.rundir import RunDir

#: A worker frees and takes the same megabytes at every step. glibc would hand them back to the system each
#: time, and the page faults cost a third of a CPU training step (measured); these keep them.
_ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "MALLOC_TOP_PAD_": str(64 * 2**20),
}


@dataclass
class _Slot:
    """A place where one worker runs at a time."""

    device: str
    stack: list[RunDir] | None = None
    process: subprocess.Popen[bytes] | None = None


class LocalLauncher:
    """Runs a plan. Call `poll` until `active` is false; a worker outlives a launcher that dies.

    Each worker leads a session of its own: the terminal's Ctrl-C reaches the launcher alone, which decides.
    """

    def __init__(self, plan: Plan) -> None:
        self._queue = list(plan.stacks)
        self._threads = plan.resources.threads
        self._slots = [_Slot(device) for device in plan.resources.devices]
        self._killed = False

    @property
    def active(self) -> bool:
        """Is any worker running, or due to?"""
        return bool(self._queue) or any(slot.process for slot in self._slots)

    def poll(self) -> list[RunDir]:
        """Reap workers that have ended and start the next; return the runs whose workers ended since the last call."""
        ended: list[RunDir] = []
        for slot in self._slots:
            if slot.process and slot.process.poll() is not None:
                assert slot.stack
                _settle(slot.stack, slot.process.returncode, self._killed)
                ended.extend(slot.stack)
                slot.process = slot.stack = None
            if not slot.process and self._queue:
                slot.stack = self._queue.pop(0)
                slot.process = _start_worker(slot.stack, slot.device, self._threads)
        return ended

    def stop(self, at_once: bool = False) -> None:
        """Start nothing more; ask the workers to save and stop, or kill them `at_once`."""
        self._killed = self._killed or at_once
        for stack in self._queue:
            for run_dir in stack:
                run_dir.write_status(replace(run_dir.read_status(), state="stopped"))
        self._queue.clear()
        for slot in self._slots:
            if slot.process and slot.process.poll() is None:
                slot.process.send_signal(signal.SIGKILL if at_once else signal.SIGTERM)


def worker_environment(threads: int) -> dict[str, str]:
    """The environment of a process that trains on `threads` threads."""
    return {**_ALLOCATOR, **os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}


def _start_worker(stack: Sequence[RunDir], device: str, threads: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "lop_engine.worker", "--device", device, "--threads", str(threads)]
    with open(stack[0].log, "ab") as log:
        return subprocess.Popen(
            [*command, *(str(run_dir.path) for run_dir in stack)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=worker_environment(threads),
            start_new_session=True,
        )


def _settle(stack: Sequence[RunDir], code: int, killed_by_us: bool) -> None:
    """Give runs that a worker left without an ending one: it was killed, or could not start."""
    for run_dir in stack:
        if not run_dir.path.is_dir():
            continue
        status = run_dir.read_status()
        if status.state not in ("running", "queued"):
            continue
        if killed_by_us and code == -signal.SIGKILL:
            run_dir.write_status(replace(status, state="stopped"), durable=True)
            continue
        if code < 0:
            reason = f"worker killed by signal {-code} ({signal.Signals(-code).name})"
            reason += "; out of memory?" if code == -signal.SIGKILL else ""
        else:
            reason = f"worker ended with status {code}: {_last_line(stack[0])}"
        run_dir.write_status(replace(status, state="failed", error=reason), durable=True)


def _last_line(run_dir: RunDir) -> str:
    try:
        lines = run_dir.log.read_text(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1] if lines else "it said nothing"
