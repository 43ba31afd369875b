"""A column of a table of methods: the mean of each, its interval, and which are not worse than the best."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lop_engine.analysis.statistics import Estimate, estimate, holm, t_test
from lop_engine.experiment.components import Better

LEVEL = 0.05
"""Of the paired tests against the best, after Holm's correction."""


@dataclass(frozen=True)
class Entry:
    """One method in one column."""

    value: Estimate
    """Over its seeds."""
    is_best: bool
    p_holm: float
    """Of the paired test against the best, corrected for the column; NaN of the best and without two common seeds."""
    num_pairs: int
    """Seeds in common with the best."""
    is_marked: bool
    """Whether it is set in bold: the best, if there is a test against it, and those that no test finds worse."""


def column(values: Sequence[Mapping[int, float]], better: Better) -> list[Entry]:
    """Compare each method with the best of the column, paired by seed.

    Args:
        values: for each method its value by seed, all finite; empty for one without.
    """
    found = [estimate(np.array(list(one.values()))) for one in values]
    sign = 1 if better == "higher" else -1
    order = [place for place, one in enumerate(found) if one.num_values]
    if not order:
        return [Entry(one, False, float("nan"), 0, False) for one in found]
    best = max(order, key=lambda place: sign * found[place].mean)
    pairs = [sorted(one.keys() & values[best].keys()) for one in values]
    tests = [
        float("nan") if place == best else t_test(np.array([one[seed] - values[best][seed] for seed in pairs[place]]))
        for place, one in enumerate(values)
    ]
    corrected = holm(tests)
    is_tested = bool(np.isfinite(corrected).any())
    return [
        Entry(
            one,
            place == best,
            corrected[place],
            len(pairs[place]),
            is_tested and (place == best or corrected[place] >= LEVEL),
        )
        for place, one in enumerate(found)
    ]
