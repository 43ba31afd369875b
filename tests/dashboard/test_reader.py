"""The thread that reads the runs for the dashboard."""

import time
from pathlib import Path

from lop_engine.runs.reading import WATCHING_SHARE, pause_after
from lop_engine.runs.views import Snapshot
from lop_tui.dashboard.reader import SnapshotReader


def _number_of_reads(cpu_s: float, for_s: float) -> int:
    """How often the thread reads if each reading takes `cpu_s` of a core."""
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


def test_many_runs_are_read_less_often() -> None:
    assert _number_of_reads(cpu_s=0.05, for_s=1.5) <= 3


def test_the_pause_keeps_reading_to_its_share_but_has_an_end() -> None:
    assert pause_after(0.001, least_s=0.5) == 0.5
    assert pause_after(0.1, least_s=0.5) == 0.1 / WATCHING_SHARE
    assert pause_after(60.0, least_s=0.5) == 5.0
    assert pause_after(60.0, least_s=30.0) == 30.0
