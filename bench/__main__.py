"""``make bench``: the costs that matter, on this machine, in one run.

What is compared is measured in turn, round after round, and given as a median: machines are shared and noisy, ratios
within a run hold where single times do not. One thread, and the environment of a worker.
"""

import itertools
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from bench.baseline import PlainStep
from lop_engine import checkpoint
from lop_engine.checkpoint import Checkpoint
from lop_engine.datasets import ClassFolder, ImageSet, SyntheticImages
from lop_engine.datasets.importing import ImportOptions, write_dataset
from lop_engine.datasets.importing.stand_in import StandIn
from lop_engine.launch import worker_environment
from lop_engine.learners import Learner, build_learner
from lop_engine.records import METRICS, epoch_document
from lop_engine.rundir import RunDir
from lop_engine.spec import Spec
from lop_engine.store import TableTail, TableWriter
from lop_engine.training import Position, Task, batch_order, measure_epoch, tasks, train_epoch

CPU = torch.device("cpu")
GFLOP_A_STEP = 3.1
"""Of the paper's network on 100 images, forward and backward."""

METHODS = {
    "bp": {"agent": "bp"},
    "l2": {"agent": "bp", "weight_decay": 1e-5},
    "snp": {"agent": "bp", "weight_decay": 1e-5, "perturb_scale": 1e-5},
    "cbp": {"agent": "cbp", "util_type": "adaptable_contribution", "replacement_rate": 3e-4},
}


def interleaved(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median milliseconds of each call, taken in turn after one warm-up each."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            times[name].append(1000 * (time.perf_counter() - began))
    return {name: statistics.median(values) for name, values in times.items()}


def paper_spec(**changes: object) -> Spec:
    base = {"step_size": 0.01, "momentum": 0.9, "num_tasks": 3, "num_showings": 250, "dataset": "synthetic"}
    return Spec(**(base | changes))  # type: ignore[arg-type]


def our_step(method: str, num_seeds: int) -> Callable[[], object]:
    learner = build_learner(paper_spec(**METHODS[method]), list(range(num_seeds)), CPU)
    learner.start_epoch(0, 0)
    images = torch.randn(num_seeds, 100, 32, 32, 3).permute(0, 1, 4, 2, 3)
    labels = torch.randint(0, 2, (num_seeds, 100))
    return lambda: learner.step(images, labels)


def plain_step() -> Callable[[], object]:
    step, images, labels = PlainStep(), torch.randn(100, 3, 32, 32), torch.randint(0, 2, (100,))
    return lambda: step(images, labels)


def matrix_product() -> Callable[[], object]:
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    return lambda: a @ b


def bench_steps(console: Console) -> None:
    calls = {"plain torch modules": plain_step(), "1024^3 matrix product": matrix_product()}
    calls |= {f"{method}, 1 seed": our_step(method, 1) for method in METHODS}
    calls |= {f"{method}, 4 seeds": our_step(method, 4) for method in ("bp", "cbp")}
    medians = interleaved(calls, rounds=15)
    product_rate = 2 * 1024**3 / 1e6 / medians.pop("1024^3 matrix product")
    table = Table(title=f"training step, 100 images, one thread; matrix product {product_rate:.0f} GFLOP/s")
    for heading in ("", "ms a seed", "GFLOP/s", "% of product", "speed / plain"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, median in medians.items():
        a_seed = median / (4 if "4 seeds" in name else 1)
        rate = GFLOP_A_STEP / a_seed * 1000
        speed = medians["plain torch modules"] / a_seed
        table.add_row(name, f"{a_seed:.1f}", f"{rate:.0f}", f"{100 * rate / product_rate:.0f}", f"{speed:.2f}")
    console.print(table)


def bench_task(console: Console) -> None:
    spec = paper_spec(**METHODS["cbp"])
    images = SyntheticImages(1000)
    task: Task = next(tasks(spec, [0], images, CPU))
    learner = build_learner(spec, [0], CPU)
    learner.start_epoch(0, 0)
    order_SN = batch_order([0], 1200, 0, 0, CPU)
    zeros = torch.zeros(1)

    def metrics(**changes: object) -> object:
        return measure_epoch(spec.model_copy(update=changes), learner, task, order_SN, (0, 0), [zeros], zeros)

    medians = interleaved(
        {
            "training epoch (12 steps)": lambda: train_epoch(spec, learner, task, order_SN),
            "test accuracy (200 images)": lambda: metrics(metrics=("test_accuracy",)),
            "seven metrics, curvature on 100 images": lambda: metrics(curvature_images=100),
        },
        rounds=3,
    )
    medians |= interleaved({"seven metrics, curvature on 1200 images": metrics}, rounds=1)
    medians["checkpoint on the disk"] = bench_checkpoint(learner)
    table = Table(title="parts of a task of the paper's protocol, cbp, one seed, one thread")
    table.add_column("")
    table.add_column("ms", justify="right")
    for name, median in medians.items():
        table.add_row(name, f"{median:.0f}")
    task_ms = spec.num_showings * medians["training epoch (12 steps)"]
    for name, median in bench_switch(spec).items():
        table.add_row(f"next task, {name} ({100 * median / task_ms:.2g} % of a task's training)", f"{median:.0f}")
    console.print(table)


def bench_checkpoint(learner: Learner) -> float:
    """Milliseconds to write one seed's state."""
    with tempfile.TemporaryDirectory() as directory:
        run_dir = RunDir(Path(directory))

        def save() -> None:
            tensors = {name: tensor[0] for name, tensor in learner.state().items()}
            checkpoint.save(run_dir, Checkpoint(Position(), 0, 0, tensors))

        return interleaved({"": save}, rounds=20)[""]


def bench_switch(spec: Spec) -> dict[str, float]:
    """Milliseconds from nothing to a task's images on the device, without the head start they have in a run."""
    spec = spec.model_copy(update={"num_tasks": 1000})
    made = SyntheticImages(16)
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory) / "set"
        write_dataset(StandIn(made), made.name, folder, ImportOptions(), lambda *_: None)
        stored = ClassFolder.open(folder)
        places = itertools.count()

        def switch(images: ImageSet) -> None:
            next(tasks(spec, [0], images, CPU, start=next(places)))

        return interleaved(
            {
                "images on disk": lambda: switch(stored),
                "images made": lambda: switch(SyntheticImages(16, seed=next(places))),
            },
            rounds=8,
        )


def bench_store(console: Console) -> None:
    document = epoch_document(4999, 249, dict.fromkeys(METRICS, 0.123456))
    table = Table(title="append one epoch document")
    for heading in ("documents in the file", "us an append", "ms to read a new one", "ms to cut one off", "bytes each"):
        table.add_column(heading, justify="right")
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "epochs.json"
        for size in (0, 10_000, 100_000, 1_250_000):
            table.add_row(f"{size:,}", *store_row(path, document, size))
    console.print(table)


def store_row(path: Path, document: dict[str, object], size: int) -> list[str]:
    """The costs of a file that has grown to `size` documents."""
    with TableWriter(path, "epochs") as writer:
        writer.extend([document] * (size - writer.num_documents))
        micros = 1000 * interleaved({"": lambda: writer.append(document)}, rounds=1000)[""]
        tail = TableTail(path)
        tail.read_new()

        def read_one() -> None:
            writer.append(document)
            tail.read_new()

        read_ms = interleaved({"": read_one}, rounds=100)[""]
        bytes_each = path.stat().st_size / writer.num_documents
    cut_ms = interleaved({"": lambda: cut_one(path)}, rounds=20)[""]
    return [f"{micros:.1f}", f"{read_ms:.2f}", f"{cut_ms:.2f}", f"{bytes_each:.0f}"]


def cut_one(path: Path) -> None:
    """What a resume does: open a file, cut back to what the checkpoint covers."""
    with TableWriter(path, "epochs") as writer:
        keep = writer.num_documents - 1
    TableWriter(path, "epochs", keep=keep).close()


def main() -> None:
    if "MALLOC_TOP_PAD_" not in os.environ:  # the allocator's settings count from a process's start
        os.execve(sys.executable, [sys.executable, "-m", "bench"], worker_environment(threads=1))
    console = Console()
    torch.set_num_threads(1)
    for bench in (bench_steps, bench_task, bench_store):
        bench(console)


main()
