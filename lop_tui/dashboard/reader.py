"""The thread that reads the runs and computes frames, so that the screen never waits for a disk."""

import threading
from collections.abc import Callable

from textual.message import Message

from lop_engine.runs import Snapshot
from lop_tui.dashboard.model import View, build_view, find_nested


class SnapshotFetched(Message):
    """A frame is ready to be shown."""

    def __init__(self, view: View) -> None:
        super().__init__()
        self.view = view


class SnapshotFailed(Message):
    """The runs could not be read this time; the reader goes on trying."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


class SnapshotReader(threading.Thread):
    """Calls `read` every `refresh_s` seconds and delivers what came of it, until stopped."""

    def __init__(self, read: Callable[[], Snapshot], deliver: Callable[[Message], object], refresh_s: float) -> None:
        super().__init__(name="snapshot-reader", daemon=True)
        self._read = read
        self._deliver = deliver
        self._refresh_s = refresh_s
        self._wake = threading.Event()
        self._stopped = False
        self._paused = False
        self._view: View | None = None

    def run(self) -> None:
        while not self._stopped:
            self._wake.clear()
            if not self._paused:
                message = self._fetch()
                if not self._stopped:
                    self._deliver(message)
            self._wake.wait(None if self._paused else self._refresh_s)

    def pause(self, paused: bool) -> None:
        """Stop reading for a while; on the way back read at once."""
        self._paused = paused
        self._wake.set()

    def stop(self) -> None:
        """Ask the thread to end."""
        self._stopped = True
        self._wake.set()

    def _fetch(self) -> Message:
        try:
            snapshot = self._read()
            nested = [] if snapshot.runs else find_nested(snapshot.runs_dir)
            self._view = build_view(snapshot, self._view, nested)
        except Exception as error:
            # Whatever it is, a dashboard left open overnight must say so and go on.
            return SnapshotFailed(error)
        return SnapshotFetched(self._view)
