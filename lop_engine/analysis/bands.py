"""How far a band reaches about a mean over seeds."""

from typing import Literal, get_args

import numpy as np

from lop_engine.analysis.curves import Curve
from lop_engine.analysis.statistics import t_quantile

Band = Literal["se", "sd", "ci95", "none"]

BANDS: tuple[Band, ...] = get_args(Band)


def reach(curve: Curve, band: Band) -> np.ndarray:
    """How far `band` reaches to either side of the mean, shape (points,), in the metric's units.

    ``se`` is one standard error, ``sd`` one standard deviation over seeds (both of the population, as everywhere),
    ``ci95`` the 95 % interval by Student's t. NaN where a single seed has no spread, and everywhere for ``none``.
    """
    count = np.where(curve.num_seeds > 1, curve.num_seeds, np.nan)
    if band == "none":
        return np.full(len(count), np.nan)
    if band == "sd":
        return curve.standard_error * np.sqrt(count)
    if band == "ci95":
        return t_quantile(count - 1) * curve.standard_error * np.sqrt(count / (count - 1))
    return np.where(np.isnan(count), np.nan, curve.standard_error)
