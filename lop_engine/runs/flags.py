"""Warnings about records that can be read: missing tasks, metrics that are not finite."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np


def missing_tasks(path: Path, recorded: int, done: int) -> str | None:
    """A warning if an ended run's records hold fewer finished tasks than its status says; else None."""
    if recorded >= done:
        return None
    return f"{path.name} holds {recorded} of {_count(done, 'finished task')}; restore it from a backup"


def not_finite(series: Mapping[str, np.ndarray], nulls: Mapping[str, np.ndarray]) -> list[str]:
    """Warnings such as ``curvature not finite from task 3``, or the number of tasks if finite values follow.

    Args:
        series: by metric, its value in each task; NaN where it is null or was not recorded.
        nulls: by metric, whether it was recorded in each task and not finite; at least as long as the series.
    """
    by_text: dict[str, list[str]] = {}
    for metric, values in series.items():
        is_null = nulls.get(metric, np.empty(0, bool))[: len(values)]
        if text := _not_finite(values, is_null):
            by_text.setdefault(text, []).append(metric.replace("_", " "))
    return [f"{_listed(metrics)} {text}" for text, metrics in by_text.items()]


def _not_finite(values: np.ndarray, is_null: np.ndarray) -> str:
    places = np.flatnonzero(is_null)
    if not len(places):
        return ""
    first = int(places[0])
    finite = np.isfinite(values)
    if not finite[first:].any():
        return f"not finite from task {first + 1}"
    num_recorded = int(finite.sum()) + len(places)
    return f"not finite in {len(places)} of {_count(num_recorded, 'task')}, first in task {first + 1}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
