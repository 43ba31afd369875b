"""The thread that reads the runs for the dashboard."""

import threading
import time
from pathlib import Path

import pytest
from textual.message import Message

from lop_engine.runs.reading import WATCHING_SHARE, pause_after
from lop_engine.runs.views import Snapshot
from lop_tui.dashboard import reader
from lop_tui.dashboard.reader import SnapshotReader


def _number_of_reads(cpu_s: float, for_s: float) -> int:
    """Return how often the thread reads if each reading takes `cpu_s` seconds of processor time."""
    reads: list[float] = []

    def read() -> Snapshot:
        began = time.thread_time()
        reads.append(began)
        while time.thread_time() - began < cpu_s:
            pass
        return Snapshot(Path("runs"), (), True)

    thread = SnapshotReader(read, lambda message: None, refresh_s=0.01)
    thread.start()
    time.sleep(for_s)
    thread.stop()
    thread.join()
    return len(reads)


def test_the_curves_are_read_after_the_first_frame_is_on_the_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "FIRST_FRAME_S", 30.0)
    snapshot, calls, is_shown = Snapshot(Path("runs"), (), True), [], threading.Event()

    def read(name: str) -> Snapshot:
        calls.append(name)
        return snapshot

    def deliver(message: Message) -> None:
        calls.append("frame")
        if len(calls) == 4:
            is_shown.set()

    thread = SnapshotReader(lambda: read("curves"), deliver, 60.0, read_ends=lambda: read("ends"))
    thread.start()
    time.sleep(0.2)
    before = list(calls)
    thread.read_soon()
    assert is_shown.wait(20)
    thread.stop()
    thread.join()
    assert before == ["ends", "frame"]
    assert calls == ["ends", "frame", "curves", "frame"]


def test_many_runs_are_read_less_often() -> None:
    assert _number_of_reads(cpu_s=0.05, for_s=1.5) <= 3


def test_the_pause_limits_the_share_of_reading_up_to_a_maximum() -> None:
    assert pause_after(0.001, least_s=0.5) == 0.5
    assert pause_after(0.1, least_s=0.5) == 0.1 / WATCHING_SHARE
    assert pause_after(60.0, least_s=0.5) == 5.0
    assert pause_after(60.0, least_s=30.0) == 30.0
