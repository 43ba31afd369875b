"""``python -m bench.many_runs``: cost of records, statuses and checkpoints for a worker of many small runs.

A real worker in this process trains runs of the smallest MLP with all metrics except the curvature. Its time for each
kind of file is measured during training and given as a share of the whole time, because ratios are reliable on a busy
machine and single times are not.
"""

import argparse
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

from rich.console import Console
from rich.table import Table

from bench.growing import TINY
from lop_engine import files
from lop_engine.experiment.run import Run
from lop_engine.experiment.spec import validate
from lop_engine.launch import prepare_run_dirs
from lop_engine.processes import allow_more_open_files
from lop_engine.runs.files import RunFiles
from lop_engine.runs.locks import hold_together
from lop_engine.runs.store.writer import MOST_OPEN
from lop_engine.worker import stack
from lop_engine.worker.process import Worker

SMALLEST = {
    **{key: value for key, value in TINY.items() if key != "width"},
    "agent": "bp",
    "network": "mlp",
    "num_features": 8,
    "num_hidden_layers": 1,
    "num_showings": 5,
}
KINDS = ("records", "heartbeats", "checkpoints", "start and end")


class Stopwatch:
    """The seconds that a worker spends in each kind of call."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.calls: dict[str, int] = defaultdict(int)

    def timing(self, kind: str, call: Callable[..., Any], clock: Callable[[], float]) -> Callable[..., Any]:
        def timed(*args: Any, **more: Any) -> Any:
            began = clock()
            try:
                return call(*args, **more)
            finally:
                self.seconds[kind] += clock() - began
                self.calls[kind] += 1

        return timed

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Time a worker's files. Heartbeats run in parallel to training, so their cost is their processor time."""
        wall, thread = time.perf_counter, time.thread_time
        watched: Sequence[tuple[type, str, str, Callable[[], float]]] = (
            (stack._Stack, "_record", "records", wall),
            (stack._Stack, "_save", "checkpoints", wall),
            (RunFiles, "beat", "heartbeats", thread),
            (Worker, "_start", "start and end", wall),
            (Worker, "_end", "start and end", wall),
        )
        with ExitStack() as patches:
            for owner, name, kind, clock in watched:
                timed = self.timing(kind, getattr(owner, name), clock)
                patches.enter_context(patch.object(owner, name, timed))
            yield


def train(runs_dir: Path, num_runs: int, num_tasks: int) -> tuple[Stopwatch, float, int]:
    """Train `num_runs` in one worker; return the stopwatch, the total seconds, and the maximum number of open files."""
    spec = validate(SMALLEST | {"num_tasks": num_tasks}, "many runs")
    run_dirs = prepare_run_dirs(runs_dir, [Run("bp", "default", seed, spec) for seed in range(num_runs)]).to_train
    watch, began = Stopwatch(), time.perf_counter()
    with watch.watching(), hold_together(run_dirs) as give_back, open(os.devnull, "w") as log, redirect_stdout(log):
        worker = Worker(run_dirs, "cpu", 1, give_back=give_back)
        if worker.run():
            raise SystemExit(f"{run_dirs[0].path}: {run_dirs[0].read_status().error}")
        num_open = len(os.listdir("/proc/self/fd"))
    return watch, time.perf_counter() - began, num_open


def row(num_runs: int, num_tasks: int) -> list[str]:
    with tempfile.TemporaryDirectory() as name:
        watch, seconds, num_open = train(Path(name), num_runs, num_tasks)
    documents = num_runs * num_tasks * (SMALLEST["num_showings"] + 1)  # type: ignore[operator]
    shares = [f"{100 * watch.seconds[kind] / seconds:.2f}" for kind in KINDS]
    epoch_ms = 1000 * seconds / num_tasks / SMALLEST["num_showings"]  # type: ignore[operator]
    a_document = 1e6 * watch.seconds["records"] / documents
    a_beat = 1e6 * watch.seconds["heartbeats"] / max(1, watch.calls["heartbeats"])
    a_checkpoint = 1e3 * watch.seconds["checkpoints"] / max(1, watch.calls["checkpoints"]) / num_runs
    of_each = [f"{a_document:.0f}", f"{a_beat:.0f}", f"{a_checkpoint:.2f}"]
    return [f"{num_runs:,}", f"{seconds:.0f}", f"{epoch_ms:.0f}", *shares, *of_each, str(num_open)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, nargs="+", default=[1, 60, 1000], help="in the worker")
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("--at-once", type=int, default=files.MOST_AT_ONCE, help="checkpoints that wait for the disk")
    given = parser.parse_args()
    files.MOST_AT_ONCE = given.at_once
    allow_more_open_files()
    table = Table(title=f"a worker of many runs, {given.tasks} tasks; at most {MOST_OPEN} record files stay open")
    headings = [*(f"{kind}, % of the time" for kind in KINDS), "us a document", "us a heartbeat", "ms a checkpoint"]
    for heading in ("runs", "seconds", "ms an epoch", *headings, "open files"):
        table.add_column(heading, justify="right")
    for num_runs in given.runs:
        table.add_row(*row(num_runs, given.tasks))
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
