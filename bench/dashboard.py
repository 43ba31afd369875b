"""``python -m bench.dashboard``: what the dashboard costs on a runs directory as large as the paper's.

Runs a real `lop watch` in a pseudo-terminal of 160 x 48, on 4 methods x 30 seeds x 5,000 tasks. Each figure is a median
over
rounds; a key's time is from the key to the last byte of the new screen. ``--start`` measures only the time
from the start of the process to the first frame and to all curves: ``python -m bench.dashboard --start --methods 20``.
"""

import argparse
import asyncio
import fcntl
import json
import os
import pty
import select
import signal
import statistics
import struct
import sys
import tempfile
import termios
import threading
import time
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from bench.make_runs import METHODS, append_tasks, invented_metrics, names, write_tree
from lop_engine.runs.directory import RunDir
from lop_engine.runs.store import TableWriter

NUM_TASKS = 5000
IDLE_S = 10.0
LIVE_S = 12.0
QUIET_S = 0.12
DRAWN_S = 0.4
"""All charts are drawn after this long without output."""
END_OF_PICTURE = b"\x1b[?2026l"
"""The end of a synchronised update."""
KEYS = {"cursor": b"\x1b[D", "band/seeds": b"s", "zoom": b"+", "next charts": b"]", "enlarge": b"1"}


class Terminal:
    """A program in a pseudo-terminal."""

    def __init__(self, command: list[str], columns: int = 160, rows: int = 48, /, **environment: str) -> None:
        self.started_at = time.perf_counter()
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.environ.update(environment, TERM="xterm-256color", COLORTERM="truecolor")
            os.execvp(command[0], command)
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    @property
    def elapsed(self) -> tuple[float, float]:
        """Return wall time since the start, and processor time of the program, in seconds."""
        times = psutil.Process(self.pid).cpu_times()
        return time.perf_counter() - self.started_at, times.user + times.system

    def end(self) -> None:
        """Kill the program."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._fd)

    def press(self, key: bytes) -> None:
        os.write(self._fd, key)

    def read(self, timeout_s: float) -> bytes:
        """Return the next output; empty if there is none within `timeout_s` or the program has ended."""
        ready, _, _ = select.select([self._fd], [], [], timeout_s)
        try:
            return os.read(self._fd, 1 << 20) if ready else b""
        except OSError:
            return b""

    def wait_for(self, what: bytes, timeout_s: float = 180) -> float:
        """Return seconds from the start until `what` was written."""
        received = b""
        while time.perf_counter() - self.started_at < timeout_s:
            received = received[-4096:] + self.read(1)
            if what in received:
                return time.perf_counter() - self.started_at
        raise TimeoutError(f"{what!r} never came")

    def drain(self, for_s: float) -> None:
        """Read the output for `for_s` seconds."""
        until = time.perf_counter() + for_s
        while (left := until - time.perf_counter()) > 0:
            self.read(left)

    def times_after(self, key: bytes) -> tuple[float, float]:
        """Return seconds from a key to the end of the first picture after it, and to the end of the last."""
        began = time.perf_counter()
        self.press(key)
        received, first = self.read(2), 0.0
        last = time.perf_counter()
        while more := self.read(QUIET_S):
            received, last = received + more, time.perf_counter()
            if not first and END_OF_PICTURE in received:
                first = last
        return (first or last) - began, last - began


class Trainer(threading.Thread):
    """A thread that records a task in every run each second, like workers."""

    def __init__(self, runs_dir: Path, num_methods: int, num_seeds: int, first_task: int) -> None:
        super().__init__(daemon=True)
        self._tables = [
            (TableWriter(RunDir(runs_dir / method / "default" / f"seed_{seed:03d}").tasks_json, "tasks"), metrics)
            for method in names(num_methods)
            for seed in range(num_seeds)
            if (metrics := invented_metrics(method, seed, NUM_TASKS))
        ]
        self._task = first_task
        self.stopping = threading.Event()

    def run(self) -> None:
        while not self.stopping.wait(1.0):
            for table, metrics in self._tables:
                append_tasks(table, metrics, range(self._task, self._task + 1))
            self._task += 1


def environment(runs_dir: Path) -> dict[str, str]:
    """Return an isolated environment with compiled modules: an installed lop does not compile them at each start."""
    cache = {"PYTHONPYCACHEPREFIX": str(runs_dir.parent / "compiled"), "PYTHONDONTWRITEBYTECODE": ""}
    return {"XDG_STATE_HOME": str(runs_dir.parent / "state"), **cache}


def measure_start(runs_dir: Path, rounds: int) -> dict[str, float]:
    """Return seconds from the start of `lop watch` to its first frame, with all latest values, and to all curves.

    The first start fills caches and does not count.
    """
    names = "first frame, s", "first frame, processor s", "all curves, s", "all curves, processor s", "memory then, MiB"
    starts = [_start(runs_dir) for _ in range(1 + rounds)][1:]
    return dict(zip(names, map(statistics.median, zip(*starts, strict=True)), strict=True))


def _start(runs_dir: Path) -> tuple[float, ...]:
    terminal = Terminal([sys.executable, "-m", "lop_tui", "watch", str(runs_dir)], **environment(runs_dir))
    terminal.wait_for(b"1 test accuracy")
    first_frame = terminal.elapsed
    terminal.wait_for(b"charts 1-")
    all_curves = terminal.elapsed
    while terminal.read(DRAWN_S):
        all_curves = terminal.elapsed
    memory = psutil.Process(terminal.pid).memory_info().rss / 2**20
    terminal.end()
    return *first_frame, *all_curves, memory


def measure(runs_dir: Path, num_methods: int, num_seeds: int, done: int) -> dict[str, float]:
    """Measure all figures: seconds, bytes, shares of a core."""
    blocks_path = runs_dir.parent / "blocks.json"
    figures = measure_start(runs_dir, rounds=3)
    terminal = Terminal(
        [sys.executable, "-m", "bench.dashboard", "--watch", str(runs_dir), "--blocks", str(blocks_path)],
        **environment(runs_dir),
    )
    terminal.wait_for(b"1 test accuracy")
    process = psutil.Process(terminal.pid)
    terminal.press(b"\x1b[?2026;1$y")  # like a terminal that supports synchronised updates
    terminal.drain(3)
    before = sum(process.cpu_times()[:2])
    terminal.drain(IDLE_S)
    figures["idle, % of a core"] = 100 * (sum(process.cpu_times()[:2]) - before) / IDLE_S
    for name, key in KEYS.items():
        times = []
        for _ in range(10):
            times.append(terminal.times_after(key))
            terminal.drain(0.3)
        first, last = (1000 * statistics.median(column) for column in zip(*times, strict=True))
        figures[f"key to screen, {name}, ms"] = first
        figures[f"... until all is drawn, {name}, ms"] = last
        terminal.press(b"0")
        terminal.drain(0.5)
    terminal.press(b"\x1b")
    terminal.drain(1)
    trainer = Trainer(runs_dir, num_methods, num_seeds, done)
    trainer.start()
    for name in ("bins of 50", "bins of 1"):
        clock = blocks_path.with_suffix(f".{name}")
        clock.touch()
        before = sum(process.cpu_times()[:2])
        terminal.drain(LIVE_S)
        figures[f"a new task of every run each second, {name}: % of a core"] = (
            100 * (sum(process.cpu_times()[:2]) - before) / LIVE_S
        )
        clock.unlink()
        terminal.press(b"b")
        terminal.drain(2)
    trainer.stopping.set()
    figures["memory, MiB"] = process.memory_info().rss / 2**20
    terminal.press(b"q")
    while not blocks_path.exists() and process.is_running():
        terminal.drain(0.5)
    for name, blocks in json.loads(blocks_path.read_text()).items():
        figures[f"a refresh blocks the screen, {name}: ms"] = 1000 * statistics.median(blocks)
        figures[f"... at worst, {name}: ms"] = 1000 * max(blocks)
    return figures


def watch_and_time(runs_dir: Path, blocks_path: Path) -> None:
    """Run the dashboard with a timer that records the longest block of its event loop in each second."""
    from lop_engine.runs.reading import RunsReader
    from lop_tui.dashboard.app import Dashboard

    blocks: dict[str, list[float]] = {}

    async def tick() -> None:
        began, longest = time.perf_counter(), 0.0
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.002)
            now = time.perf_counter()
            longest = max(longest, now - before - 0.002)
            if now - began > 1:
                for clock in blocks_path.parent.glob(f"{blocks_path.stem}.bins*"):
                    blocks.setdefault(clock.suffix[1:], []).append(longest)
                began, longest = now, 0.0

    class Timed(Dashboard):
        async def on_load(self) -> None:
            self.clock = asyncio.create_task(tick())

    Timed(RunsReader(runs_dir).read).run()
    blocks_path.write_text(json.dumps(blocks))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", type=int, default=len(METHODS))
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--start", action="store_true", help="measure only the first frame and the time to all curves")
    parser.add_argument("--rounds", type=int, default=3, help="of --start")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--watch", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--blocks", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.watch:
        watch_and_time(given.watch, given.blocks)
        return
    with tempfile.TemporaryDirectory() as directory:
        runs_dir, done = Path(directory) / "runs", NUM_TASKS - 100
        write_tree(runs_dir, given.seeds, NUM_TASKS, done, running=True, num_methods=given.methods)
        if given.start:
            figures = measure_start(runs_dir, given.rounds)
        else:
            figures = measure(runs_dir, given.methods, given.seeds, done)
    if given.json:
        print(json.dumps(figures, indent=2))
        return
    table = Table(title=f"lop watch, {given.methods} methods x {given.seeds} seeds x {NUM_TASKS} tasks, 160 x 48")
    table.add_column("")
    table.add_column("", justify="right")
    for name, value in figures.items():
        table.add_row(name, f"{value:.3g}")
    Console().print(table)


if __name__ == "__main__":
    main()
