"""Run stages in a child process within a time budget.

The child runs one stage after another. A child is killed if a stage hangs, and ends after a check that breaks CUDA.
A new child continues with the rest.
"""

import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from bench.gpu.results import Event, Results
from bench.gpu.stages import Stage

GRACE_S = 8.0
"""Time for a child to stop its runs after it was told to end."""


class DeviceError(Exception):
    """The device cannot be used."""


class Child:
    """A child process that prints events. A context, which ends the process."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: IO[str]) -> None:
        self._log = log
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, env=dict(environment), start_new_session=True
        )
        self._events: queue.Queue[Event | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *ending: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def next_event(self, timeout_s: float) -> Event | None:
        """The next event; None when the child has ended. Raises queue.Empty after `timeout_s`."""
        return self._events.get(timeout=max(0.0, timeout_s))

    def describe_end(self) -> str:
        """Return how a child that closed its output ended, and the last line of its log."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE_S)
        code = self._process.returncode
        killed = code is not None and code < 0
        how = f"killed by {signal.Signals(-code).name}" if killed else f"ended with status {code}"
        lines = Path(self._log.name).read_text(encoding="utf-8", errors="replace").split("\n")
        return f"the process {how}: {next((line for line in reversed(lines) if line.strip()), 'see log.txt')}"

    def _read(self) -> None:
        assert self._process.stdout
        with self._process.stdout as lines:
            for line in lines:
                with suppress(ValueError):
                    self._events.put(json.loads(line))
        self._events.put(None)


def run_group(
    stages: Sequence[Stage],
    command: Sequence[str],
    environment: Mapping[str, str],
    results: Results,
    limit_s: float,
    log_path: Path,
    say: Callable[[str], None],
) -> None:
    """Run stages of one group.

    Args:
        command: starts the child; the names of the stages are appended.
        limit_s: for all of them together; each stage also has its own limit.
        log_path: what the child prints is appended here.
    Raises:
        DeviceError: the device cannot be used; the message says why.
    """
    deadline = time.monotonic() + limit_s
    waiting = list(stages)
    with open(log_path, "a", encoding="utf-8") as log:
        while waiting and time.monotonic() < deadline:
            done = [f"--done={check}" for check in results.checks_of(waiting[0].name)]
            names = [stage.name for stage in waiting]
            with Child([*command, *done, *names], environment, log) as child:
                waiting = _follow(child, waiting, results, deadline, say)
    for stage in waiting:
        results.unfinished(stage, f"not begun within {limit_s:.0f} s", out_of_time=True)


def _follow(
    child: Child, waiting: list[Stage], results: Results, deadline: float, say: Callable[[str], None]
) -> list[Stage]:
    """Collect what a child reports until it ends or its time is up; return the stages that are still to run."""
    left = list(waiting)
    num_known = len(results.checks_of(left[0].name))
    began, began_at = False, time.monotonic()
    while left:
        stage = left[0]
        stage_deadline = min(deadline, began_at + stage.limit_s) if began else deadline
        try:
            event = child.next_event(stage_deadline - time.monotonic())
        except queue.Empty:
            results.unfinished(stage, f"stopped after {time.monotonic() - began_at:.0f} s", out_of_time=True)
            return left[1:]
        if event is None:
            # No event at all: the next child would end in the same way.
            lost = left[:1] if began else left
            for each in lost:
                results.unfinished(each, child.describe_end(), out_of_time=False)
            return left[len(lost) :]
        if event["event"] == "refused":
            raise DeviceError(event["why"])
        results.take(event)
        if event["event"] == "begin":
            began, began_at = True, time.monotonic()
            say(f"{stage.name}: {stage.description}")
        elif event["event"] == "end":
            began, began_at = False, time.monotonic()
            if event.get("unfinished") and (stage is not waiting[0] or len(results.checks_of(stage.name)) > num_known):
                return left  # another process continues after the check that broke this one
            left.pop(0)
            if event.get("broken"):
                return left
    return left
