"""Events of runs during training: `--notify CMD` calls a command for them, `lop wait` waits for the end."""

import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from lop_engine.errors import StoreError, why
from lop_engine.runs.directory import RunDir
from lop_engine.runs.jobs import Scheduler, has_job, scheduler
from lop_engine.runs.locks import other_launcher
from lop_engine.runs.reading import RunsReader, pause_after
from lop_engine.runs.records import ENDED, RunStatus, State
from lop_engine.runs.views import RunView
from lop_tui.words.console import plural
from lop_tui.words.notices import last_line

Event = Literal["failure", "rule", "end"]

LIMIT_S = 60.0
"""A notification command that takes longer is killed."""
LOOK_EVERY_S = 1.0
_LOOK_SHARE = 0.05
"""Largest share of the time spent on reading runs."""
_COUNTED: tuple[State, ...] = (
    "finished",
    "ended-by-rule",
    "diverged",
    "failed",
    "lost",
    "stopped",
    "running",
    "queued",
)


def overall(states: Collection[State]) -> str:
    """Return one state for all runs: the worst of those that have ended, ``running`` if one is running or queued."""
    order: tuple[State, ...] = ("running", "queued", "failed", "lost", "stopped")
    worst = next((state for state in order if state in states), "finished")
    return "running" if worst == "queued" else worst


def summary(states: Collection[State]) -> str:
    """Return ``12 runs: 10 finished, 2 failed``."""
    counts = Counter(states)
    variables = ", ".join(f"{counts[state]} {state}" for state in _COUNTED if counts[state])
    return f"{plural(len(states), 'run')}: {variables}"


class Notifier:
    """Calls a shell command for events of some runs, in a new session each; waits for it only at the end.

    Args:
        command: argument of ``sh -c``; "" for none.
    """

    def __init__(self, command: str, runs_dir: Path) -> None:
        self._command, self._runs_dir = command, runs_dir
        self._calls: list[tuple[subprocess.Popen[bytes], float]] = []
        self._warnings: list[str] = []
        self._sent: set[tuple[Event, str]] = set()
        self._suspected: set[RunDir] = set()

    def look(self, statuses: Mapping[RunDir, RunStatus]) -> None:
        """Call the command for events since the last call.

        A run counts as failed after two looks: a launcher may give it to another worker at once.
        """
        if not self._command:
            return
        states = [status.state for status in statuses.values()]
        failed = {run_dir for run_dir, status in statuses.items() if status.state in ("failed", "lost")}
        for run_dir in sorted(failed & self._suspected)[:1]:
            error = last_line(statuses[run_dir].error) or "its worker is gone"
            self._send("failure", "", states, LOP_RUN=run_dir.name, LOP_ERROR=error)
        self._suspected = failed
        for run_dir, status in statuses.items():
            if status.state == "ended-by-rule":
                facts = {"LOP_RUN": run_dir.name, "LOP_RULE": status.rule or "", "LOP_TASK": str(status.rule_task)}
                self._send("rule", status.rule or "", states, **facts)
        self._reap()

    def end(self, statuses: Mapping[RunDir, RunStatus], exit_status: int) -> list[str]:
        """Report that all runs are over, and wait up to `LIMIT_S` for the commands; return warnings."""
        if not self._command:
            return []
        self.look(statuses)
        self.look(statuses)  # a run that has failed by now remains failed
        self._send("end", "", [status.state for status in statuses.values()], LOP_EXIT_STATUS=str(exit_status))
        while self._calls:
            self._reap()
            time.sleep(0.05 if self._calls else 0)
        return self._warnings

    def _send(self, event: Event, about: str, states: Collection[State], **facts: str) -> None:
        """Start the command, unless it was called for this event."""
        if (event, about) in self._sent:
            return
        self._sent.add((event, about))
        counts = Counter(states)
        numbers = {f"LOP_{state.upper().replace('-', '_')}": str(counts[state]) for state in _COUNTED}
        variables = {"LOP_EVENT": event, "LOP_STATE": overall(states), "LOP_RUNS_DIR": str(self._runs_dir.absolute())}
        variables |= {"LOP_TOTAL": str(len(states)), "LOP_MESSAGE": _message(event, states, facts)}
        environment = {key: value for key, value in os.environ.items() if key != "LOP_DETACHED"}
        try:
            call = subprocess.Popen(
                ["/bin/sh", "-c", self._command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                env=environment | numbers | variables | facts,
            )
            self._calls.append((call, time.monotonic() + LIMIT_S))
        except (OSError, ValueError) as error:
            self._warnings.append(f"--notify ({event}): cannot be started: {_why(error)}")

    def _reap(self) -> None:
        left = []
        for call, deadline in self._calls:
            if call.poll() is None and time.monotonic() < deadline:
                left.append((call, deadline))
            elif call.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(call.pid, signal.SIGKILL)
                call.wait()
                self._warnings.append(f"--notify: took more than {LIMIT_S:.0f} s and was killed: {self._command}")
            elif call.returncode:
                self._warnings.append(f"--notify: ended with exit status {call.returncode}: {self._command}")
        self._calls = left


def _message(event: Event, states: Collection[State], facts: Mapping[str, str]) -> str:
    """Return the event as a line."""
    if event == "failure":
        return f"lop: {facts['LOP_RUN']} failed: {facts['LOP_ERROR']}"
    if event == "rule":
        return f"lop: {facts['LOP_RUN']} ended by rule after task {facts['LOP_TASK']}: {facts['LOP_RULE']}"
    return f"lop: {summary(states)}"


def _why(error: Exception) -> str:
    return why(error) if isinstance(error, OSError) else str(error)


def read_statuses(run_dirs: Collection[RunDir]) -> dict[RunDir, RunStatus]:
    """Return the status of each run that can be read."""
    statuses = {}
    for run_dir in run_dirs:
        with suppress(OSError, StoreError):
            statuses[run_dir] = run_dir.read_status()
    return statuses


class RunWatcher(threading.Thread):
    """Watches runs in a thread while this process trains them, so that the dashboard delays no notification."""

    def __init__(self, command: str, runs_dir: Path, run_dirs: Collection[RunDir]) -> None:
        super().__init__(name="notify", daemon=True)
        self._notifier, self._run_dirs = Notifier(command, runs_dir), run_dirs
        self._is_over = threading.Event()
        if command:
            self.start()

    def run(self) -> None:
        every_s = LOOK_EVERY_S
        while not self._is_over.wait(every_s):
            began = time.monotonic()
            self._notifier.look(read_statuses(self._run_dirs))
            every_s = max(LOOK_EVERY_S, (time.monotonic() - began) / _LOOK_SHARE)

    def end(self, exit_status: int) -> list[str]:
        """Stop watching and report the end; return warnings."""
        self._is_over.set()
        if self.is_alive():
            self.join()
        return self._notifier.end(read_statuses(self._run_dirs), exit_status)


TIMED_OUT = 124
"""Exit status of `lop wait` after its time limit, as in timeout(1)."""
_ORPHANED_AFTER = 3
"""Number of looks in which a queued run must lack a launcher: its launcher may be handing it over."""


@dataclass(frozen=True)
class WaitResult:
    """State of runs at the end of the wait."""

    states: Mapping[RunDir, State]
    """State of each run; ``lost`` if it was removed."""
    statuses: Mapping[RunDir, RunStatus]
    orphans: frozenset[RunDir]
    """Queued runs that no process will train."""
    is_over: bool
    """Whether no other run is running or queued; False after the time limit."""


def wait_for(reader: RunsReader, chosen: Collection[RunDir], timeout_s: float | None, notifier: Notifier) -> WaitResult:
    """Wait until no run is running or queued, or until the time limit."""
    deadline = time.monotonic() + timeout_s if timeout_s is not None else float("inf")
    without_launcher: dict[RunDir, int] = {}
    queue = scheduler()
    while True:
        began = time.thread_time()
        views = [view for view in reader.read().runs if view.dir in chosen]
        orphans = {view.dir for view in views if view.state == "queued" and not _will_be_trained(view, queue)}
        without_launcher = {run_dir: without_launcher.get(run_dir, 0) + 1 for run_dir in orphans}
        left_alone = frozenset(run_dir for run_dir, looks in without_launcher.items() if looks >= _ORPHANED_AFTER)
        active = [view for view in views if view.state in ("running", "queued") and view.dir not in left_alone]
        statuses = {view.dir: replace(view.status, state=view.state) for view in views}
        notifier.look(statuses)
        if not active or time.monotonic() >= deadline:
            gone: dict[RunDir, State] = dict.fromkeys(set(chosen) - statuses.keys(), "lost")
            states = gone | {run_dir: status.state for run_dir, status in statuses.items()}
            return WaitResult(states, statuses, left_alone, not active)
        pause_s = pause_after(time.thread_time() - began, LOOK_EVERY_S)
        time.sleep(min(pause_s, max(0.0, deadline - time.monotonic())))


def _will_be_trained(view: RunView, queue: Scheduler) -> bool:
    return bool(other_launcher(view.status)) or has_job(view.status, queue)


def exit_status(result: WaitResult) -> int:
    """Return 0 if every run has ended, `TIMED_OUT` after the time limit, else 1."""
    if not result.is_over:
        return TIMED_OUT
    return 0 if all(state in ENDED for state in result.states.values()) else 1


def why_not_ended(result: WaitResult) -> list[str]:
    """Return at most ten lines about runs that will not end without help."""
    lines = []
    for run_dir, state in sorted(result.states.items()):
        if run_dir not in result.statuses:
            lines.append(f"{run_dir.name}: its directory is gone")
        elif run_dir in result.orphans:
            lines.append(f"{run_dir.name}: queued, and the process that queued it is gone; lop resume trains it")
        elif state in ("failed", "lost", "stopped"):
            error = result.statuses[run_dir].error
            lines.append(f"{run_dir.name}: {state}{f': {last_line(error)}' if error else ''}")
    return [*lines[:10], *([f"and {len(lines) - 10} more"] if len(lines) > 10 else [])]
