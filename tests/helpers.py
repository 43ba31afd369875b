"""The smallest experiment, and functions that write run directories without training."""

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lop_engine.experiment.keys import own_keys
from lop_engine.experiment.problems import CONTINUAL_IMAGENET
from lop_engine.runs.directory import RunDir, write_json
from lop_engine.runs.records import RunStatus, State, task_document
from lop_engine.runs.store import TableWriter

ROOT = Path(__file__).parents[1]
"""The checkout."""

#: The smallest experiment that trains: a few tasks in a second.
TINY = {
    "agent": "cbp",
    "step_size": 0.02,
    "replacement_rate": 0.05,
    "maturity_threshold": 3,
    "dataset": "synthetic",
    "dataset_classes": 6,
    "train_images": 12,
    "test_images": 6,
    "width": 0.125,
    "num_tasks": 3,
    "num_showings": 1,
    "mini_batch_size": 8,
    "metrics_every": 0,
    "curvature_images": 4,
}


def tiny(**changes: Any) -> dict[str, Any]:
    """Return TINY with some changes, without the keys that then have no effect."""
    values = TINY | changes
    own = own_keys(values)
    return {key: value for key, value in values.items() if key in own or key in changes}


#: Start and end of each metric over a run, by method, in the order of CONTINUAL_IMAGENET.metrics.
_COURSES = {
    "bp": ((0.99, 0.6), (0.86, 0.56), (4e-2, 6e-4), (0.02, 0.052), (0.002, 0.42), (58, 9), (88, 12)),
    "cbp": ((0.99, 0.99), (0.85, 0.88), (3e-2, 2e-2), (0.02, 0.024), (0.001, 0.012), (60, 66), (90, 95)),
    "l2": ((0.99, 0.95), (0.85, 0.8), (3e-2, 8e-3), (0.02, 0.018), (0.002, 0.12), (58, 34), (88, 52)),
    "snp": ((0.99, 0.97), (0.84, 0.85), (3e-2, 1e-2), (0.02, 0.019), (0.002, 0.04), (59, 48), (89, 71)),
}


def make_metrics(method: str, num_tasks: int, seed: int) -> dict[str, np.ndarray]:
    """Return plausible curves, each of shape (num_tasks,). Equal arguments give equal curves."""
    rng = np.random.default_rng([seed, len(method), ord(method[0])])
    share = 1 / (1 + np.exp(-9 * (np.arange(num_tasks) / max(1, num_tasks) - 0.4 - 0.03 * rng.standard_normal())))
    metrics = {}
    for name, (start, end) in zip(CONTINUAL_IMAGENET.metrics, _COURSES.get(method, _COURSES["bp"]), strict=True):
        noise = 1 + 0.05 * rng.standard_normal(num_tasks) + 0.02 * rng.standard_normal()
        metrics[name] = np.minimum((start + (end - start) * share) * noise, 1 if "accuracy" in name else np.inf)
    return metrics


def make_run(
    runs_dir: Path,
    method: str,
    seed: int = 0,
    *,
    setting: str = "default",
    state: State = "finished",
    num_tasks: int = 40,
    tasks_done: int | None = None,
    num_epochs: int = 10,
    error: str | None = None,
    heartbeat_at: float = 0.0,
    spec: Mapping[str, Any] | None = None,
    metrics: dict[str, np.ndarray] | None = None,
) -> RunDir:
    """Write a run directory in `state` with `tasks_done` recorded tasks (all of them by default).

    The records hold `metrics`, each of shape (num_tasks,), or by default Continual ImageNet's.

    The status of a running run names another host, so that only its heartbeat decides whether it is lost.
    """
    run_dir = RunDir(runs_dir / method / setting / f"seed_{seed:03d}")
    run_dir.path.mkdir(parents=True)
    whole = {"agent": method, "step_size": 0.01, "num_tasks": num_tasks, "num_showings": num_epochs, "num_classes": 2}
    write_json(run_dir.run_json, {"spec": whole | dict(spec or {}), "seed": seed})
    tasks_done = num_tasks if tasks_done is None else tasks_done
    append_tasks(run_dir, metrics or make_metrics(method, num_tasks, seed), 0, tasks_done)
    run_dir.write_status(
        RunStatus(
            state=state,
            num_tasks=num_tasks,
            num_epochs=num_epochs,
            tasks_done=tasks_done,
            host="elsewhere",
            started_at=heartbeat_at,
            heartbeat_at=heartbeat_at,
            epochs_per_s=2.5 if state == "running" else None,
            error=error,
        )
    )
    os.utime(run_dir.status_json, (heartbeat_at, heartbeat_at))
    return run_dir


def append_tasks(run_dir: RunDir, metrics: dict[str, np.ndarray], start: int, end: int) -> None:
    """Append the records of tasks `start` .. `end` - 1 of `metrics`, as a worker does."""
    with TableWriter(run_dir.tasks_json, "tasks") as table:
        for task in range(start, end):
            values = {name: float(series[task]) for name, series in metrics.items()}
            table.append(task_document(task, {"classes": [2 * task, 2 * task + 1]}, 1.5, values))


def running(**changes: Any) -> RunStatus:
    """Return the status of a run whose worker is on this host and has just written it."""
    return RunStatus("running", **({"host": socket.gethostname(), "heartbeat_at": time.time()} | changes))
