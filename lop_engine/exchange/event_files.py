"""Event files for TensorBoard: a directory a run, ``<experiment>/<setting>/seed_000``."""

import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import accumulate
from pathlib import Path

from lop_engine.errors import UserError
from lop_engine.exchange.tables import Block, epoch_blocks, recorded_metrics, task_blocks
from lop_engine.extras import install_hint
from lop_engine.runs.reading import RunView


def write_events(runs: Sequence[RunView], directory: Path, epochs: bool) -> None:
    """A scalar a metric, its step the task from 0; with `epochs` also ``epochs/<metric>``, its step the epochs before.

    Wall time is the run's own: its start and the seconds of its tasks. Raises UserError without tensorboardX, OSError.
    """
    try:
        from tensorboardX.record_writer import RecordWriter
    except ImportError:
        raise UserError(f"export: tensorboard needs the package tensorboardX: {install_hint('tensorboard')}") from None
    for run in runs:
        place = directory / run.dir.name
        place.mkdir(parents=True)
        path = place / f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}"
        # Not by SummaryWriter: its thread dies silently of a full disk, and then it waits for the thread.
        with closing(RecordWriter(str(path))) as file:
            for event in _events(run, epochs):
                file.write(event)


def _events(run: RunView, epochs: bool) -> Iterator[bytes]:
    from tensorboardX.proto.event_pb2 import Event

    times = _wall_times(run)
    yield Event(wall_time=times[0], file_version="brain.Event:2").SerializeToString()
    for block in task_blocks([run]):
        yield from _scalars(run, block, "", [task - 1 for task in block["task"]], times)
    for block in epoch_blocks([run]) if epochs else ():
        yield from _scalars(run, block, "epochs/", _steps(block, run), times)


def _scalars(run: RunView, block: Block, prefix: str, steps: Sequence[int], times: Sequence[float]) -> Iterator[bytes]:
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.summary import scalar

    names = [name for name in recorded_metrics([run]) if name in block]
    # A seed that has diverged is NaN in all metrics; a NaN beside finite values was not measured.
    diverged = [all(value != value for value in row) for row in zip(*(block[name] for name in names), strict=True)]
    for name in names:
        for task, step, value, is_nan in zip(block["task"], steps, block[name], diverged, strict=True):
            if value != value and not is_nan:
                continue
            at = times[min(task, len(times)) - 1]
            yield Event(wall_time=at, step=step, summary=scalar(prefix + name, value)).SerializeToString()


def _steps(block: Block, run: RunView) -> list[int]:
    """Epochs of the run before each row."""
    per_task = int(run.spec.get("num_showings", 1))
    return [(task - 1) * per_task + epoch - 1 for task, epoch in zip(block["task"], block["epoch"], strict=True)]


def _wall_times(run: RunView) -> list[float]:
    """Unix seconds at the end of each task, at least one entry; tasks of unknown length take no time."""
    seconds = [value if value == value else 0.0 for value in run.seconds.tolist()]
    return list(accumulate(seconds, initial=run.status.started_at or 0.0))[1:] or [0.0]
