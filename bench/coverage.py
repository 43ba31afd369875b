"""``python -m bench.coverage``: how often 95 % intervals cover the truth, Student's t and the bootstrap.

Prints the table of docs/statistics.md from simulated differences of pairs. Takes half a minute.
"""

import argparse
from collections.abc import Callable

import numpy as np
from rich.console import Console
from rich.table import Table

from lop_engine.analysis import statistics
from lop_engine.analysis.statistics import bootstrap_interval, t_quantile

PAIRS = (2, 3, 5, 10, 20, 30)
BATCH = 1000
"""Experiments at a time."""

Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]
SHAPES: dict[str, Draw] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "skewed": lambda rng, shape: rng.exponential(size=shape) - 1,  # with mean 0, like the others
}


def coverage(draw: Draw, num_pairs: int, experiments: int) -> tuple[float, float]:
    """Return the shares of experiments whose interval by t, and by the bootstrap, contains the true mean, 0."""
    rng = np.random.default_rng(num_pairs)
    by_t, by_bootstrap = [], []
    for _ in range(max(1, experiments // BATCH)):
        values = draw(rng, (min(BATCH, experiments), num_pairs))
        mean, error = values.mean(1), values.std(1, ddof=1) / num_pairs**0.5
        by_t.append(np.abs(mean) <= t_quantile(np.array(num_pairs - 1.0)) * error)
        low, high = bootstrap_interval(values)
        by_bootstrap.append((low <= 0) & (high >= 0))
    return float(np.mean(by_t)), float(np.mean(by_bootstrap))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiments", type=int, default=20_000)
    parser.add_argument("--resamples", type=int, default=1999)
    given = parser.parse_args()
    statistics.RESAMPLES = given.resamples
    table = Table("pairs", *(f"{name}, {shape}" for shape in SHAPES for name in ("t", "bootstrap")))
    for num_pairs in PAIRS:
        shares = [share for draw in SHAPES.values() for share in coverage(draw, num_pairs, given.experiments)]
        table.add_row(str(num_pairs), *(f"{share:.1%}" for share in shares))
    Console().print(table)


if __name__ == "__main__":
    main()
