"""Event files for TensorBoard: a directory a run, ``<experiment>/<setting>/seed_000``."""

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from lop_engine.errors import UserError
from lop_engine.exchange.tables import Block, epoch_blocks, task_blocks
from lop_engine.runs import RunView


def write_events(runs: Sequence[RunView], directory: Path, epochs: bool) -> None:
    """A scalar a metric, its step the task; with `epochs` also ``epochs/<metric>``, its step counts epochs through.

    Wall time is the run's own: its start and the seconds of its tasks. Raises UserError without tensorboardX.
    """
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise UserError("export: tensorboard needs the package tensorboardX: pip install 'lop[tensorboard]'") from None
    for run in runs:
        times = _wall_times(run)
        place = directory / run.dir.name
        with SummaryWriter(str(place), max_queue=10_000, flush_secs=600) as writer:
            for block in task_blocks([run]):
                _add(writer, block, "", block["task"], times)
            for block in epoch_blocks([run]) if epochs else ():
                _add(writer, block, "epochs/", _steps(block, run), times)


def _add(writer: object, block: Block, prefix: str, steps: Sequence[int], times: Sequence[float]) -> None:
    add_scalar = writer.add_scalar  # type: ignore[attr-defined]
    for name in [name for name in block if name not in ("experiment", "setting", "seed", "task", "epoch", "seconds")]:
        for task, step, value in zip(block["task"], steps, block[name], strict=True):
            add_scalar(prefix + name, value, step, times[min(task, len(times) - 1)])


def _steps(block: Block, run: RunView) -> list[int]:
    """Epochs of the run before each row."""
    per_task = int(run.spec.get("num_showings", 1))
    return [task * per_task + epoch for task, epoch in zip(block["task"], block["epoch"], strict=True)]


def _wall_times(run: RunView) -> list[float]:
    """Unix seconds at the end of each task, at least one entry; tasks of unknown length take no time."""
    seconds = [value if value == value else 0.0 for value in run.seconds.tolist()]
    return list(accumulate(seconds, initial=run.status.started_at or 0.0))[1:] or [0.0]
