"""Measure real workers that train on the smallest tasks, for `bench.growth`."""

import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from lop_engine.experiment.problems import CONTINUAL_IMAGENET
from lop_engine.experiment.run import Run
from lop_engine.experiment.spec import validate
from lop_engine.launch import LocalLauncher, Plan, Resources, prepare_run_dirs
from lop_engine.runs.directory import RunDir
from lop_engine.runs.store import TableTail, read_table

TINY = {
    "step_size": 0.01,
    "dataset": "synthetic",
    "dataset_classes": 20,
    "train_images": 20,
    "test_images": 10,
    "width": 0.1,
    "num_showings": 1,
    "mini_batch_size": 20,
    "metrics": tuple(name for name in CONTINUAL_IMAGENET.metrics if name != "curvature"),
}
CBP = {"util_type": "adaptable_contribution", "replacement_rate": 1e-3, "maturity_threshold": 20}
METHODS: dict[str, dict[str, Any]] = {"bp": {"agent": "bp"}, "cbp": {"agent": "cbp"} | CBP}

GROWING = ("worker.log", "tasks.json", "epochs.json")
FILES = (*GROWING, "checkpoint.pt")
LOOK_EVERY_S = 0.2
NUM_ROUNDS = 7
"""Rounds in which late and early tasks alternate, of a hundredth of a run each."""
NUM_BINS = 25
"""Bins of a run, for the processor time per task."""
MIB = 2**20


@dataclass(frozen=True)
class Trained:
    """Measurements of a trained stack of seeds. T: tasks, L: measurements of the worker."""

    num_seeds: int
    seconds_T: np.ndarray
    """Seconds in the records: training and measuring."""
    turns: np.ndarray
    """Milliseconds per task, (rounds, first and last tenth, processor and clock), measured alternately."""
    tasks_L: np.ndarray
    """Finished tasks."""
    cpu_s_L: np.ndarray
    """Processor time, records and checkpoints included; other programs change it little."""
    rss_L: np.ndarray
    """Memory in bytes."""
    bytes_L: dict[str, np.ndarray]
    """Sizes of files of all seeds."""

    @property
    def cpu_ms(self) -> tuple[np.ndarray, np.ndarray]:
        """Return (finished tasks, milliseconds of processor time per task) at the middle of each bin."""
        edges = np.linspace(self.tasks_L[0], self.tasks_L[-1], NUM_BINS + 1)
        spent_s = np.diff(np.interp(edges, self.tasks_L, self.cpu_s_L))
        return (edges[1:] + edges[:-1]) / 2, 1000 * spent_s / np.diff(edges)

    def at(self, share: float, values_L: np.ndarray) -> float:
        """Return a value at the time when `share` of the tasks were done."""
        return float(np.interp(share * len(self.seconds_T), self.tasks_L, values_L))

    def bytes_a_task(self, file: str, start: float, end: float) -> float:
        """Return a file's growth per task, from one share of the tasks to another."""
        span = np.clip(np.array([start, end]) * len(self.seconds_T), self.tasks_L[0], self.tasks_L[-1])
        return float((np.diff(np.interp(span, self.tasks_L, self.bytes_L[file])) / np.diff(span))[0])


def clock_ms(seconds: np.ndarray) -> float:
    """Return the median in milliseconds. Records have whole milliseconds, so it interpolates within them."""
    return statistics.median_grouped(1000 * seconds)


class Worker:
    """Seeds in one worker with one thread, and measurements of it."""

    def __init__(self, runs_dir: Path, method: str, num_seeds: int, num_tasks: int) -> None:
        spec = validate(METHODS[method] | TINY | {"num_tasks": num_tasks}, method)
        runs = [Run(method, "default", seed, spec) for seed in range(num_seeds)]
        self.run_dirs = prepare_run_dirs(runs_dir, runs).to_train
        self.tail, self.num_tasks = TableTail(self.run_dirs[0].tasks_json), num_tasks
        self.looks: list[tuple[float, ...]] = []
        self.launcher = LocalLauncher(Plan([self.run_dirs], Resources(["cpu"], 1, num_seeds)))
        self.launcher.poll()

    @property
    def process(self) -> psutil.Process:
        return psutil.Process(self.run_dirs[0].read_status().pid)

    def train_until(self, task: int, look_every_s: float = LOOK_EVERY_S) -> None:
        """Wait for a task, or the end, and measure the worker meanwhile."""
        while self.launcher.active and self.count() < task:
            # Start and end are left out, because they cost more than tasks.
            if 0 < self.tail.num_documents < self.num_tasks and (usage := look_at(self.run_dirs)):
                self.looks.append((self.tail.num_documents, *usage))
            time.sleep(look_every_s)
            self.launcher.poll()

    def count(self) -> int:
        """Return the number of finished tasks."""
        self.tail.read_new()
        return self.tail.num_documents

    def take_turn(self) -> np.ndarray:
        """Return milliseconds per task of processor and clock, in a hundredth of the run."""
        process, done = self.process, self.count()
        began, before = time.perf_counter(), sum(process.cpu_times()[:2])
        process.resume()
        self.train_until(done + self.num_tasks // 100, look_every_s=0.02)
        process.suspend()
        spent_s = sum(process.cpu_times()[:2]) - before, time.perf_counter() - began
        return 1000 * np.array(spent_s) / (self.count() - done)

    def end(self) -> None:
        """Kill the worker unless it has ended."""
        self.launcher.stop(at_once=True)
        while self.launcher.active:
            self.launcher.poll()


def train(method: str, num_seeds: int, num_tasks: int, in_turn: bool = False) -> Trained:
    """Train seeds to the end; `in_turn` measures the last tenth alternating with the first of another worker."""
    with tempfile.TemporaryDirectory() as directory:
        worker = Worker(Path(directory) / "whole", method, num_seeds, num_tasks)
        turns = np.empty((0, 2, 2))
        try:
            if in_turn:
                worker.train_until(9 * num_tasks // 10)
                turns = measure_in_turn(worker, Path(directory) / "first tenth", method)
            worker.train_until(num_tasks + 1)
        finally:
            worker.end()
        run_dir = worker.run_dirs[0]
        if (status := run_dir.read_status()).state != "finished":
            raise SystemExit(f"{run_dir.name}: {status.state}: {status.error}")
        seconds_T = np.array([document["seconds"] for document in read_table(run_dir.tasks_json)])
    tasks_L, cpu_s_L, rss_L, *sizes = np.array(worker.looks).T
    return Trained(num_seeds, seconds_T, turns, tasks_L, cpu_s_L, rss_L, dict(zip(FILES, sizes, strict=True)))


def measure_in_turn(late: Worker, runs_dir: Path, method: str) -> np.ndarray:
    """Return milliseconds per task, (rounds, early and late, processor and clock); `late` continues afterwards."""
    late.process.suspend()
    early = Worker(runs_dir, method, 1, late.num_tasks)
    try:
        early.train_until(late.num_tasks // 100)
        early.process.suspend()
        turns = np.array([(early.take_turn(), late.take_turn()) for _ in range(NUM_ROUNDS)])
    finally:
        early.end()
        with suppress(psutil.Error):
            late.process.resume()
    return turns


def look_at(run_dirs: Sequence[RunDir]) -> tuple[float, ...] | None:
    """Return a worker's processor time in seconds, memory and file sizes in bytes; None if it has ended."""
    try:
        process = psutil.Process(run_dirs[0].read_status().pid)
        cpu_s, rss = sum(process.cpu_times()[:2]), process.memory_info().rss
    except psutil.Error:
        return None
    paths = [[run_dir.path / file for run_dir in run_dirs] for file in FILES]
    sizes = [sum(path.stat().st_size for path in of_file if path.exists()) for of_file in paths]
    return (cpu_s, rss, *sizes) if rss else None  # a zombie process


def tenths(trained: Trained) -> dict[str, tuple[float, float]]:
    """Return the cost of a task in the first tenth of a run, and in the last."""
    (early_cpu, early_clock), (late_cpu, late_clock) = np.median(trained.turns, axis=0)
    sizes_L = trained.bytes_L["checkpoint.pt"]
    return {
        "processor, ms": (early_cpu, late_cpu),
        "clock, ms": (early_clock, late_clock),
        **{file: (trained.bytes_a_task(file, 0, 0.1), trained.bytes_a_task(file, 0.9, 1)) for file in GROWING},
        "checkpoint.pt": (trained.at(0.1, sizes_L), trained.at(1, sizes_L)),
        "memory, MiB": (trained.at(0.1, trained.rss_L) / MIB, trained.at(1, trained.rss_L) / MIB),
    }


def whole(trained: Trained) -> dict[str, float]:
    """Return the cost of a stack's task, for all its seeds, and the stack's memory."""
    cpu_s = trained.cpu_s_L[-1] - trained.cpu_s_L[0]
    return {
        "processor, ms": 1000 * cpu_s / (trained.tasks_L[-1] - trained.tasks_L[0]),
        "clock, ms": clock_ms(trained.seconds_T),
        "records, log": sum(trained.bytes_a_task(file, 0.1, 1) for file in GROWING),
        "checkpoint": trained.bytes_L["checkpoint.pt"][-1],
        "memory, MiB": trained.rss_L[-1] / MIB,
    }
