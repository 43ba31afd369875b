"""`lop run` as a user starts it, in a separate process and directory."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from bench.gpu.engine import Setup
from lop_engine.errors import StoreError
from lop_engine.runs.directory import RunDir, find_runs
from lop_engine.runs.store import read_table

ROOT = Path(__file__).parents[2]
WAIT_S = 90.0
POLL_S = 0.05
GONE_S = 5.0


class LopRun:
    """A `lop run` of cbp on the built-in images, all seeds in one worker.

    Args:
        directory: a new directory, made here.
        settings: keys of the experiment.
    """

    def __init__(self, directory: Path, setup: Setup, num_seeds: int, settings: Mapping[str, object]) -> None:
        self.setup, self.runs_dir, self.num_seeds = setup, directory / "runs", num_seeds
        directory.mkdir()
        # Use no lop.toml, cache or settings of the user who runs the check.
        homes = {name: str(directory) for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME")}
        self._environment = {**os.environ, **homes}
        given = [word for key, value in settings.items() for word in ("--set", f"{key}={json.dumps(value)}")]
        seeds = ["--seeds", str(num_seeds), "--data", "synthetic", "--retries", "0", *given]
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
        """Process ids of the workers that train these runs, according to their status."""
        workers = set()
        for run_dir in self.run_dirs:
            with suppress(OSError, StoreError):
                status = run_dir.read_status()
                if status.state == "running" and status.pid:
                    workers.add(status.pid)
        return sorted(workers)

    def kill_worker(self) -> bool:
        """Kill the worker after its second checkpoint; return False if it ended before."""

        def is_due() -> bool:
            dirs = self.run_dirs
            return len(dirs) == self.num_seeds and all(each.previous_checkpoint.exists() for each in dirs)

        if not wait_until(lambda: is_due() or self.has_ended):
            return False
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)
        return self.wait() != 0

    def documents(self) -> list[list[dict[str, Any]]]:
        """Every record of every seed, without the wall time of tasks."""
        tables = [list(read_table(path)) for run_dir in self.run_dirs for path in run_dir.records]
        return [[{k: v for k, v in record.items() if k != "seconds"} for record in table] for table in tables]

    def num_epochs(self) -> int:
        """Epochs that the first seed has recorded."""
        path = self.run_dirs[0].epochs_json if self.run_dirs else None
        return sum(1 for _ in read_table(path)) if path and path.exists() else 0

    def train_until(self, num_epochs: int) -> None:
        """Wait until `num_epochs` epochs are recorded. Raises TimeoutError; the run may also have ended."""
        if not wait_until(lambda: self.num_epochs() >= num_epochs or self.has_ended):
            raise TimeoutError(f"lop {self._word} did not train {num_epochs} epochs within {WAIT_S:.0f} s")

    def log(self) -> str:
        """What the workers printed, and the notes in their status."""
        logs = [run_dir.log.read_text(errors="replace") for run_dir in self.run_dirs if run_dir.log.exists()]
        return "\n".join([*logs, *(run_dir.read_status().note or "" for run_dir in self.run_dirs)])

    def end(self) -> None:
        """Kill the command and its workers if they still run, even a worker that has not begun to train."""
        with suppress(psutil.NoSuchProcess):
            family = psutil.Process(self._process.pid).children(recursive=True)
            self._process.kill()
            for process in family:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(family, timeout=GONE_S)
        self._process.wait()

    def _where(self) -> Sequence[str]:
        # All seeds in one worker. On a CPU, a plan for two workers leaves this one half of the cores.
        workers, seeds = "1" if self.setup.on_gpu else "2", str(self.num_seeds)
        device = ("--device", str(self.setup.device), "--workers", workers, "--runs-per-worker", seeds)
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


@contextmanager
def lop_runs(
    setup: Setup, names: Sequence[str], num_seeds: int, settings: Mapping[str, object]
) -> Iterator[list[LopRun]]:
    """Start runs with equal settings side by side, and end them afterwards. If the block fails, print their logs."""
    with tempfile.TemporaryDirectory(prefix="lop-gpu-check-") as directory:
        begun: list[LopRun] = []
        try:
            begun += [LopRun(Path(directory) / name, setup, num_seeds, settings) for name in names]
            yield begun
        except Exception:
            for run in begun:
                print(run.log()[-2000:], file=sys.stderr)
            raise
        finally:
            for run in begun:
                run.end()


def wait_until(condition: Callable[[], bool]) -> bool:
    """Poll a condition; return False if it does not become true in time."""
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(POLL_S)
    return False
