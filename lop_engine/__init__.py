"""The engine of lop: experiments, training, records; without a user interface.

docs/architecture.md describes the folders, and which modules need torch; the others start fast.
"""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

__version__ = "0.2.0"

NUMERICS = 1
"""Increased when the same configuration and seed give other numbers than before: when golden figures change."""


def load(runs_dir: str | Path | Sequence[str | Path] = "runs", where: str = "", epochs: bool = False) -> Any:
    """Load the records of runs as one tidy table, with the columns of `lop export --format csv`.

    A row is a task of a run, counted from 1: experiment, setting, seed, task, method, problem, every key of the
    configuration, seconds, and the metrics in their units (an accuracy is a share, 0.85). Missing values are NaN or
    None.

    Args:
        runs_dir: the runs directory; several directories are read as one.
        where: a filter, like `lop list --where`.
        epochs: return a row per epoch, counted from 1.
    Returns:
        A pandas DataFrame if pandas is installed, else a dict of numpy arrays of equal length by column.
    Raises:
        UserError: there are no runs, none matches, or two directories contain different runs of one seed.
    """
    # Loaded by name: lower modules import this package, and must not reach the modules above them through it.
    return import_module("lop_engine.exchange.tables").load(runs_dir, where, epochs)
