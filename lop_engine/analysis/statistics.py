"""What a mean over seeds says: Student's and bootstrap intervals, the paired t-test, Holm's correction.

Seeds are the independent units here: a value is one seed's, or the difference of one pair. scipy is loaded when it
is needed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
RESAMPLES = 9999
"""Of the bootstrap, drawn from a generator of a fixed seed: the same values have the same interval."""

NAN = float("nan")


@dataclass(frozen=True)
class Estimate:
    """The mean of independent values, in their units."""

    mean: float
    """NaN of none."""
    deviation: float
    """Sample standard deviation; NaN of fewer than two values."""
    low: float
    """Lower limit of the 95 % interval by Student's t; NaN of fewer than two values."""
    high: float
    num_values: int


@dataclass(frozen=True)
class PairedTest:
    """The mean of paired differences and how sure it is; NaN where there are too few pairs to tell."""

    difference: Estimate
    bootstrap: tuple[float, float]
    """The 95 % interval by the bias-corrected and accelerated bootstrap; with few pairs it is too narrow."""
    p_value: float
    """Of the paired t-test, two-sided; 1 where no pair differs at all."""
    effect_size: float
    """Cohen's d_z: the mean over the standard deviation of the differences; NaN where they do not vary."""
    num_agree: int
    """Pairs whose difference has the sign of the mean."""


def estimate(values: np.ndarray) -> Estimate:
    """The mean of `values`, shape (n,), all finite, with its interval."""
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
    """Test paired `differences`, shape (pairs,), all finite, against none."""
    found = estimate(differences)
    agree = int((np.sign(differences) == np.sign(found.mean)).sum()) if found.mean else 0
    if found.num_values < 2:
        return PairedTest(found, (NAN, NAN), NAN, NAN, agree)
    p_value = t_test(differences)
    if not np.ptp(differences):
        return PairedTest(found, (found.mean, found.mean), p_value, NAN, agree)
    low, high = map(float, bootstrap_interval(differences))
    return PairedTest(found, (low, high), p_value, found.mean / found.deviation, agree)


def t_test(differences: np.ndarray) -> float:
    """The two-sided p value of paired `differences`, shape (pairs,), all finite; NaN of fewer than two.

    If all differences are equal, it is 1 if they are 0, and otherwise 0.
    """
    if len(differences) < 2:
        return NAN
    mean, deviation = float(differences.mean()), float(differences.std(ddof=1))
    if not np.ptp(differences):
        return 0.0 if mean else 1.0
    return _p_value(mean / deviation, len(differences))


def bootstrap_interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The BCa bootstrap interval of the mean along the last axis.

    Args:
        values: shape (..., n), n > 1; the n values are not all alike.
    Returns:
        Lower and upper limits, shape (...).
    """
    from scipy.stats import bootstrap

    found = bootstrap(
        (values,),
        np.mean,
        axis=-1,
        n_resamples=RESAMPLES,
        batch=max(1, 10_000_000 // values.size),  # 80 MB
        confidence_level=CONFIDENCE,
        method="BCa",
        random_state=np.random.default_rng(0),
    )
    return found.confidence_interval.low, found.confidence_interval.high


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: p values that hold for the family as a whole, in their order.

    A p value that is NaN was no test: it stays NaN, and the family is the smaller for it.
    """
    tests = sorted((p, index) for index, p in enumerate(p_values) if not np.isnan(p))
    corrected = [NAN] * len(p_values)
    least = 0.0
    for rank, (p, index) in enumerate(tests):
        least = max(least, min(1.0, p * (len(tests) - rank)))
        corrected[index] = least
    return corrected


def t_quantile(degrees: np.ndarray) -> np.ndarray:
    """How many standard errors the interval reaches to either side, by degrees of freedom; NaN of NaN."""
    from scipy.special import stdtrit  # takes longer to load than everything else that lop --help needs

    return np.asarray(stdtrit(degrees, (1 + CONFIDENCE) / 2))


def _p_value(effect: float, num_pairs: int) -> float:
    from scipy.special import stdtr

    return float(2 * stdtr(num_pairs - 1, -abs(effect) * num_pairs**0.5))
