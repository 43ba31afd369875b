"""Runs as tables of plain columns, in blocks of rows: for csv and parquet files, notebooks and scripts."""

import json
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from lop_engine.errors import StoreError, UserError
from lop_engine.experiment.components import COLUMNS
from lop_engine.experiment.lookup import metric_names, problem
from lop_engine.experiment.parts import BOOKKEEPING_KEYS
from lop_engine.experiment.stored import canonical
from lop_engine.runs.query import hint, parse_query
from lop_engine.runs.several import read_together
from lop_engine.runs.store import read_task, tail_task
from lop_engine.runs.views import RunView

Block = Mapping[str, Sequence[Any]]
"""Columns of equal length by name: experiment, setting, seed, task (and epoch), method, problem, the keys of the
configuration, then numbers. Tasks and epochs count from 1, as on screens."""

_TASKS_A_BLOCK = 40
_NOT_SHOWN = BOOKKEEPING_KEYS | {"agent", "problem", "metrics", "stop_when"}
"""Keys that change no number, and those in other columns."""


def recorded_metrics(runs: Sequence[RunView]) -> list[str]:
    """Return the metrics that any of `runs` has recorded: in the order of `metric_names`, then undescribed ones."""
    recorded = dict.fromkeys(metric for run in runs for metric in run.series if metric not in COLUMNS)
    return [
        *(name for name in metric_names() if name in recorded),
        *(name for name in recorded if name not in metric_names()),
    ]


def configurations(runs: Sequence[RunView]) -> dict[RunView, dict[str, Any]]:
    """Return each run's configuration, with the same keys for all: None for a key that has no effect in a run.

    The values of a key have one type in all runs: bool, int, float or str. A key with the name of a metric or
    another column ends in ``_key``.
    """
    specs = {run: canonical(run.spec) for run in runs}
    keys = [key for key in dict.fromkeys(key for spec in specs.values() for key in spec) if key not in _NOT_SHOWN]
    taken = {"experiment", "setting", "seed", "task", "epoch", "method", "seconds", *recorded_metrics(runs)}
    configs: dict[RunView, dict[str, Any]] = {run: {} for run in runs}
    for key in keys:
        column = f"{key}_key" if key in taken else key
        for run, value in zip(runs, _alike([specs[run].get(key) for run in runs]), strict=True):
            configs[run][column] = value
    return configs


def _alike(values: Sequence[Any]) -> Sequence[Any]:
    """Convert the values to one type; None stays None."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {bool} or kinds <= {int}:
        return values
    if kinds <= {int, float}:
        return [None if value is None else float(value) for value in values]
    return [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]


def _repeated(values: Mapping[str, Any], count: int) -> dict[str, Sequence[Any]]:
    return {key: [value] * count for key, value in values.items()}


def tasks_recorded(run: RunView) -> int:
    return max((len(values) for values in run.series.values()), default=0)


def task_blocks(runs: Sequence[RunView]) -> Iterator[Block]:
    """Yield the recorded tasks of each run, a block per run: metrics at the task's end, and wall time in seconds."""
    metrics, configured = recorded_metrics(runs), configurations(runs)
    for run in runs:
        count = tasks_recorded(run)
        nothing = np.full(count, np.nan)
        numbers = {metric: run.series.get(metric, nothing).tolist() for metric in metrics}
        tasks = range(count)
        places = _places(runs, run, tasks, [_num_epochs(run) - 1] * count)
        keys = _keys(run, {"task": [task + 1 for task in tasks]}) | _repeated(configured[run], count)
        yield keys | places | {"seconds": run.seconds[:count].tolist()} | numbers


def epoch_blocks(runs: Sequence[RunView]) -> Iterator[Block]:
    """Yield the recorded epochs of each run in blocks of tasks, so that a long record is never completely in memory."""
    metrics, configured = recorded_metrics(runs), configurations(runs)
    for run in runs:
        for start in range(0, max(1, _tasks_with_epochs(run)), _TASKS_A_BLOCK):
            tasks: list[int] = []
            epochs: list[int] = []
            tables = []
            for task in range(start, start + _TASKS_A_BLOCK):
                of_task, table = _epochs_of(run, task, metrics)
                tasks += [task] * len(of_task)
                epochs += of_task
                tables.append(table)
            numbers = dict(zip(metrics, np.concatenate(tables).T.tolist(), strict=True))
            counts = {"task": [task + 1 for task in tasks], "epoch": [epoch + 1 for epoch in epochs]}
            keys = _keys(run, counts) | _repeated(configured[run], len(tasks))
            yield keys | _places(runs, run, tasks, epochs) | numbers


def epoch_table(run: RunView, metrics: Sequence[str], num_tasks: int, num_epochs: int) -> np.ndarray:
    """Return metrics after every epoch, (metrics, tasks, epochs), float32; NaN where nothing finite was recorded.

    Values that only the record of tasks has are used for the last epoch.
    """
    table = np.full((len(metrics), num_tasks, num_epochs), np.nan, np.float32)
    for task in range(min(num_tasks, _tasks_with_epochs(run))):
        epochs, values = _epochs_of(run, task, metrics)
        inside = [row for row, epoch in enumerate(epochs) if 0 <= epoch < num_epochs]
        table[:, task, [epochs[row] for row in inside]] = values[inside].T
    for rows, metric in zip(table, metrics, strict=True):
        values = run.series.get(metric, np.empty(0))[:num_tasks]
        last = rows[: len(values), -1]
        last[np.isnan(last)] = values[np.isnan(last)]
    return table


def extent(runs: Sequence[RunView]) -> tuple[int, int]:
    """Return the size of a table of `runs`: the recorded tasks of the longest run, and epochs per task."""
    num_tasks = max(max(tasks_recorded(run), _tasks_with_epochs(run)) for run in runs)
    return num_tasks, max(_epochs_a_task(run) for run in runs)


def _epochs_a_task(run: RunView) -> int:
    """Return the largest number of recorded epochs in a task; only the first and last are read, no other has more."""
    tasks = {0, max(0, _tasks_with_epochs(run) - 1)}
    return max([1, *(epoch + 1 for task in tasks for epoch in _epochs_of(run, task, [])[0])])


def _tasks_with_epochs(run: RunView) -> int:
    last = tail_task(run.dir.epochs_json)
    return 0 if last is None else last + 1


def _epochs_of(run: RunView, task: int, metrics: Sequence[str]) -> tuple[list[int], np.ndarray]:
    """Return the recorded epochs of a task, and their metrics, (epochs, metrics); NaN for null. Raises StoreError."""
    documents = read_task(run.dir.epochs_json, task)
    try:
        values = np.array([[one.get(name) for name in metrics] for one in documents], dtype=float)
        return [int(one["epoch"]) for one in documents], values.reshape(len(documents), len(metrics))
    except (KeyError, TypeError, ValueError):
        raise StoreError(f"{run.dir.epochs_json}: task {task}: an epoch or a metric is not a number") from None


def _keys(run: RunView, numbers: Mapping[str, Sequence[int]]) -> dict[str, Sequence[Any]]:
    """Return the columns that identify a row's run, task and epoch."""
    count = len(numbers["task"])
    experiment, setting, method, problem = (
        name.encode(errors="replace").decode() for name in (run.experiment, run.setting, run.method, run.problem_name)
    )
    which: dict[str, Sequence[Any]] = {
        "experiment": [experiment] * count,
        "setting": [setting] * count,
        "seed": [run.seed] * count,
    }
    return which | dict(numbers) | {"method": [method] * count, "problem": [problem] * count}


def _places(
    runs: Sequence[RunView], run: RunView, tasks: Sequence[int], epochs: Sequence[int]
) -> dict[str, Sequence[float]]:
    """Return a column for each unit other than tasks in which a problem of `runs` counts: an epoch's end on its x axis.

    NaN in rows of other problems.
    """
    units = dict.fromkeys(problem(one.problem_name).x_unit for one in runs)
    own, per_epoch = problem(run.problem_name).x_unit, run.x_per_task / _num_epochs(run)
    ends = [task * run.x_per_task + (epoch + 1) * per_epoch for task, epoch in zip(tasks, epochs, strict=True)]
    taken = {"tasks", *COLUMNS, *recorded_metrics(runs)}
    return {unit: ends if unit == own else [math.nan] * len(ends) for unit in units if unit not in taken}


def _num_epochs(run: RunView) -> int:
    """Return the epochs of a task, at least 1."""
    epochs = run.spec.get("num_showings")
    return epochs if isinstance(epochs, int) and epochs > 0 else 1


def load(runs_dir: str | Path | Sequence[str | Path], where: str, epochs: bool) -> Any:
    """See `lop_engine.load`."""
    places = [runs_dir] if isinstance(runs_dir, str | Path) else list(runs_dir)
    if not places:
        raise UserError("load: name a directory")
    snapshot = read_together([Path(place) for place in places])
    runs = snapshot.runs
    query = parse_query(where)
    chosen = [run for run in runs if query.matches(run)]
    if not runs:
        raise UserError(f"load: no runs in {snapshot.place}; name another directory")
    if not chosen:
        advice = hint(runs, where)
        raise UserError(f'load: where "{where}": matches none of the {len(runs)} runs in {snapshot.place}{advice}')
    for note in query.notes(runs):
        warnings.warn(f"load: {note}", stacklevel=3)
    table = _joined(list(epoch_blocks(chosen) if epochs else task_blocks(chosen)))
    return import_module("pandas").DataFrame(table) if find_spec("pandas") else table


def _joined(blocks: Sequence[Block]) -> dict[str, np.ndarray]:
    return {name: _as_array([value for block in blocks for value in block[name]]) for name in blocks[0]}


def _as_array(values: Sequence[Any]) -> np.ndarray:
    """Return an array of numbers if all are numbers or missing (then floating-point, with NaN); else of objects."""
    present = [value for value in values if value is not None]
    if any(isinstance(value, str) for value in present):
        return np.array(values, dtype=object)
    if len(present) < len(values):
        return np.array([np.nan if value is None else value for value in values], dtype=float)
    return np.array(values)
