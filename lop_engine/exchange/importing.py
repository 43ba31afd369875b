"""Imports the reference's result files as runs."""

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import lop_engine
from lop_engine import tensors
from lop_engine.errors import DataError, StoreError, UserError, instead
from lop_engine.exchange.export import missing_above, remove_empty
from lop_engine.exchange.reference import KEYS, SETTINGS
from lop_engine.experiment.parts import method_name
from lop_engine.experiment.problems import CONTINUAL_IMAGENET
from lop_engine.experiment.registry import METHODS
from lop_engine.experiment.run import load_runs
from lop_engine.runs.directory import SCHEMA, RunDir, read_json, write_json
from lop_engine.runs.locks import hold
from lop_engine.runs.records import RunStatus, rounded
from lop_engine.runs.store import TableWriter
from lop_engine.text import byte_size

_LARGEST_BYTES = 2**30
_MOST_VALUES = 10**8
_OF_EVERY_RESULT = {"train_accuracy", "test_accuracy"}
_SUFFIXES = (".pkl", ".pickle")


@dataclass(frozen=True)
class ResultFile:
    """A pickle of the reference, and the run that is made of it."""

    path: Path
    experiment: str
    index: int
    """Number of the setting."""
    seed: int
    setting: str = "default"
    spec: Mapping[str, Any] | None = None
    """None if unknown."""
    is_export: bool = False
    """Whether `lop export` wrote the file; its tables end with the records of an unfinished run."""

    def run_dir(self, runs_dir: Path) -> RunDir:
        return RunDir(runs_dir / self.experiment / self.setting / f"seed_{self.seed:03d}")


@dataclass(frozen=True)
class Imported:
    """A run that was made from a result file."""

    run_dir: RunDir
    tasks_done: int
    num_tasks: int
    unknown_keys: tuple[str, ...]


def find_results(place: Path, configs: Sequence[Path] = ()) -> list[ResultFile]:
    """Return the result file `place`, or those in ``place/<setting>/<seed>`` or ``place/<name>/<setting>/<seed>``.

    A file ``<name>/<setting>/<seed>`` becomes the same run as with its directory. Any other file gets its
    own name, and seed 0.

    A name's settings come from the experiment file of that name among `configs` (a single file is used for a single
    name, whatever that is), else from the file that `lop export` writes beside them, else they are only numbers.

    Raises:
        UserError: no results there, or an experiment file that does not match.
    """
    files = [_one_file(place.absolute())] if place.is_file() else _files_in(place)
    names = list(dict.fromkeys(file.experiment for file in files))
    exported = {name: _exported_settings(next(f.path for f in files if f.experiment == name)) for name in names}
    files = [replace(file, is_export=exported[file.experiment] is not None) for file in files]
    renamed = {name: name for name in names}
    for config in configs:
        name = names[0] if len(names) == len(configs) == 1 else config.stem
        if name not in exported:
            raise UserError(f"import-results: --cfg {config}: there are no results of that name{instead(name, names)}")
        exported[name], renamed[name] = _settings_of(config), config.stem
        files = [replace(file, is_export=file.is_export and file.experiment != name) for file in files]
    return [replace(_with_spec(file, exported[file.experiment]), experiment=renamed[file.experiment]) for file in files]


def _one_file(path: Path) -> ResultFile:
    """Return a single result file, with the same name as among the files of its directory."""
    if len(path.parents) > 2:
        for file in _number_files(path.parents[1], path.parents[1].name):
            if file.path == path:
                return file
    return ResultFile(path, path.stem if path.suffix in _SUFFIXES else path.name, 0, 0)


def _files_in(directory: Path) -> list[ResultFile]:
    """Return the result files in a directory. Raises UserError if there are none."""
    if not directory.is_dir():
        raise UserError(f"import-results: {directory}: no such file or directory")
    files = _number_files(directory.absolute(), directory.absolute().name)
    if not files:
        for below in sorted(path for path in directory.absolute().iterdir() if path.is_dir() and path.name[0] != "."):
            files += _number_files(below, below.name)
    if not files:
        raise UserError(
            f"import-results: {directory}: no results there; they are looked for as {directory}/<setting>/<seed> or "
            f"{directory}/<name>/<setting>/<seed>, with numbers for setting and seed; name a single file by its path"
        )
    return files


def import_results(files: Sequence[ResultFile], runs_dir: Path) -> Iterator[Imported]:
    """Make a run from each file, one in memory at a time; yields each when it is done. After an error, none is left.

    An imported run has ended, however many tasks it has done: it has no weights to resume from.

    Raises:
        UserError: a run of that name exists already (checked before the first is made), a file is not such a
            result, or it does not fit its experiment file.
    """
    for file in files:
        _refuse_existing(file.run_dir(runs_dir))
    made: list[RunDir] = []
    parents: list[Path] = []
    try:
        for file in files:
            parents = missing_above(file.run_dir(runs_dir).path) + parents
            with hold(file.run_dir(runs_dir)):
                imported = _import_one(file, runs_dir)
            made.append(imported.run_dir)
            yield imported
    except BaseException:
        for run_dir in made:
            with hold(run_dir):
                run_dir.clear()
        remove_empty(parents)
        raise


def _refuse_existing(run_dir: RunDir) -> None:
    if run_dir.path.exists():
        raise UserError(
            f"import-results: {run_dir.path}: exists already; choose another --runs-dir, or remove it "
            f"(lop rm {run_dir.name})"
        )


def _number_files(directory: Path, name: str) -> list[ResultFile]:
    """Return the files below `directory` whose path is two numbers, possibly with a pickle's suffix, in order."""
    files = [
        ResultFile(path, name, int(path.parent.name), int(_number(path)))
        for path in directory.glob("*/*")
        if _is_number(_number(path)) and _is_number(path.parent.name) and path.is_file()
    ]
    ordered = sorted(files, key=lambda file: (file.index, file.seed))
    is_single = len({file.index for file in files}) == 1
    return ordered if is_single else [replace(file, setting=f"setting={file.index}") for file in ordered]


def _number(path: Path) -> str:
    """Return the name of a file without a pickle's suffix."""
    return path.stem if path.suffix in _SUFFIXES else path.name


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdecimal() and len(name) < 7 and str(int(name)) == name


Settings = list[tuple[str, dict[str, Any]]]
"""Name and spec of each setting of an experiment, in the order of their numbers."""


def _settings_of(config: Path) -> Settings:
    """Return the settings of an experiment file. Raises ConfigError."""
    return [(run.setting, run.spec.to_dict()) for run in load_runs(config, seeds=[0])]


def _exported_settings(result: Path) -> Settings | None:
    """Return the settings that `lop export` wrote beside the results; None if missing."""
    try:
        listed = read_json(result.parents[1] / SETTINGS).get("settings")
        settings = [(str(one["setting"]), dict(one["spec"])) for one in listed or ()]
    except (OSError, StoreError, LookupError, TypeError, ValueError):
        return None
    is_sound = all(name and name not in (".", "..") and "/" not in name and name.isprintable() for name, _ in settings)
    return settings if settings and is_sound else None


def _with_spec(file: ResultFile, settings: Settings | None) -> ResultFile:
    if settings is None:
        return file
    if file.index >= len(settings):
        raise UserError(
            f"import-results: {file.path}: is of setting {file.index}, but its experiment file has only "
            f"{len(settings)} (numbered from 0)"
        )
    setting, spec = settings[file.index]
    return replace(file, setting=setting, spec=spec)


def _import_one(file: ResultFile, runs_dir: Path) -> Imported:
    tables, unknown, digest = _read(file.path)
    num_tasks, num_epochs = next(iter(tables.values())).shape
    spec = _spec(file, num_tasks, num_epochs)
    num_tasks, num_epochs = spec["num_tasks"], spec["num_showings"]  # an unfinished run's tables are shorter
    run_dir = file.run_dir(runs_dir)
    _refuse_existing(run_dir)
    try:
        run_dir.path.mkdir(parents=True)
        tasks_done = _write_records(run_dir, tables)
        note = f"imported; ends after {tasks_done} of {num_tasks} tasks" if tasks_done < num_tasks else None
        status = RunStatus("finished", num_tasks, num_epochs, tasks_done, note=note)
        run_dir.write_status(status)
        write_json(run_dir.run_json, _run_config(file, spec, digest), durable=True)  # last: this makes it a run
    except BaseException:
        if run_dir.path.exists():
            run_dir.clear()
        raise
    return Imported(run_dir, tasks_done, num_tasks, unknown)


def _read(path: Path) -> tuple[dict[str, np.ndarray], tuple[str, ...], str]:
    """Return a file's tables by metric, (tasks, epochs) each; unknown keys; its sha256. Raises DataError."""
    if path.stat().st_size > _LARGEST_BYTES:
        raise DataError(f"{path}: larger than {byte_size(_LARGEST_BYTES)}: no result file")
    raw = tensors.load(path)
    if not isinstance(raw, dict):
        raise DataError(f"{path}: holds no dictionary of results ({', '.join(KEYS.values())})")
    arrays = {metric: _array(raw[key]) for metric, key in KEYS.items() if key in raw}
    if not arrays:
        raise DataError(f"{path}: holds none of {', '.join(KEYS.values())}")
    if not arrays.keys() & _OF_EVERY_RESULT:
        raise DataError(
            f"{path}: holds {', '.join(map(str, list(raw)[:8]))}, but neither train_accuracies nor test_accuracies: "
            f"it is of another problem than {CONTINUAL_IMAGENET.title}, the only one whose results can be imported"
        )
    shapes = {array.shape if array is not None else None for array in arrays.values()}
    shape = next(iter(shapes))
    if len(shapes) > 1 or shape is None or len(shape) != 2 or not 0 < shape[0] * shape[1] < _MOST_VALUES:
        raise DataError(f"{path}: its tables should all be numbers of one shape (tasks, epochs)")
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    tables = {metric: array for metric, array in arrays.items() if array is not None}
    # An export also writes NaN for a metric that was never recorded.
    tables = {metric: array for metric, array in tables.items() if np.isfinite(array).any()} or tables
    return tables, tuple(str(key) for key in raw if key not in KEYS.values()), digest


def _array(value: Any) -> np.ndarray | None:
    array = value.whole() if hasattr(value, "whole") else value
    return array if isinstance(array, np.ndarray) else None


def _spec(file: ResultFile, num_tasks: int, num_epochs: int) -> dict[str, Any]:
    """Return the given spec, or what the file itself shows. Raises UserError if they disagree."""
    if file.spec is None:
        agent = {"agent": file.experiment} if file.experiment in METHODS else {}
        return agent | {"num_tasks": num_tasks, "num_showings": num_epochs}
    expected = file.spec.get("num_tasks"), file.spec.get("num_showings")
    is_shorter = all(
        isinstance(one, int) and held <= one for one, held in zip(expected, (num_tasks, num_epochs), strict=True)
    )
    if expected != (num_tasks, num_epochs) and not (file.is_export and is_shorter):
        raise UserError(
            f"import-results: {file.path}: holds {num_tasks} tasks of {num_epochs} epochs, its experiment file says "
            f"{expected[0]} of {expected[1]}; give the --cfg that it was made with"
        )
    return dict(file.spec)


def _write_records(run_dir: RunDir, tables: Mapping[str, np.ndarray]) -> int:
    """Write epochs and tasks; return the number of finished tasks.

    The reference allocates its tables beforehand, so rows of zeros, like NaN, were never reached.
    """
    stacked = np.stack([np.asarray(table, float) for table in tables.values()], axis=2)
    reached = (np.isfinite(stacked) & (stacked != 0)).any(axis=2)
    tasks_done = int(np.flatnonzero(reached[:, -1]).max(initial=-1)) + 1
    with TableWriter(run_dir.epochs_json, "epochs") as epochs, TableWriter(run_dir.tasks_json, "tasks") as tasks:
        for task, rows in enumerate(stacked):
            epochs.extend(
                {"task": task, "epoch": int(epoch)} | _measured(_values(tables, rows[epoch]))
                for epoch in np.flatnonzero(reached[task])
            )
        tasks.extend({"task": task} | _values(tables, stacked[task, -1]) for task in range(tasks_done))
    return tasks_done


def _values(names: Mapping[str, Any], values: np.ndarray) -> dict[str, float | None]:
    return {name: rounded(value) for name, value in zip(names, values.tolist(), strict=True)}


def _measured(values: Mapping[str, float | None]) -> dict[str, float | None]:
    """Return an epoch's metrics without NaN values, which were not measured."""
    return {name: value for name, value in values.items() if value is not None}


def _run_config(file: ResultFile, spec: Mapping[str, Any], digest: str) -> dict[str, Any]:
    """Return the content of run.json: what is known of the run, and its origin."""
    method = str(method_name(spec) or "unknown")
    return {
        "schema": SCHEMA,
        "experiment": file.experiment,
        "setting": file.setting,
        "seed": file.seed,
        "method": method,
        "spec": dict(spec),
        "created_at": time.time(),
        "versions": {"lop": lop_engine.__version__},
        "imported": {"source": str(file.path), "sha256": digest},
    }
