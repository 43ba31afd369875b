"""How many pairs of seeds a difference takes, and which difference some pairs can show: the power of the paired t-test.

The standard deviation of the differences comes from the pairs so far and is itself uncertain. Power is therefore
averaged over the deviations that these pairs allow; without that, plans from a few pairs fall short of their power.
"""

from dataclasses import dataclass

import numpy as np

from lop_engine.analysis.statistics import Estimate

POWER = 0.8
LEVEL = 0.05
"""Of the two-sided test."""
MOST = 100_000
"""Pairs; more are not searched for."""
_QUANTILES = (np.arange(128) + 0.5) / 128


@dataclass(frozen=True)
class Plan:
    """What a number of pairs can show."""

    power: float
    difference: float
    """That is to be shown, in the metric's units."""
    needed: int | None
    """Pairs that show it with this power; None if `MOST` do not."""
    detectable: float
    """The smallest difference that the pairs so far show with this power."""
    reached: float
    """The power of the pairs so far for `difference`."""


def plan(found: Estimate, difference: float | None = None, power: float = POWER) -> Plan | None:
    """Plan with the deviation of `found`, the paired differences so far; None where they have no spread.

    Args:
        difference: to be shown; by default the mean of those so far.
    """
    if found.num_values < 2 or not found.deviation > 0:
        return None
    wanted = abs(found.mean if difference is None else difference)
    scales = deviations(found.deviation, found.num_values)
    return Plan(
        power,
        wanted,
        pairs_needed(wanted, scales, power),
        detectable(found.num_values, scales, power),
        mean_power(found.num_values, wanted, scales),
    )


def deviations(deviation: float, num_pairs: int) -> np.ndarray:
    """Equally likely true standard deviations, shape (128,), given the one of `num_pairs` pairs, two at least."""
    from scipy.special import chdtri

    return deviation * np.sqrt((num_pairs - 1) / chdtri(num_pairs - 1, _QUANTILES))


def mean_power(num_pairs: int, difference: float, scales: np.ndarray) -> float:
    """How often the paired t-test finds `difference`, averaged over the deviations `scales`; 0 of fewer than two."""
    from scipy.special import nctdtr, stdtrit

    if num_pairs < 2:
        return 0.0
    degrees = num_pairs - 1
    limit = stdtrit(degrees, 1 - LEVEL / 2)
    centre = difference * num_pairs**0.5 / scales
    # scipy has NaN for probabilities below 1e-14.
    missed, other_side = (np.nan_to_num(nctdtr(degrees, centre, edge)) for edge in (limit, -limit))
    return float(np.mean(1 - missed + other_side))


def pairs_needed(difference: float, scales: np.ndarray, power: float = POWER) -> int | None:
    """The least number of pairs that has `power`; None if `MOST` have not."""
    low, high = 1, 2
    while mean_power(high, difference, scales) < power:
        low, high = high, 2 * high
        if high > MOST:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if mean_power(middle, difference, scales) >= power else (middle, high)
    return high


def detectable(num_pairs: int, scales: np.ndarray, power: float = POWER) -> float:
    """The smallest difference that `num_pairs` pairs, two at least, find with `power`."""
    low, high = 0.0, float(scales.mean())
    while mean_power(num_pairs, high, scales) < power:
        low, high = high, 2 * high
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if mean_power(num_pairs, middle, scales) >= power else (middle, high)
    return high
