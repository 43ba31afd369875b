"""Files of all runs together (csv, parquet, npz), and TensorBoard's event files, a directory per run."""

import csv
import math
import os
import re
import socket
import time
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from lop_engine.analysis import Group, group_runs
from lop_engine.errors import UserError
from lop_engine.exchange.tables import (
    Block,
    configurations,
    epoch_blocks,
    epoch_table,
    extent,
    recorded_metrics,
    task_blocks,
)
from lop_engine.extras import install_hint
from lop_engine.runs.views import RunView
from lop_engine.text import plain

_KEYS = ["experiment", "setting", "seed", "task"]
_FORMULA = set("=+-@\t\r")
_HEADING = ",".join(_KEYS).encode() + b","
"""Beginning of every csv."""


def write_csv(runs: Sequence[RunView], path: Path, epochs: bool) -> None:
    """Write a tidy table with a heading: a row per task, or with `epochs` per epoch; NaN for non-finite values."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        for number, block in enumerate(_blocks(runs, epochs)):
            if number == 0:
                table.writerow(block)
            for row in zip(*block.values(), strict=True):
                table.writerow(map(_cell, row))


def _cell(value: Any) -> Any:
    """Return a value that is safe in a spreadsheet: a name that looks like a formula is prefixed with a quote."""
    if isinstance(value, str):
        name = plain(value)
        return f"'{name}" if {name[:1], value[:1]} & _FORMULA else name
    return "" if value is None else "NaN" if value != value else value


def write_parquet(runs: Sequence[RunView], path: Path, epochs: bool) -> None:
    """Write the same table as `write_csv`, in columns. Raises UserError without pyarrow."""
    arrow, parquet = _pyarrow()
    kind = _kinds(runs, arrow)
    with open(path, "wb") as file:
        writer: Any = None
        for block in _blocks(runs, epochs):
            if writer is None:
                schema = arrow.schema([(name, kind.get(name, arrow.float64())) for name in block])
                writer = parquet.ParquetWriter(file, schema)
            writer.write_table(arrow.table(dict(block), schema))
        if writer is not None:
            writer.close()


def _kinds(runs: Sequence[RunView], arrow: Any) -> dict[str, Any]:
    """Return the types of the columns that are not floating-point."""
    words, counts = {"experiment", "setting", "method", "problem"}, {"seed", "task", "epoch"}
    kind = {name: arrow.string() for name in words} | {name: arrow.int64() for name in counts}
    of_type = {bool: arrow.bool_(), int: arrow.int64(), str: arrow.string()}
    for values in configurations(runs).values():
        kind |= {key: of_type[type(value)] for key, value in values.items() if type(value) in of_type}
    return kind


def write_npz(runs: Sequence[RunView], path: Path, epochs: bool) -> None:
    """Write arrays by ``experiment/setting/metric``, (seeds, tasks), float64, and ``experiment/setting/seeds``.

    With `epochs` also ``experiment/setting/epochs/metric``, (seeds, tasks, epochs), float32. NaN where nothing
    finite was recorded.
    """
    with zipfile.ZipFile(path, "w") as archive:
        for group in group_runs(runs):
            name = f"{group.experiment}/{group.setting}"
            _add(archive, f"{name}/seeds", np.array([run.seed for run in group.runs]))
            for metric in recorded_metrics(group.runs):
                _add(archive, f"{name}/{metric}", _seeds_by_tasks(group, metric))
            if epochs:
                _add_epochs(archive, f"{name}/epochs", group)


def is_export(path: Path, form: str) -> bool:
    """Whether a file is empty or an export of the format csv, parquet or npz. Raises OSError."""
    if not path.stat().st_size:
        return True
    if form == "npz":
        return zipfile.is_zipfile(path) and any(
            re.fullmatch(r"[^/]+/[^/]+/seeds\.npy", name) for name in _members(path)
        )
    with open(path, "rb") as file:
        start = file.read(len(_HEADING))
    return start == _HEADING if form == "csv" else start.startswith(b"PAR1") and _columns(path)[:4] == _KEYS


def _members(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except zipfile.BadZipFile:
        return []


def _columns(path: Path) -> list[str]:
    arrow, parquet = _pyarrow()
    try:
        return list(parquet.read_schema(path).names)
    except (arrow.ArrowException, OSError):  # it is damaged
        return []


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError:
        raise UserError(f"export: parquet needs the package pyarrow: {install_hint('parquet')}") from None
    return arrow, parquet


def _blocks(runs: Sequence[RunView], epochs: bool) -> Iterable[Block]:
    return epoch_blocks(runs) if epochs else task_blocks(runs)


def _seeds_by_tasks(group: Group, metric: str) -> np.ndarray:
    table = np.full((len(group.runs), extent(group.runs)[0]), np.nan)
    for row, run in zip(table, group.runs, strict=True):
        values = run.series.get(metric, np.empty(0))
        row[: len(values)] = np.where(np.isfinite(values), values, np.nan)
    return table


def _add_epochs(archive: zipfile.ZipFile, name: str, group: Group) -> None:
    """Add every metric's (seeds, tasks, epochs), assembled on disk, with one run in memory at a time."""
    metrics = recorded_metrics(group.runs)
    if not metrics:
        return
    shape = (len(metrics), len(group.runs), *extent(group.runs))
    with TemporaryDirectory(dir=Path(str(archive.filename)).parent, prefix=".export.") as directory:
        table = table_on_disk(Path(directory) / "epochs", shape)
        for number, run in enumerate(group.runs):
            table[:, number] = epoch_table(run, metrics, *shape[2:])
        for metric, values in zip(metrics, table, strict=True):
            _add(archive, f"{name}/{metric}", values)


def table_on_disk(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Return a float32 table in a new file, allocated now: a disk that fills up later would end the process."""
    with open(path, "wb+") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, max(1, 4 * math.prod(shape)))
    return np.memmap(path, np.float32, "r+" if hasattr(os, "posix_fallocate") else "w+", shape=shape)


def _add(archive: zipfile.ZipFile, name: str, array: np.ndarray) -> None:
    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
        np.lib.format.write_array(member, array, allow_pickle=False)


def write_events(runs: Sequence[RunView], directory: Path, epochs: bool) -> None:
    """Write a scalar per metric with the task from 0 as step; with `epochs` also ``epochs/<metric>`` by epoch.

    Wall time is the run's: its start plus the seconds of its tasks. Raises UserError without tensorboardX, OSError.
    """
    try:
        from tensorboardX.record_writer import RecordWriter
    except ImportError:
        raise UserError(f"export: tensorboard needs the package tensorboardX: {install_hint('tensorboard')}") from None
    for run in runs:
        place = directory / run.dir.name
        place.mkdir(parents=True)
        path = place / f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}"
        # Not by SummaryWriter: on a full disk its thread dies silently, and then it waits for the thread.
        with closing(RecordWriter(str(path))) as file:
            for event in _events(run, epochs):
                file.write(event)


def _events(run: RunView, epochs: bool) -> Iterator[bytes]:
    from tensorboardX.proto.event_pb2 import Event

    times = _wall_times(run)
    yield Event(wall_time=times[0], file_version="brain.Event:2").SerializeToString()
    for block in task_blocks([run]):
        yield from scalars(run, block, "", [task - 1 for task in block["task"]], times)
    for block in epoch_blocks([run]) if epochs else ():
        yield from scalars(run, block, "epochs/", _steps(block, run), times)


def scalars(run: RunView, block: Block, prefix: str, steps: Sequence[int], times: Sequence[float]) -> Iterator[bytes]:
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.summary import scalar

    names = [name for name in recorded_metrics([run]) if name in block]
    # A diverged seed is NaN in all metrics; a NaN beside finite values was not measured.
    diverged = [all(value != value for value in row) for row in zip(*(block[name] for name in names), strict=True)]
    for name in names:
        for task, step, value, is_nan in zip(block["task"], steps, block[name], diverged, strict=True):
            if value != value and not is_nan:
                continue
            at = times[min(task, len(times)) - 1]
            yield Event(wall_time=at, step=step, summary=scalar(prefix + name, value)).SerializeToString()


def _steps(block: Block, run: RunView) -> list[int]:
    """Return the epochs of the run before each row."""
    per_task = int(run.spec.get("num_showings", 1))
    return [(task - 1) * per_task + epoch - 1 for task, epoch in zip(block["task"], block["epoch"], strict=True)]


def _wall_times(run: RunView) -> list[float]:
    """Return Unix seconds at the end of each task, at least one entry; tasks of unknown length take no time."""
    seconds = [value if value == value else 0.0 for value in run.seconds.tolist()]
    return list(accumulate(seconds, initial=run.status.started_at or 0.0))[1:] or [0.0]
