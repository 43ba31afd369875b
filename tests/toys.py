"""Write run directories of problems, methods and metrics that are not installed here; only run.json describes them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lop_engine.runs.directory import RunDir, write_json
from lop_engine.runs.records import RunStatus, State, epoch_document, task_document
from lop_engine.runs.store import TableWriter


def described(name: str, title: str, **changes: Any) -> dict[str, Any]:
    """Return the description of a metric in run.json."""
    usual = {"unit": "", "scale": "linear", "from_zero": True, "least_span": 0.0, "cost_in_epochs": 0}
    return {"name": name, "title": title, "better": "lower", "needs": []} | usual | changes


#: A regression: no accuracy, one long stream counted in examples.
REGRESSION: dict[str, Any] = {
    "problem": {"name": "toy_regression", "title": "Toy regression", "headline": "toy_error", "x_unit": "examples"},
    "network": {"name": "tiny_net", "title": "tiny", "provides": ["hidden units"]},
    "method": {"name": "dropout", "title": "dropout", "colour": "#AA3377"},
    "metrics": [described("toy_error", "squared error", scale="log"), described("drift", "drift of the weights")],
    "x_per_task": 500,
    "method_keys": ["agent", "drop_rate"],
}

#: A classifier without a test set.
STREAM: dict[str, Any] = {
    "problem": {"name": "toy_stream", "title": "Toy stream", "headline": "online_accuracy", "x_unit": "tasks"}
    | {"provides": ["labels"]},
    "network": {"name": "flat_net", "title": "flat", "provides": []},
    "method": {"name": "dropout", "title": "dropout", "colour": "#AA3377"},
    "metrics": [described("online_accuracy", "online accuracy", unit="%", scale="percent", better="higher")],
    "method_keys": [],
}


def make_toy(
    runs_dir: Path,
    experiment: str = "toy",
    seed: int = 0,
    *,
    components: Mapping[str, Any] = REGRESSION,
    metrics: Sequence[str] | None = None,
    num_tasks: int = 40,
    tasks_done: int | None = None,
    state: State = "finished",
    setting: str = "default",
    **spec: Any,
) -> RunDir:
    """Write the directory and records of a run whose problem is not installed.

    Args:
        metrics: the recorded metrics; by default those that `components` describes. The values of the first fall from 2
        to 0.5
            (proportions: rise from 0.5 to 0.8), those of the others stay near 3.
        spec: keys of the spec.
    """
    run_dir = RunDir(runs_dir / experiment / setting / f"seed_{seed:03d}")
    run_dir.path.mkdir(parents=True)
    names = [one["name"] for one in components.get("metrics", [])] if metrics is None else list(metrics)
    keys = {"problem": "problem", "network": "network", "method": "agent"}
    parts = {keys[kind]: one["name"] for kind, one in components.items() if kind in keys and one}
    whole = {"agent": "bp"} | parts | {"num_tasks": num_tasks, "num_showings": 1, "metrics": names} | spec
    write_json(run_dir.run_json, {"spec": whole, "seed": seed, "components": dict(components)})
    tasks_done = num_tasks if tasks_done is None else tasks_done
    rng = np.random.default_rng([seed, *experiment.encode()])
    with TableWriter(run_dir.tasks_json, "tasks") as tasks, TableWriter(run_dir.epochs_json, "epochs") as epochs:
        for task in range(tasks_done):
            share = task / num_tasks
            first = 0.5 + 0.3 * share if "accuracy" in str(names[:1]) else 2 - 1.5 * share
            values = {name: first if i == 0 else 3.0 for i, name in enumerate(names)}
            values = {name: value * (1 + 0.01 * rng.standard_normal()) for name, value in values.items()}
            epochs.append(epoch_document(task, 0, values))
            tasks.append(task_document(task, {}, 1.5, values))
    run_dir.write_status(
        RunStatus(state=state, num_tasks=num_tasks, num_epochs=1, tasks_done=tasks_done, host="elsewhere")
    )
    return run_dir
