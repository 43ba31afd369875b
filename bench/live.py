"""``python -m bench.live``: measures a dashboard during training, 4 methods x 3 seeds of the demo's protocol.

Measures the delay between a task's record and its display; the processor time that two dashboards take to start, and
afterwards; and how much they slow training down, alternating with and without them. Takes about six minutes; nothing
else should run on the machine.
"""

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from bench.dashboard import Terminal, environment
from lop_engine.runs.reading import RunsReader
from lop_engine.runs.store import TableTail
from lop_tui.dashboard.app import Dashboard
from lop_tui.dashboard.reader import SnapshotFetched

METHODS = ("bp", "l2", "snp", "cbp")
NUM_TASKS = 100_000
"""More than the time allows."""
START_S = 10.0
"""Seconds after which two dashboards have imported their code and drawn all charts, also on full cores."""


@contextmanager
def training(runs_dir: Path) -> Iterator[None]:
    """Train in the background."""
    configs = [f"cfg/demo/{method}.json" for method in METHODS]
    command = [sys.executable, "-m", "lop_tui", "run", *configs, "--seeds", "3", "--runs-dir", str(runs_dir)]
    command += ["--set", f"num_tasks={NUM_TASKS}", "--workers", "2", "--runs-per-worker", "3"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as launcher:
        try:
            while not list(runs_dir.glob("*/*/*/tasks.json")):
                time.sleep(0.2)
                assert launcher.poll() is None
            yield
        finally:
            launcher.terminate()


@contextmanager
def dashboards(runs_dir: Path, number: int) -> Iterator[list[Terminal]]:
    """Run this many dashboards, each in a pseudo-terminal whose output is read."""
    command = [sys.executable, "-m", "lop_tui", "watch", str(runs_dir)]
    terminals = [Terminal(command, **environment(runs_dir)) for _ in range(number)]
    stopping = threading.Event()

    def drain() -> None:
        while not stopping.is_set():
            for terminal in terminals:
                terminal.drain(0.1)

    thread = threading.Thread(target=drain)
    thread.start()
    try:
        yield terminals
    finally:
        for terminal in terminals:
            terminal.press(b"q")
        time.sleep(1)
        stopping.set()
        thread.join()


class Timed(Dashboard):
    """A dashboard that records when it showed each number of tasks of a run."""

    def __init__(self, runs_dir: Path) -> None:
        super().__init__(RunsReader(runs_dir).read)
        self.shown_at: dict[tuple[Path, int], float] = {}

    def on_snapshot_fetched(self, message: SnapshotFetched) -> None:
        self.call_after_refresh(self.note, message)

    def note(self, message: SnapshotFetched) -> None:
        for run in message.view.runs:
            self.shown_at.setdefault((run.dir.path, len(run.seconds)), time.time())


def latencies(runs_dir: Path, for_s: float) -> list[float]:
    """Return seconds from each task's record to the frame that shows it."""
    written_at: dict[tuple[Path, int], float] = {}
    stopping = threading.Event()

    def look() -> None:
        tails: dict[Path, TableTail] = {}
        while not stopping.wait(0.02):
            for path in runs_dir.glob("*/*/*/tasks.json"):
                tail = tails.setdefault(path, TableTail(path))
                with suppress(OSError):
                    if tail.read_new():
                        written_at[path.parent, tail.num_documents] = time.time()

    async def show() -> Timed:
        app = Timed(runs_dir)
        async with app.run_test(size=(160, 48)) as pilot:
            await pilot.pause(for_s)
        return app

    thread = threading.Thread(target=look)
    thread.start()
    shown_at = asyncio.run(show()).shown_at
    stopping.set()
    thread.join()
    delays = []
    for (path, number), written in written_at.items():
        later = [at for (run, shown), at in shown_at.items() if run == path and shown >= number]
        if later and written > min(shown_at.values()):
            delays.append(min(later) - written)
    return delays


def seconds_a_task(runs_dir: Path, for_s: float) -> float:
    """Return the median wall time of the tasks that end within some time."""
    tails = [TableTail(path) for path in runs_dir.glob("*/*/*/tasks.json")]
    for tail in tails:
        tail.read_new()
    time.sleep(for_s)
    return statistics.median(document["seconds"] for tail in tails for document in tail.read_new()[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=20, help="of each half of a round")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, training(runs_dir := Path(directory) / "runs"):
        time.sleep(10)
        waited = latencies(runs_dir, 40)
        ratios, starts, shares = [], [], []
        for _ in range(given.rounds):
            alone = seconds_a_task(runs_dir, given.seconds)
            with dashboards(runs_dir, 2) as terminals:
                time.sleep(START_S)
                began = [terminal.elapsed for terminal in terminals]
                ratios.append(seconds_a_task(runs_dir, given.seconds) / alone)
                ended = [terminal.elapsed for terminal in terminals]
            starts += [cpu_s for _, cpu_s in began]
            shares += [(b[1] - a[1]) / (b[0] - a[0]) for a, b in zip(began, ended, strict=True)]
    table = Table("", "", title="a dashboard beside training")
    table.add_row("a task is on the screen after, s: median", f"{statistics.median(waited):.2f}")
    table.add_row(f"... at worst of {len(waited)}", f"{max(waited):.2f}")
    cores = psutil.cpu_count() or 1
    table.add_row(f"a dashboard's first {START_S:.0f} s, processor s: median", f"{statistics.median(starts):.2f}")
    table.add_row("a dashboard afterwards, % of a core: median", f"{100 * statistics.median(shares):.2f}")
    table.add_row("... each", " ".join(f"{100 * share:.2f}" for share in shares))
    table.add_row("two dashboards afterwards, % of all cores", f"{200 * statistics.median(shares) / cores:.2f}")
    table.add_row("time a task, two dashboards / none: median", f"{statistics.median(ratios):.3f}")
    table.add_row("... each round", " ".join(f"{ratio:.3f}" for ratio in ratios))
    Console().print(table)


if __name__ == "__main__":
    main()
