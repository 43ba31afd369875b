"""A group in one number: its level over all its tasks; and whether it has any."""

from collections.abc import Sequence

import numpy as np

from lop_engine.analysis.groups import Group


def mean_level(group: Group, metric: str) -> float:
    """Mean over seeds of each seed's mean over the tasks it has done, in the metric's units; NaN of none."""
    means = [float(series[known].mean()) for series, known in _finite(group, metric) if known.any()]
    return float(np.mean(means)) if means else float("nan")


def is_never_finite(groups: Sequence[Group], metrics: Sequence[str]) -> bool:
    """Whether `groups` have records of some of `metrics`, but no finite value."""
    known = [finite for group in groups for metric in metrics for _, finite in _finite(group, metric) if len(finite)]
    return bool(known) and not any(finite.any() for finite in known)


def _finite(group: Group, metric: str) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(run.series[metric], np.isfinite(run.series[metric])) for run in group.runs if metric in run.series]
