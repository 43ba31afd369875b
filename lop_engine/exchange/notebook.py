"""The records of runs as one tidy table in memory, for notebooks and scripts."""

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from lop_engine.errors import UserError
from lop_engine.exchange.tables import Block, epoch_blocks, task_blocks
from lop_engine.runs.query import filter_runs, hint
from lop_engine.runs.reading import RunsReader


def load(runs_dir: str | Path, where: str, epochs: bool) -> Any:
    """See `lop_engine.load`."""
    runs = RunsReader(Path(runs_dir)).read().runs
    chosen = filter_runs(runs, where)
    if not runs:
        raise UserError(f"load: no runs in {runs_dir}; name another directory")
    if not chosen:
        advice = hint(runs, where)
        raise UserError(f'load: where "{where}": matches none of the {len(runs)} runs in {runs_dir}{advice}')
    table = _joined(list(epoch_blocks(chosen) if epochs else task_blocks(chosen)))
    return import_module("pandas").DataFrame(table) if find_spec("pandas") else table


def _joined(blocks: Sequence[Block]) -> dict[str, np.ndarray]:
    return {name: _as_array([value for block in blocks for value in block[name]]) for name in blocks[0]}


def _as_array(values: Sequence[Any]) -> np.ndarray:
    """Numbers where all are numbers or missing (then floating, with NaN); else objects."""
    present = [value for value in values if value is not None]
    if any(isinstance(value, str) for value in present):
        return np.array(values, dtype=object)
    if len(present) < len(values):
        return np.array([np.nan if value is None else value for value in values], dtype=float)
    return np.array(values)
