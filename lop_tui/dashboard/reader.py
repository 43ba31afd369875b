"""Reads runs and computes frames in a thread, so that the screen never waits for a disk."""

import math
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from textual.message import Message

from lop_engine.machine.usage import Usage, UsageReader
from lop_engine.runs.reading import pause_after
from lop_engine.runs.views import Snapshot
from lop_tui.dashboard.model import View, ViewBuilder, find_nested
from lop_tui.dashboard.settings import Request

FIRST_FRAME_S = 1.0
"""How long the first frame may take to be drawn."""
USAGE_EVERY_S = 2.0
"""Seconds between two measurements of the machine's usage."""
CHARTS_EVERY_S, CHARTS_BESIDE_BUSY_WORKERS_S = 1.8, 5.0
"""Seconds between two frames with new charts, unless the user acts: drawing takes time from training."""
BUSY = 0.9
"""Share of all cores in use above which drawing slows training down."""


class SnapshotFetched(Message):
    """A frame is ready to be shown."""

    def __init__(self, view: View) -> None:
        super().__init__()
        self.view = view


class NothingNew(Message):
    """The runs have been read, and the last frame still shows them; only the machine's usage may have changed."""

    def __init__(self, usage: Usage | None) -> None:
        super().__init__()
        self.usage = usage


class SnapshotFailed(Message):
    """The runs could not be read, or made into a frame; the reader tries again."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


class SnapshotReader(threading.Thread):
    """Calls `read` every `refresh_s` seconds; computes a new frame at once when the request changes.

    Reads less often if reading takes long (`pause_after`).

    Args:
        read: returns the current state of all runs.
        deliver: called from this thread with a SnapshotFetched, a NothingNew or a SnapshotFailed.
        request: content of the first frame.
        read_ends: returns the ends of all runs if that is much faster, else None; called once, before `read`.
    """

    def __init__(
        self,
        read: Callable[[], Snapshot],
        deliver: Callable[[Message], object],
        refresh_s: float,
        request: Request | None = None,
        read_ends: Callable[[], Snapshot | None] = lambda: None,
    ) -> None:
        super().__init__(name="snapshot-reader", daemon=True)
        self._read = read
        self._read_ends = read_ends
        self._deliver = deliver
        self._refresh_s = refresh_s
        self._wake = threading.Event()
        self._stopped = False
        self._paused = False
        self._read_now = True
        self._request = request or Request()
        self.builder = ViewBuilder()
        self._usage = UsageReader()
        self._snapshot: Snapshot | None = None
        self._nested: list[Path] = []
        self._usage_of_machine: Usage | None = None
        self._measured_at = -math.inf
        self._shown: tuple[Snapshot, list[Path], Request] | None = None
        """The content of the last frame."""
        self._has_old_charts = False
        """Whether the charts of the last frame may lack the latest values."""
        self._charts_due_at = -math.inf

    def run(self) -> None:
        due_at = 0.0
        if self._deliver_ends():
            self._wake.wait(FIRST_FRAME_S)  # reading on at once would slow the drawing down
        while not self._stopped:
            self._wake.clear()
            fresh = self._read_now or (not self._paused and time.monotonic() >= due_at)
            if fresh:
                self._read_now = False
            began = time.thread_time()
            message = self._fetch(fresh)
            if fresh:
                due_at = time.monotonic() + pause_after(time.thread_time() - began, self._refresh_s)
            if not self._stopped:
                self._deliver(message)
            self._wake.wait(None if self._paused else max(0.0, due_at - time.monotonic()))

    def ask(self, request: Request) -> None:
        """Change the request; the next frame comes at once, from the last read."""
        if request != self._request:
            self._request = request
            self._wake.set()

    def pause(self, paused: bool) -> None:
        """Pause reading, or continue and read at once."""
        self._paused = paused
        self._read_now |= not paused
        self._shown = None  # the app ignores frames that come during a pause
        self._wake.set()

    def read_soon(self) -> None:
        """Read now, because something changed the runs."""
        self._read_now = True
        self._wake.set()

    def stop(self) -> None:
        """Ask the thread to end."""
        self._stopped = True
        self._wake.set()

    def _deliver_ends(self) -> bool:
        """Deliver a frame of the last values of many long runs, before their curves are read, if there are such runs.

        Return whether there are.
        """
        with suppress(Exception):  # `read` meets the same error and reports it
            if snapshot := self._read_ends():
                self._deliver(SnapshotFetched(self.builder.build(snapshot, self._request)))
                return True
        return False

    def _fetch(self, fresh: bool) -> Message:
        try:
            if fresh or self._snapshot is None:
                self._snapshot = self._read()
                self._nested = [] if self._snapshot.runs else find_nested(self._snapshot.runs_dir)
                self._measure(self._snapshot)
            content = self._snapshot, self._nested, self._request
            keeps_charts = self._shown is not None and time.monotonic() < self._charts_due_at
            is_shown = content == self._shown and (keeps_charts or not self._has_old_charts)
            if is_shown and not self._request.wants:  # the parts of other views follow more files than a snapshot
                return NothingNew(self._usage_of_machine)
            frame = self.builder.build(
                self._snapshot, self._request, self._nested, self._usage_of_machine, keeps_charts
            )
            self._shown, self._has_old_charts = content, frame.has_old_charts
            if not frame.has_old_charts:
                self._charts_due_at = time.monotonic() + self._pause_of_charts_s
            return SnapshotFetched(frame)
        except Exception as error:
            # Whatever the error, a dashboard left open overnight must show it and continue.
            self._shown = None
            return SnapshotFailed(error)

    @property
    def _pause_of_charts_s(self) -> float:
        usage = self._usage_of_machine
        is_dear = usage is not None and usage.num_workers > 0 and usage.cpu > BUSY
        return CHARTS_BESIDE_BUSY_WORKERS_S if is_dear else CHARTS_EVERY_S

    def _measure(self, snapshot: Snapshot) -> None:
        if time.monotonic() - self._measured_at >= USAGE_EVERY_S:
            self._usage_of_machine, self._measured_at = self._usage.read(_workers(snapshot)), time.monotonic()


def _workers(snapshot: Snapshot) -> set[int]:
    """Return the workers on this host."""
    here = socket.gethostname()
    return {
        run.status.pid
        for run in snapshot.runs
        if run.state == "running" and run.status.host == here and run.status.pid is not None
    }
