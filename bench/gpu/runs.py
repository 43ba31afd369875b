"""`lop run` through real workers: killed, resumed and held against uninterrupted runs; and what the dashboard shows."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from bench.gpu.engine import Setup
from bench.gpu.results import Report
from lop_engine.errors import StoreError
from lop_engine.rundir import RunDir, find_runs
from lop_engine.store import read_table
from lop_engine.usage import Usage, UsageReader

ROOT = Path(__file__).parents[2]
NUM_SEEDS = 4
WAIT_S = 90.0
POLL_S = 0.05
BETWEEN_LOOKS_S = 1.0
NOISE = 3
"""Where two uninterrupted runs differ, a resumed run may differ from one by this many times as much."""

_SETTINGS = {
    "num_tasks": 6,
    "num_showings": 40,
    "train_images": 600,
    "test_images": 100,
    "curvature_images": 100,
    "maturity_threshold": 20,
    "replacement_rate": 0.003,
    "checkpoint_every_s": 0.3,
}
_SMALL = {
    "num_tasks": 4,
    "num_showings": 4,
    "width": 0.125,
    "train_images": 40,
    "test_images": 20,
    "mini_batch_size": 20,
    "curvature_images": 20,
}

#: What a log or a status says where a worker trains more slowly than it should.
_FALLBACK = "without CUDA graphs"


class LopRun:
    """A `lop run` of a few seeds in one worker."""

    def __init__(self, directory: Path, setup: Setup) -> None:
        self.setup, self.runs_dir, self.directory = setup, directory / "runs", directory
        directory.mkdir()
        # No lop.toml, cache or settings of the person who runs the check.
        homes = {name: str(directory) for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME")}
        self._environment = {**os.environ, **homes}
        settings = _SETTINGS | setup.pick({}, _SMALL)
        given = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        seeds = ["--seeds", str(NUM_SEEDS), "--data", "synthetic", "--retries", "0", *given]
        self._process = self._lop("run", str(ROOT / "cfg/cbp.json"), *seeds, *self._where())

    @property
    def run_dirs(self) -> list[RunDir]:
        return sorted(find_runs(self.runs_dir)) if self.runs_dir.is_dir() else []

    @property
    def has_ended(self) -> bool:
        """Whether the command has ended."""
        return self._process.poll() is not None

    def wait(self) -> int:
        """Wait for the command to end; return its exit status. Raises TimeoutError."""
        try:
            return self._process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"lop {self._word} did not end within {WAIT_S:.0f} s") from None

    def resume(self) -> int:
        """Run `lop resume` to its end; return its exit status."""
        self._process = self._lop("resume", *self._where())
        return self.wait()

    def watch(self) -> str:
        """One frame of the dashboard as text."""
        command = [sys.executable, "-m", "lop_tui", "watch", "--once", str(self.runs_dir)]
        frame = subprocess.run(command, env=self._environment, capture_output=True, text=True, timeout=WAIT_S)
        return frame.stdout

    def pids(self) -> list[int]:
        """The workers that train these runs, as far as their status says."""
        found = set()
        for run_dir in self.run_dirs:
            with suppress(OSError, StoreError):
                status = run_dir.read_status()
                if status.state == "running" and status.pid:
                    found.add(status.pid)
        return sorted(found)

    def kill_worker(self) -> bool:
        """Kill the worker once it has written a checkpoint on its way; False if it ended before."""

        def is_due() -> bool:
            dirs = self.run_dirs
            return len(dirs) == NUM_SEEDS and all(each.previous_checkpoint.exists() for each in dirs)

        if not _wait_until(lambda: is_due() or self.has_ended):
            return False
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)
        return self.wait() != 0

    def documents(self) -> list[list[dict[str, Any]]]:
        """Every record of every seed, but for the wall time of its tasks."""
        tables = [list(read_table(path)) for run_dir in self.run_dirs for path in run_dir.records]
        return [[{k: v for k, v in record.items() if k != "seconds"} for record in table] for table in tables]

    def log(self) -> str:
        """What the workers printed, and the notes in their status."""
        logs = [run_dir.log.read_text(errors="replace") for run_dir in self.run_dirs if run_dir.log.exists()]
        return "\n".join([*logs, *(run_dir.read_status().note or "" for run_dir in self.run_dirs)])

    def end(self) -> None:
        """Kill what still runs."""
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()

    def _where(self) -> Sequence[str]:
        # All seeds in one worker. On a CPU the place for a second one keeps the first to half of the cores.
        workers, seeds = "1" if self.setup.on_gpu else "2", str(NUM_SEEDS)
        device = ("--device", str(self.setup.device), "--workers", workers, "--seeds-per-worker", seeds)
        return ("--runs-dir", str(self.runs_dir), *device)

    def _lop(self, *words: str) -> "subprocess.Popen[str]":
        self._word = words[0]
        return subprocess.Popen(
            [sys.executable, "-m", "lop_tui", *words],
            env=self._environment,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
            text=True,
        )


def runs(setup: Setup, report: Report) -> None:
    """Two uninterrupted runs and one that is killed and resumed, all begun at once."""
    with _lop_runs(setup, "whole", "again", "killed") as (whole, again, killed):
        was_killed = killed.kill_worker()
        _show_usage(setup, report, whole)
        resumed = killed.resume()
        statuses = whole.wait(), again.wait()
        expected = "exit status 0 of each"
        report.check("lop run, 4 seeds", statuses == (0, 0), f"exit status {statuses[0]}, {statuses[1]}", expected)
        expected = "the killed run fails; lop resume ends with exit status 0"
        found = f"{'killed' if was_killed else 'not killed'}; lop resume: exit status {resumed}"
        report.check("SIGKILL, then lop resume", was_killed and resumed == 0, found, expected)
        _compare(report, whole, again, killed)
        fallbacks = sum(_FALLBACK in run.log() for run in (whole, again, killed))
        report.check("CUDA graphs in the worker", fallbacks == 0, f"{fallbacks} fallbacks", "no worker falls back")


@contextmanager
def _lop_runs(setup: Setup, *names: str) -> Iterator[list[LopRun]]:
    with tempfile.TemporaryDirectory(prefix="lop-gpu-check-") as directory:
        begun: list[LopRun] = []
        try:
            begun += [LopRun(Path(directory) / name, setup) for name in names]
            yield begun
        except Exception:
            for run in begun:
                print(run.log()[-2000:], file=sys.stderr)
            raise
        finally:
            for run in begun:
                run.end()


def _compare(report: Report, whole: LopRun, again: LopRun, killed: LopRun) -> None:
    expected, repeated, resumed = (run.documents() for run in (whole, again, killed))
    num_records = sum(map(len, expected))
    same_places = _places(resumed) == _places(expected) and num_records > 0
    found = f"{sum(map(len, resumed))} of {num_records}"
    report.check("records after resume", same_places, found, "the same tasks and epochs, each once")
    if not same_places:
        return
    difference, noise = mean_difference(resumed, expected), mean_difference(repeated, expected)
    criterion = f"mean relative difference <= {NOISE} x that of two uninterrupted runs"
    found = f"{difference:.1e} (uninterrupted {noise:.1e}; 0 is to the last digit)"
    report.check("values after resume", difference <= NOISE * noise, found, criterion)


def _places(tables: list[list[dict[str, Any]]]) -> list[list[tuple[Any, ...]]]:
    return [[(record["task"], record.get("epoch"), record.get("classes")) for record in table] for table in tables]


def mean_difference(one: list[list[dict[str, Any]]], other: list[list[dict[str, Any]]]) -> float:
    """Mean over all metrics of all records of |a - b|, relative to the metric's mean size; infinite if keys differ."""
    differences: dict[str, list[float]] = {}
    sizes: dict[str, list[float]] = {}
    for mine, theirs in zip(one, other, strict=True):
        for record, expected in zip(mine, theirs, strict=True):
            if record.keys() != expected.keys():
                return float("inf")
            for name in record.keys() - {"task", "epoch", "classes"}:
                a, b = (np.nan if each[name] is None else float(each[name]) for each in (record, expected))
                same = a == b or (np.isnan(a) and np.isnan(b))
                differences.setdefault(name, []).append(0.0 if same else abs(a - b))
                sizes.setdefault(name, []).append(abs(b))
    relative = [np.mean(values) / max(1e-12, float(np.nanmean(sizes[name]))) for name, values in differences.items()]
    return float(np.nan_to_num(np.mean(relative), nan=np.inf))


def _show_usage(setup: Setup, report: Report, run: LopRun) -> None:
    """What the dashboard's last line says while a run trains, and a frame of it as text."""
    from lop_tui.dashboard.widgets.system_line import describe_usage

    criterion = "names the GPU, its use and its memory (pip install 'lop[gpu]')"
    with report.attempt("the dashboard's GPU line", criterion):
        usage = _read_usage(run)
        parts = describe_usage(usage)
        shown = bool(usage.gpus) or not setup.on_gpu
        report.check("the dashboard's GPU line", shown, "; ".join(parts[:-1]) or "no GPU", criterion)
    criterion = "shows the run"
    with report.attempt("lop watch --once", criterion):
        frame = run.watch()
        report.check("lop watch --once", "cbp" in frame, f"{len(frame.splitlines())} lines", criterion)


def _read_usage(run: LopRun) -> Usage:
    reader = UsageReader()
    _wait_until(lambda: bool(run.pids()) or run.has_ended)
    reader.read(run.pids())
    time.sleep(BETWEEN_LOOKS_S)
    return reader.read(run.pids())


def _wait_until(condition: Callable[[], bool]) -> bool:
    """Poll a condition; False if it does not come true in time."""
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(POLL_S)
    return False
