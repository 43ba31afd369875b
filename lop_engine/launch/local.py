"""Workers on this machine: a queue of stacks, each of which gets a worker as soon as a place is free.

Failed workers' runs are retried, depending on the exit status.
"""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain

from lop_engine.errors import LaunchError, StoreError
from lop_engine.launch.claims import is_ours
from lop_engine.launch.places import Places
from lop_engine.launch.plan import Plan, describe_workers
from lop_engine.machine.devices import place
from lop_engine.processes import this_process
from lop_engine.runs.directory import RunDir
from lop_engine.runs.locks import FAILED, LOCKED, NO_CUDA_GRAPH, OUT_OF_MEMORY, REFUSED, hold
from lop_engine.runs.logs import last_line

#: A worker frees and allocates the same megabytes at every step. glibc would return them to the system each
#: time, and the page faults cost a third of a CPU training step (measured); these settings keep them.
_ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "MALLOC_TOP_PAD_": str(64 * 2**20),
    # Threads that wait without spinning: next to other load, spinning threads made small networks 9 times slower.
    "OMP_WAIT_POLICY": "PASSIVE",
}


@dataclass(frozen=True)
class Decision:
    """Stacks to queue again, and messages to show."""

    reports: list[str]
    first: list[list[RunDir]] = field(default_factory=list)
    """Stacks for the front of the queue, because they had already started."""
    last: list[list[RunDir]] = field(default_factory=list)


class Retries:
    """Decides how runs are retried.

    A run whose worker died is retried `limit` times. Two failures have a remedy that does not count as a retry:
    training without CUDA graphs if creating one fails, and in two smaller stacks if memory runs out.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._tries: Counter[RunDir] = Counter()
        self._options: dict[RunDir, list[str]] = {}

    def worker_options(self, stack: Sequence[RunDir]) -> list[str]:
        """Options of a stack's next worker, given the failures of earlier ones."""
        return self._options.get(stack[0], [])

    def decide(self, code: int, stack: Sequence[RunDir], failed: dict[RunDir, str]) -> Decision:
        """Decide how to retry a stack's `failed` runs (each with its reason), given the worker's exit status `code`."""
        if code == NO_CUDA_GRAPH and not self.worker_options(stack):
            return self._without_graphs(failed)
        if code == OUT_OF_MEMORY and len(stack) > 1:
            return _halve(stack, failed)
        if code == OUT_OF_MEMORY:
            return Decision([f"{run_dir.name} failed: {why}" for run_dir, why in failed.items()])
        return self._as_before(failed)

    def _without_graphs(self, failed: dict[RunDir, str]) -> Decision:
        why = next(iter(failed.values()))
        options = ["--no-cuda-graphs", f"--note=trained without CUDA graphs, which is slower: {why}"]
        self._options |= {run_dir: options for run_dir in failed}
        return Decision([f"{_names(failed)}: {why}; training without CUDA graphs, which is slower"], [list(failed)])

    def _as_before(self, failed: dict[RunDir, str]) -> Decision:
        again = [run_dir for run_dir in failed if self._tries[run_dir] < self._limit]
        self._tries.update(again)
        reports = [
            f"{run_dir.name} failed: {why}"
            + (f"; trying again ({self._tries[run_dir]} of {self._limit})" if run_dir in again else "")
            for run_dir, why in failed.items()
        ]
        return Decision(reports, last=[again] if again else [])


def _halve(stack: Sequence[RunDir], failed: dict[RunDir, str]) -> Decision:
    dirs, half = list(failed), -(-len(failed) // 2)
    halves = [part for part in (dirs[:half], dirs[half:]) if part]
    sizes = " and ".join(str(len(part)) for part in halves)
    report = f"{_names(failed)}: out of memory with {len(stack)} runs in one worker; retrying with {sizes} per worker"
    return Decision([report], halves)


def _names(run_dirs: dict[RunDir, str]) -> str:
    first, more = next(iter(run_dirs)).name, len(run_dirs) - 1
    return f"{first} and {more} more" if more else first


@dataclass
class _Slot:
    """A slot for one worker at a time."""

    device: str
    place: int | None = None
    """The descriptor that locks the worker's place; None if workers are not counted."""
    stack: list[RunDir] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None

    def free(self) -> None:
        """Release the place, unless a worker holds it."""
        if self.place is not None and not self.process:
            os.close(self.place)
            self.place = None


class LocalLauncher:
    """Runs a plan. Call `poll` until `active` is false; workers survive a launcher that dies.

    Each worker has its own session: the terminal's Ctrl-C only reaches the launcher, which decides.

    Args:
        retries: how often a run is given to another worker after its worker died, from its checkpoint.
        worker_options: additional arguments of each worker.
        places: counts the workers of all launchers; without it only the plan limits their number.
    """

    def __init__(
        self, plan: Plan, retries: int = 0, worker_options: Sequence[str] = (), places: Places | None = None
    ) -> None:
        self.plan, self._places = plan, places
        self._queue = list(plan.stacks)
        self._retries = Retries(retries)
        self._worker_options = worker_options
        self._reports: list[str] = []
        self._threads = plan.resources.threads
        self._slots = [_Slot(device) for device in plan.resources.devices]
        self._stopping = self._told_to_wait = False

    def describe(self) -> str:
        """Return ``2 workers (cpu, 1 thread each)``."""
        return describe_workers(self.plan.resources)

    def check(self) -> None:
        """Do nothing: devices that cannot be used were refused when the plan was made."""

    def start(self) -> list[str]:
        """Start the first workers."""
        self.poll()
        return []

    @property
    def active(self) -> bool:
        """Whether any worker is running, or about to start."""
        return bool(self._queue) or any(slot.process for slot in self._slots)

    def poll(self) -> None:
        """Reap workers that have ended, and start the next ones."""
        for slot in self._slots:
            if slot.process and slot.process.poll() is not None:
                self._reap(slot, slot.process)
                if slot.place is not None:
                    slot.free()  # another launcher may take it before this one looks again
                    continue
            if not slot.process and (stack := self._next_stack()) and self._has_place(slot):
                self._queue.pop(0)
                slot.stack = stack
                options = [f"--launcher={this_process().token}", *self._worker_options]
                options += self._retries.worker_options(stack)
                slot.process = start_worker(stack, slot.device, self._threads, options, slot.place)
            slot.free()

    def _next_stack(self) -> list[RunDir]:
        """Return the runs of the next stack that still wait for a worker; drops stacks without any."""
        while self._queue:
            if stack := [run_dir for run_dir in self._queue[0] if _is_wanted(run_dir)]:
                return stack
            self._queue.pop(0)
        return []

    def _has_place(self, slot: _Slot) -> bool:
        """Take a place for the slot's next worker, if one is free."""
        if self._places is None or slot.place is not None:
            return True
        slot.place = self._places.take(slot.device)
        if slot.place is None and not self._told_to_wait:
            self._told_to_wait = True
            self._reports.append(self._places.explain(slot.device))
        return slot.place is not None

    def _reap(self, slot: _Slot, process: subprocess.Popen[bytes]) -> None:
        failed = _settle(slot.stack, process, self._stopping)
        slot.process = None
        if self._stopping:
            return
        if failed:
            self._try_again(process.returncode, slot.stack, failed)
        if process.returncode == LOCKED:  # another process trains a run of the stack: train the others
            self._queue.insert(0, [run_dir for run_dir in slot.stack if _is_wanted(run_dir)])

    def take_reports(self) -> list[str]:
        """Return what has happened to workers since the last call, for people."""
        reports, self._reports = self._reports, []
        return reports

    def _try_again(self, code: int, stack: Sequence[RunDir], failed: dict[RunDir, str]) -> None:
        """Queue the runs that may be retried."""
        decision = self._retries.decide(code, stack, failed)
        self._reports += decision.reports
        for run_dir in chain(*decision.first, *decision.last):
            with suppress(OSError, StoreError, LaunchError), hold(run_dir):
                status = run_dir.read_status()
                if status.state == "failed":  # not resumed by another process in the meantime
                    run_dir.write_status(replace(status, state="queued", epochs_per_s=None, launcher=this_process()))
        self._queue = [*decision.first, *self._queue, *decision.last]

    def stop(self, at_once: bool = False) -> None:
        """Ask the workers to save and stop, or kill them `at_once`; start nothing more."""
        self._stopping = True
        for slot in self._slots:
            if slot.process and slot.process.poll() is None:
                slot.process.send_signal(signal.SIGKILL if at_once else signal.SIGTERM)
        waiting, self._queue = self._queue, []
        for run_dir in (run_dir for stack in waiting for run_dir in stack):
            with suppress(OSError, StoreError, LaunchError), hold(run_dir):
                status = run_dir.read_status()
                if is_ours(status):  # another launcher may have taken it in the meantime
                    run_dir.write_status(replace(status, state="stopped", launcher=None))


def worker_environment(threads: int) -> dict[str, str]:
    """Return the environment of a process that trains with `threads` threads."""
    return {**_ENVIRONMENT, **os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}


def start_worker(
    stack: Sequence[RunDir], device: str, threads: int, options: Sequence[str], held: int | None = None
) -> subprocess.Popen[bytes]:
    device, environment = place(device)
    command = [sys.executable, "-P", "-m", "lop_engine.worker", "--device", device, "--threads", str(threads)]
    with open(stack[0].log, "ab") as log:
        return subprocess.Popen(
            [*command, *options, "--", *(str(run_dir.path) for run_dir in stack)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=worker_environment(threads) | environment,
            start_new_session=True,
            pass_fds=() if held is None else (held,),  # the place is taken while the worker lives
        )


def _is_wanted(run_dir: RunDir) -> bool:
    """Whether a run still waits for a worker: it may have been stopped or removed in the meantime."""
    if not run_dir.run_json.exists():
        return False
    try:
        return is_ours(run_dir.read_status())
    except (OSError, StoreError):  # the worker reports the error
        return True


def _settle(stack: Sequence[RunDir], process: subprocess.Popen[bytes], stopping: bool) -> dict[RunDir, str]:
    """Set the final state of runs whose worker could not: it was killed, or could not start.

    If a status cannot be written, it stays: the worker is gone, so readers consider the run lost.

    Returns:
        The runs that failed for reasons other than their configuration, and the reasons.
    """
    code = process.returncode
    failed = {}
    for run_dir in stack:
        with suppress(OSError, StoreError, LaunchError), hold(run_dir):
            status = run_dir.read_status()
            may_succeed = code in (FAILED, NO_CUDA_GRAPH, OUT_OF_MEMORY)
            if status.state == "failed" and status.pid == process.pid and may_succeed:
                failed[run_dir] = status.error or ""
            of_another = status.state == "running" and status.pid != process.pid
            if status.state not in ("running", "queued") or of_another or not run_dir.path.is_dir():
                continue
            if code == LOCKED:  # another process trains a run of this stack; this one is free
                if status.state == "running":
                    run_dir.write_status(replace(status, state="queued", launcher=this_process()))
                continue
            if stopping and code < 0:  # our signal came before the worker could handle it, or was SIGKILL
                run_dir.write_status(replace(status, state="stopped"), durable=True)
            else:
                why = _why(stack[0], code)
                run_dir.write_status(replace(status, state="failed", error=why), durable=True)
                if code != REFUSED:
                    failed[run_dir] = why
    return failed


def _why(run_dir: RunDir, code: int) -> str:
    if code >= 0:
        return f"worker ended with status {code}: {_last_line(run_dir)}"
    hint = "; out of memory?" if code == -signal.SIGKILL else ""
    return f"worker killed by signal {-code} ({signal.Signals(-code).name}){hint}"


def _last_line(run_dir: RunDir) -> str:
    with suppress(OSError):
        return last_line(run_dir.log) or "its log is empty"
    return "its log is empty"
