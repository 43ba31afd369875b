"""``python -m bench.make_runs DIR``: write a runs directory as large as the paper's, without training.

The files are written with the worker's code (`RunDir`, `TableWriter`); the values are invented.
"""

import argparse
import os
import socket
import time
from pathlib import Path

import numpy as np
import psutil

from lop_engine.experiment import registry
from lop_engine.experiment.problems import CONTINUAL_IMAGENET
from lop_engine.runs.directory import RunDir, write_json
from lop_engine.runs.records import RunStatus, epoch_document, task_document
from lop_engine.runs.store import TableWriter

#: Test accuracy at the first task and after many tasks, and the final proportion of dormant units.
METHODS = {"bp": (0.84, 0.74, 0.55), "l2": (0.85, 0.89, 0.12), "snp": (0.84, 0.89, 0.03), "cbp": (0.84, 0.905, 0.01)}
OTHERS = tuple(name for name in registry.METHODS.built_in if name not in METHODS)
NUM_EPOCHS = 250
STEPS_PER_EPOCH = 12


def invented_metrics(method: str, seed: int, num_tasks: int) -> dict[str, np.ndarray]:
    """Return each metric over tasks, shape (num_tasks,)."""
    rng = np.random.default_rng([seed, *method.encode()])
    first, last, dormant = METHODS.get(method) or (0.84, *rng.uniform((0.7, 0.01), (0.9, 0.5)))
    progress = 1 - np.exp(-np.arange(num_tasks) / 1500)
    wear = dormant * progress * rng.uniform(0.7, 1.3)
    accuracy = first + (last - first) * progress + rng.normal(0, 0.05, num_tasks)
    columns = (
        np.clip(accuracy + 0.06, 0, 1),
        np.clip(accuracy, 0, 1),
        10 ** (-4 + 2 * wear + rng.normal(0, 0.2, num_tasks)),
        0.02 * (1 + 3 * progress * (last < first)) + rng.normal(0, 1e-4, num_tasks),
        np.clip(wear + rng.normal(0, 0.01, num_tasks), 0, 1),
        60 * (1 - wear) + rng.normal(0, 2, num_tasks),
        80 * (1 - wear) + rng.normal(0, 2, num_tasks),
    )
    return dict(zip(CONTINUAL_IMAGENET.metrics, columns, strict=True))


def names(num_methods: int) -> list[str]:
    """Return the names of the first methods: those of the paper's figures, then others of lop."""
    return [*METHODS, *OTHERS][:num_methods]


def write_run(
    runs_dir: Path, method: str, seed: int, num_tasks: int, tasks_done: int, running: bool, num_recorded_epochs: int
) -> None:
    """Write one run with `tasks_done` tasks, and the epochs of the last ones."""
    run_dir = RunDir(runs_dir / method / "default" / f"seed_{seed:03d}")
    run_dir.path.mkdir(parents=True)
    spec = {"agent": method, "step_size": 0.01, "momentum": 0.9, "num_tasks": num_tasks, "num_showings": NUM_EPOCHS}
    write_json(run_dir.run_json, {"spec": spec | {"num_classes": 2, "mini_batch_size": 100}, "seed": seed})
    metrics = invented_metrics(method, seed, num_tasks)
    with TableWriter(run_dir.tasks_json, "tasks") as table:
        append_tasks(table, metrics, range(tasks_done))
    with TableWriter(run_dir.epochs_json, "epochs") as table:
        for task in range(max(0, tasks_done - num_recorded_epochs), tasks_done):
            for epoch in range(NUM_EPOCHS):
                learned = 1 - 0.5 * np.exp(-epoch / 30)
                values = {name: float(column[task]) * learned for name, column in metrics.items()}
                table.append(epoch_document(task, epoch, values))
    process = psutil.Process()
    run_dir.write_status(
        RunStatus(
            state="running" if running else "finished",
            num_tasks=num_tasks,
            num_epochs=NUM_EPOCHS,
            tasks_done=tasks_done,
            pid=os.getpid() if running else None,
            pid_started_at=process.create_time() if running else None,
            host=socket.gethostname(),
            device="cpu",
            started_at=time.time() - 30.0 * tasks_done,
            heartbeat_at=time.time(),
            epochs_per_s=8.0 if running else None,
        )
    )


def append_tasks(table: TableWriter, metrics: dict[str, np.ndarray], tasks: range) -> None:
    """Record `tasks` like a worker."""
    columns = list(metrics.items())
    for task in tasks:
        values = {name: float(column[task]) for name, column in columns}
        table.append(task_document(task, {"classes": [2 * task % 1000, (2 * task + 1) % 1000]}, 30.0, values))


def write_tree(
    runs_dir: Path,
    num_seeds: int = 30,
    num_tasks: int = 5000,
    tasks_done: int | None = None,
    running: bool = False,
    num_recorded_epochs: int = 0,
    num_methods: int = len(METHODS),
) -> None:
    """Write `num_methods` methods of `num_seeds` seeds.

    The statuses of `running` runs name this process as their worker.
    """
    for method in names(num_methods):
        for seed in range(num_seeds):
            done = num_tasks if tasks_done is None else tasks_done
            write_run(runs_dir, method, seed, num_tasks, done, running, num_recorded_epochs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--methods", type=int, default=len(METHODS))
    parser.add_argument("--tasks", type=int, default=5000)
    parser.add_argument("--done", type=int, default=None, help="tasks that are done; all of them by default")
    parser.add_argument("--epochs-of", type=int, default=0, metavar="N", help="record the epochs of the last N tasks")
    given = parser.parse_args()
    write_tree(
        given.directory,
        given.seeds,
        given.tasks,
        given.done,
        num_recorded_epochs=given.epochs_of,
        num_methods=given.methods,
    )


if __name__ == "__main__":
    main()
