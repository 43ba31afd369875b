"""The thread that reads the runs for the dashboard."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from queue import Queue
from types import SimpleNamespace

import numpy as np
import pytest
from textual.message import Message

from lop_engine.machine.usage import Usage
from lop_engine.runs.reading import WATCHING_SHARE, pause_after
from lop_engine.runs.views import Snapshot
from lop_tui.dashboard import reader
from lop_tui.dashboard.model import View
from lop_tui.dashboard.reader import NothingNew, SnapshotFailed, SnapshotFetched, SnapshotReader
from lop_tui.dashboard.settings import Request, Settings


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


class Watched:
    """A reader thread that reads `snapshot`, and the messages that it delivers."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.messages: Queue[Message] = Queue()
        self.thread = SnapshotReader(self._read, self.messages.put, refresh_s=3600.0)

    def _read(self) -> Snapshot:
        if not self.snapshot.runs:
            raise OSError("gone")
        return self.snapshot

    def next(self) -> Message:
        return self.messages.get(timeout=20)

    def after_reading(self, snapshot: Snapshot | None = None) -> Message:
        self.snapshot = snapshot or self.snapshot
        self.thread.read_soon()
        return self.next()


@contextmanager
def watching(snapshot: Snapshot) -> Iterator[Watched]:
    one = Watched(snapshot)
    one.thread.start()
    try:
        yield one
    finally:
        one.thread.stop()
        one.thread.join()


@pytest.fixture
def watched(eleven_runs: Snapshot) -> Iterator[Watched]:
    with watching(eleven_runs) as one:
        yield one


def test_a_frame_is_made_only_if_something_has_changed(watched: Watched, eleven_runs: Snapshot) -> None:
    assert isinstance(watched.next(), SnapshotFetched)
    assert isinstance(watched.after_reading(), NothingNew)
    assert isinstance(watched.after_reading(replace(eleven_runs)), NothingNew)
    first, *others = eleven_runs.runs
    assert isinstance(watched.after_reading(replace(eleven_runs, runs=(replace(first), *others))), SnapshotFetched)
    watched.thread.ask(Request(window=(1.0, 5.0)))
    assert isinstance(watched.next(), SnapshotFetched)
    assert isinstance(watched.after_reading(), NothingNew)


def test_a_frame_is_made_again_after_a_failure_a_pause_and_for_views_that_follow_other_files(
    watched: Watched, eleven_runs: Snapshot
) -> None:
    assert isinstance(watched.next(), SnapshotFetched)
    assert isinstance(watched.after_reading(replace(eleven_runs, runs=())), SnapshotFailed)
    assert isinstance(watched.after_reading(eleven_runs), SnapshotFetched)
    watched.thread.pause(True)
    watched.thread.pause(False)
    messages = [watched.next()]
    while isinstance(messages[-1], NothingNew):
        messages.append(watched.next())
    assert isinstance(messages[-1], SnapshotFetched)
    watched.thread.ask(Request(heat_of="bp"))
    assert isinstance(watched.next(), SnapshotFetched)
    assert isinstance(watched.after_reading(), SnapshotFetched)


def test_the_usage_of_the_machine_is_measured_every_two_seconds(
    eleven_runs: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[object] = []
    monkeypatch.setattr(reader.UsageReader, "read", lambda self, pids: measured.append(pids))
    clock = stopped_clock(monkeypatch)
    with watching(eleven_runs) as watched:
        watched.next()
        for clock[0] in (101.0, 102.0, 103.0, 104.0):
            watched.after_reading()
    assert len(measured) == 3


@pytest.mark.parametrize(("share_of_cores", "pause_s"), [(0.5, 1.8), (0.95, 5.0)], ids=["idle cores", "busy cores"])
def test_charts_get_news_less_often_than_the_table(
    eleven_runs: Snapshot, monkeypatch: pytest.MonkeyPatch, share_of_cores: float, pause_s: float
) -> None:
    usage = Usage(share_of_cores, 3 * 2**30, 16 * 2**30, 2, 1.9, 700 * 2**20)
    monkeypatch.setattr(reader.UsageReader, "read", lambda self, pids: usage)
    clock = stopped_clock(monkeypatch)
    longer = with_four_tasks_more(eleven_runs)
    with watching(eleven_runs) as watched:
        first = view_of(watched.next())
        clock[0] += pause_s - 0.1
        early = view_of(watched.after_reading(longer))
        assert isinstance(watched.after_reading(), NothingNew)
        clock[0] += 0.2
        late = view_of(watched.after_reading())
        assert isinstance(watched.after_reading(), NothingNew)
    assert early.charts == first.charts
    assert early.row("cbp") != first.row("cbp")
    assert late.charts != first.charts
    assert [early.has_old_charts, late.has_old_charts] == [True, False]


def test_charts_get_news_at_once_when_a_run_ends_and_when_the_user_acts(
    eleven_runs: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped_clock(monkeypatch)
    longer = with_four_tasks_more(eleven_runs)
    first, *others = longer.runs
    with watching(eleven_runs) as watched:
        watched.next()
        assert view_of(watched.after_reading(longer)).has_old_charts
        stopped = replace(longer, runs=(replace(first, state="stopped"), *others))
        assert not view_of(watched.after_reading(stopped)).has_old_charts
        assert view_of(watched.after_reading(with_four_tasks_more(stopped))).has_old_charts
        watched.thread.ask(Request(Settings(bin_size=1)))
        assert not view_of(watched.next()).has_old_charts


def view_of(message: Message) -> View:
    assert isinstance(message, SnapshotFetched)
    return message.view


def with_four_tasks_more(snapshot: Snapshot) -> Snapshot:
    """The same after another bin of each run of cbp."""
    runs = [
        replace(run, series={name: np.append(values, np.full(4, 0.5)) for name, values in run.series.items()})
        if run.experiment == "cbp"
        else run
        for run in snapshot.runs
    ]
    return replace(snapshot, runs=tuple(runs))


def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Stop the reader's clock at a time that the test sets."""
    clock = [100.0]
    monkeypatch.setattr(reader, "time", SimpleNamespace(monotonic=lambda: clock[0], thread_time=time.thread_time))
    return clock
