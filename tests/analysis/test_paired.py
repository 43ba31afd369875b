"""Compare two groups seed by seed, and check the result with scipy's paired t-test."""

import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ttest_rel

from lop_engine.analysis import Group, compare
from lop_engine.runs.directory import RunDir
from lop_engine.runs.records import RunStatus
from lop_engine.runs.views import RunView


def group(values, seeds=None, num_tasks=None, name="bp"):
    """Return a group whose seeds have these test accuracies, one row for each seed."""
    rows = [np.array(row, dtype=float) for row in values]
    num_tasks = num_tasks or max(map(len, rows))
    runs = [
        RunView(
            RunDir(Path("runs") / name / "default" / f"seed_{seed:03d}"),
            {"num_tasks": num_tasks},
            RunStatus(),
            "running",
            {"test_accuracy": row},
        )
        for seed, row in zip(seeds or range(len(rows)), rows, strict=True)
    ]
    return Group(name, "default", tuple(runs))


def test_the_interval_equals_that_of_the_paired_t_test():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(7, 12)), rng.normal(0.5, 2, size=(7, 12))
    difference = compare(group(a), group(b), "test_accuracy", 3)
    bins_a, bins_b = a.reshape(7, 4, 3).mean(2), b.reshape(7, 4, 3).mean(2)
    expected = ttest_rel(bins_b, bins_a).confidence_interval(0.95)
    assert difference.mean == pytest.approx((bins_b - bins_a).mean(0))
    assert difference.standard_error == pytest.approx((bins_b - bins_a).std(0, ddof=1) / math.sqrt(7))
    assert difference.low == pytest.approx(expected.low)
    assert difference.high == pytest.approx(expected.high)
    assert difference.num_pairs.tolist() == [7] * 4
    assert difference.task.tolist() == [2, 5, 8, 11]
    assert difference.last == pytest.approx((difference.mean[3], difference.low[3], difference.high[3]))


@pytest.mark.parametrize("num_pairs", [2, 5, 30])
def test_the_interval_covers_the_true_difference_in_95_percent(num_pairs):
    rng = np.random.default_rng(num_pairs)
    num_bins, shared = 4000, rng.normal(size=(num_pairs, 4000))  # the effect of a seed's classes on both methods
    a, b = (shared + rng.normal(size=(num_pairs, num_bins)) for _ in range(2))
    difference = compare(group(a), group(b + 0.3), "test_accuracy", 1)
    assert np.mean((difference.low <= 0.3) & (difference.high >= 0.3)) == pytest.approx(0.95, abs=0.015)


def test_seeds_are_paired_by_number_and_unpaired_ones_are_named():
    difference = compare(
        group([[1.0], [2.0], [9.0]], seeds=[0, 3, 5]), group([[7.0], [4.0], [4.0]], [1, 0, 3]), "test_accuracy", 1
    )
    assert (difference.pairs, difference.only_a, difference.only_b) == ((0, 3), (5,), (1,))
    assert difference.mean.tolist() == [2.5]


def test_a_bin_counts_pairs_with_complete_finite_values_in_both_groups():
    a = group([[1, 1, 1, 1], [1, 1, math.nan, 1], [1, 1, 1]], num_tasks=4)
    b = group([[2, 2, 2, 2], [2, 2, 2, 2], [4, 4, 4, 4]], num_tasks=4)
    difference = compare(a, b, "test_accuracy", 2)
    assert difference.num_pairs.tolist() == [3, 1]
    assert difference.mean == pytest.approx([5 / 3, 1])
    assert np.isfinite(difference.low).tolist() == [True, False]
    assert math.isnan(difference.last[1])


def test_groups_of_different_length_are_compared_over_the_tasks_of_the_shorter():
    short, long = group([[1, 1, 1, 1, 1]] * 2), group([[2, 2, 2, 2, 3, 9, 9, 9]] * 2, name="cbp")
    for difference in (compare(short, long, "test_accuracy", 2), compare(long, short, "test_accuracy", 2)):
        assert difference.task.tolist() == [1.5, 3.5, 5]
        assert abs(difference.mean).tolist() == [1, 1, 2]


def parting(differences):
    """Return the task at which two groups separate; their three pairs differ by about `differences`, one bin a task."""
    spread = np.array([[-0.01], [0], [0.01]])
    rows = np.array(differences) + spread
    difference = compare(group(np.zeros_like(rows)), group(rows), "test_accuracy", 1)
    assert compare(group(rows), group(np.zeros_like(rows)), "test_accuracy", 1).parts_at == difference.parts_at
    return difference.parts_at


def test_methods_separate_at_the_first_bin_after_which_the_sign_of_the_difference_is_constant():
    assert parting([0, 0, 1, 1, 1]) == 3
    assert parting([1, 1, 1]) == 1
    assert parting([1, 0, 1, 1]) == 3
    assert parting([-1, -1, 1, 1]) == 3
    assert parting([1, 1, 0]) is None
    assert parting([0, 0, 0]) is None


def test_bins_with_a_single_pair_do_not_decide_where_methods_separate():
    a = group([[0, 0, 0, 0], [0, 0, 0], [0, 0, 0]])
    b = group([[0, 1, 1.1, -1], [0, 1.1, 1], [0, 1, 1]])
    difference = compare(a, b, "test_accuracy", 1)
    assert difference.num_pairs.tolist() == [3, 3, 3, 1]
    assert difference.parts_at == 2
    assert compare(group([[0, 0]]), group([[1, 1]]), "test_accuracy", 1).parts_at is None


def test_groups_without_common_seeds_or_values_give_an_empty_difference():
    for a, b in ((group([[1.0]]), group([[1.0]], seeds=[1])), (Group("bp", "default", ()), group([[1.0]]))):
        difference = compare(a, b, "test_accuracy")
        assert difference.pairs == ()
        assert difference.mean.size == difference.low.size == 0
        assert difference.parts_at is None
        assert all(map(math.isnan, difference.last))
    assert compare(group([[1.0]]), group([[1.0]]), "curvature").mean.size == 0
