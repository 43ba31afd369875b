"""Statistics of means over seeds: intervals, the paired t-test, Holm's correction, and power.

Seeds are the independent units: a value belongs to one seed, or is the difference of one pair. scipy is imported when
is needed.

Power is that of the paired t-test. The standard deviation of the differences is estimated from the pairs so far and
thus uncertain, so power is averaged over the deviations that are compatible with these pairs; without this, plans from
short of their power.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
RESAMPLES = 9999
"""Resamples of the bootstrap, drawn with a fixed seed: the same values give the same interval."""

NAN = float("nan")


@dataclass(frozen=True)
class Estimate:
    """The mean of independent values, in their units."""

    mean: float
    """NaN without values."""
    deviation: float
    """Sample standard deviation; NaN for fewer than two values."""
    low: float
    """Lower limit of the 95 % interval by Student's t; NaN for fewer than two values."""
    high: float
    num_values: int


@dataclass(frozen=True)
class PairedTest:
    """The mean of paired differences and its uncertainty; NaN if there are too few pairs."""

    difference: Estimate
    bootstrap: tuple[float, float]
    """The 95 % interval by the bias-corrected and accelerated bootstrap; with few pairs it is too narrow."""
    p_value: float
    """p value of the paired t-test, two-sided; 1 if no pair differs."""
    effect_size: float
    """Cohen's d_z: the mean over the standard deviation of the differences; NaN if they do not vary."""
    num_agree: int
    """Pairs whose difference has the sign of the mean."""


def estimate(values: np.ndarray) -> Estimate:
    """Return the mean of `values`, shape (n,), all finite, with its interval."""
    num = len(values)
    if not num:
        return Estimate(NAN, NAN, NAN, NAN, 0)
    mean = float(values.mean())
    if num == 1:
        return Estimate(mean, NAN, NAN, NAN, 1)
    deviation = float(values.std(ddof=1))
    reach = float(t_quantile(np.array(num - 1.0))) * deviation / num**0.5
    return Estimate(mean, deviation, mean - reach, mean + reach, num)


def paired_test(differences: np.ndarray) -> PairedTest:
    """Test whether the mean of paired `differences`, shape (pairs,), all finite, is 0."""
    estimated = estimate(differences)
    agree = int((np.sign(differences) == np.sign(estimated.mean)).sum()) if estimated.mean else 0
    if estimated.num_values < 2:
        return PairedTest(estimated, (NAN, NAN), NAN, NAN, agree)
    p_value = t_test(differences)
    if not np.ptp(differences):
        return PairedTest(estimated, (estimated.mean, estimated.mean), p_value, NAN, agree)
    low, high = map(float, bootstrap_interval(differences))
    return PairedTest(estimated, (low, high), p_value, estimated.mean / estimated.deviation, agree)


def t_test(differences: np.ndarray) -> float:
    """Return the two-sided p value of paired `differences`, shape (pairs,), all finite; NaN for fewer than two.

    If all differences are equal, it is 1 if they are 0, and otherwise 0.
    """
    if len(differences) < 2:
        return NAN
    mean, deviation = float(differences.mean()), float(differences.std(ddof=1))
    if not np.ptp(differences):
        return 0.0 if mean else 1.0
    return _p_value(mean / deviation, len(differences))


def bootstrap_interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the BCa bootstrap interval of the mean along the last axis.

    Args:
        values: shape (..., n), n > 1; the n values are not all alike.
    Returns:
        Lower and upper limits, shape (...).
    """
    from scipy.stats import bootstrap

    result = bootstrap(
        (values,),
        np.mean,
        axis=-1,
        n_resamples=RESAMPLES,
        batch=max(1, 10_000_000 // values.size),  # 80 MB
        confidence_level=CONFIDENCE,
        method="BCa",
        random_state=np.random.default_rng(0),
    )
    return result.confidence_interval.low, result.confidence_interval.high


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p values with Holm's step-down method, keeping their order.

    A NaN p value means that there was no test: it stays NaN, and does not count in the family.
    """
    tests = sorted((p, index) for index, p in enumerate(p_values) if not np.isnan(p))
    corrected = [NAN] * len(p_values)
    least = 0.0
    for rank, (p, index) in enumerate(tests):
        least = max(least, min(1.0, p * (len(tests) - rank)))
        corrected[index] = least
    return corrected


def t_quantile(degrees: np.ndarray) -> np.ndarray:
    """Return Student's quantile for the interval, by degrees of freedom; NaN for NaN."""
    from scipy.special import stdtrit  # importing it takes longer than everything else that lop --help needs

    return np.asarray(stdtrit(degrees, (1 + CONFIDENCE) / 2))


def _p_value(effect: float, num_pairs: int) -> float:
    from scipy.special import stdtr

    return float(2 * stdtr(num_pairs - 1, -abs(effect) * num_pairs**0.5))


POWER = 0.8
LEVEL = 0.05
"""Level of the two-sided test."""
MOST = 100_000
"""Largest number of pairs that is searched."""
_QUANTILES = (np.arange(128) + 0.5) / 128


@dataclass(frozen=True)
class Plan:
    """What a number of pairs can detect."""

    power: float
    difference: float
    """The difference to detect, in the metric's units."""
    needed: int | None
    """Pairs that detect it with this power; None if `MOST` do not."""
    detectable: float
    """The smallest difference that the pairs so far detect with this power."""
    reached: float
    """The power of the pairs so far for `difference`."""


def plan(pilot: Estimate, difference: float | None = None, power: float = POWER) -> Plan | None:
    """Plan with the deviation of `pilot`, the paired differences so far; None if they have no spread.

    Args:
        difference: difference to detect; by default the mean of those so far.
    """
    if pilot.num_values < 2 or not pilot.deviation > 0:
        return None
    effect = abs(pilot.mean if difference is None else difference)
    scales = deviations(pilot.deviation, pilot.num_values)
    return Plan(
        power,
        effect,
        pairs_needed(effect, scales, power),
        detectable(pilot.num_values, scales, power),
        mean_power(pilot.num_values, effect, scales),
    )


def deviations(deviation: float, num_pairs: int) -> np.ndarray:
    """Return equally likely true standard deviations, shape (128,), given that of at least two pairs."""
    from scipy.special import chdtri

    return deviation * np.sqrt((num_pairs - 1) / chdtri(num_pairs - 1, _QUANTILES))


def mean_power(num_pairs: int, difference: float, scales: np.ndarray) -> float:
    """Return the power of the paired t-test for `difference`, averaged over `scales`; 0 for fewer than two pairs."""
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
    """Return the least number of pairs with `power`; None if `MOST` do not reach it."""
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
    """Return the smallest difference that `num_pairs` pairs, at least two, detect with `power`."""
    low, high = 0.0, float(scales.mean())
    while mean_power(num_pairs, high, scales) < power:
        low, high = high, 2 * high
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if mean_power(num_pairs, middle, scales) >= power else (middle, high)
    return high
