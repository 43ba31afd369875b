"""A group in one number: its level over all its tasks, and which setting is best at the end."""

from collections.abc import Sequence

import numpy as np

from lop_engine.analysis.groups import Group
from lop_engine.analysis.tenths import Summary, summarise


def mean_level(group: Group, metric: str) -> float:
    """Mean over seeds of each seed's mean over the tasks it has done, in the metric's units; NaN of none."""
    means = [float(series[known].mean()) for series, known in _finite(group, metric) if known.any()]
    return float(np.mean(means)) if means else float("nan")


def best_at_the_end(groups: Sequence[Group], metric: str | None = None) -> Summary | None:
    """The group whose last tenth of tasks has the best mean of one metric; None while none has a tenth done.

    Of groups still running it is the last tenth that they have whole.
    """
    found = [summary for group in groups if (summary := summarise(group, metric)) and np.isfinite(summary.last)]
    return max(found, key=lambda one: one.last if one.metric.better == "higher" else -one.last, default=None)


def is_never_finite(groups: Sequence[Group], metrics: Sequence[str]) -> bool:
    """Whether `groups` have records of some of `metrics`, but no finite value."""
    known = [finite for group in groups for metric in metrics for _, finite in _finite(group, metric) if len(finite)]
    return bool(known) and not any(finite.any() for finite in known)


def _finite(group: Group, metric: str) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(run.series[metric], np.isfinite(run.series[metric])) for run in group.runs if metric in run.series]
