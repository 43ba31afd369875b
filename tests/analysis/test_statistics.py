"""Intervals and tests of paired differences, checked with scipy, by hand and by simulation."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import bootstrap, ttest_rel

from lop_engine.analysis import compare, compare_to_first, protocol_differences, statistics
from lop_engine.analysis.statistics import bootstrap_interval, estimate, holm, paired_test
from tests.analysis.test_paired import group

METRIC = "test_accuracy"


@pytest.mark.parametrize("num_pairs", [2, 5, 30])
def test_paired_test_agrees_with_scipy(num_pairs):
    rng = np.random.default_rng(num_pairs)
    for _ in range(20):
        a, b = rng.normal(size=num_pairs), rng.normal(0.3, 2, num_pairs)
        result, expected = paired_test(b - a), ttest_rel(b, a)
        limits = expected.confidence_interval(0.95)
        assert result.p_value == pytest.approx(expected.pvalue)
        assert (result.difference.low, result.difference.high) == pytest.approx(tuple(limits))
        assert result.effect_size == pytest.approx((b - a).mean() / (b - a).std(ddof=1))
        assert result.num_agree == sum((b - a > 0) == ((b - a).mean() > 0))


def test_the_bootstrap_agrees_with_scipy_and_is_deterministic():
    values = np.random.default_rng(3).exponential(size=12)
    options = {"n_resamples": 9999, "method": "BCa", "random_state": np.random.default_rng(0)}
    expected = bootstrap((values,), np.mean, **options).confidence_interval
    assert bootstrap_interval(values) == tuple(expected)
    assert paired_test(values).bootstrap == tuple(expected)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.7, 0.6]) == [1, 1]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


def test_holm_ignores_undefined_p_values():
    first, none, second = holm([0.01, math.nan, 0.04])
    assert (first, second) == (0.02, 0.04)
    assert math.isnan(none)


def test_one_pair_has_a_mean_but_no_interval_or_test():
    result = paired_test(np.array([0.3]))
    assert (result.difference.mean, result.difference.num_values, result.num_agree) == (0.3, 1, 1)
    undefined = (result.difference.low, *result.bootstrap, result.p_value, result.effect_size)
    assert all(map(math.isnan, undefined))
    assert math.isnan(estimate(np.empty(0)).mean)


@pytest.mark.parametrize(("value", "p_value", "agree"), [(0.0, 1, 0), (0.5, 0, 4)])
def test_equal_differences_have_a_p_value_and_a_bootstrap_interval(value, p_value, agree):
    result = paired_test(np.full(4, value))
    assert (result.p_value, result.num_agree, result.bootstrap) == (p_value, agree, (value, value))
    assert math.isnan(result.effect_size)


@pytest.mark.parametrize("num_pairs", [5, 30])
def test_the_95_percent_interval_covers_the_truth_in_95_percent(num_pairs):
    rng = np.random.default_rng(0)
    seeds = rng.normal(0, 3, (num_pairs, 4000))  # the effect of a seed on both methods
    a, b = (seeds + rng.normal(shift, 1, seeds.shape) for shift in (0, 0.2))
    difference = compare(group(a), group(b), METRIC, bin_size=1)
    covered = (difference.low <= 0.2) & (difference.high >= 0.2)
    assert 0.94 < covered.mean() < 0.96


def test_the_bootstrap_interval_covers_less_often_with_fewer_pairs(monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 999)

    def coverage(num_pairs):
        low, high = bootstrap_interval(np.random.default_rng(1).normal(size=(1000, num_pairs)))
        return ((low <= 0) & (high >= 0)).mean()

    assert 0.92 < coverage(30) < 0.96
    assert 0.8 < coverage(5) < 0.88  # the figure in docs/statistics.md


def test_groups_are_compared_at_the_end_over_the_last_bins_and_over_the_whole_run():
    a, b = np.zeros((3, 6)), np.array([[0, 0, 0, 0, 2, 4]] * 3) + np.array([[-1], [0], [1]])
    (comparison,) = compare_to_first([group(a), group(b, name="cbp")], METRIC, num_last=2, bin_size=1)
    by_name = {stretch.name: stretch for stretch in comparison.stretches}
    assert [stretch.num_bins for stretch in comparison.stretches] == [1, 2, None, 6]
    assert [by_name[name].test.difference.mean for name in ("end", "last", "tenth", "area")] == [4, 3, 4, 1]
    assert (comparison.last_task, comparison.pairs, comparison.left_out) == (6, (0, 1, 2), ())
    assert by_name["end"].p_holm is None
    (comparison,) = compare_to_first([group(a), group(b, name="cbp")], METRIC, num_last=10, bin_size=4)
    assert [stretch.num_bins for stretch in comparison.stretches] == [1, 2, None, 2]  # the last bin is short
    assert (comparison.last_task, comparison.last_bin) == (6, 2)
    means = [stretch.test.difference.mean for stretch in comparison.stretches]
    assert means == pytest.approx([3, 1, 4, 1])  # weighted by tasks, so the area is unchanged


def test_pairs_that_lack_bins_are_left_out_and_named():
    a = group([[1, 1, 1, 1], [1, 1, 1, 1], [1, 1], [1, math.nan, 1, 1], []], num_tasks=4)
    b = group([[2, 2, 2, 2]] * 5, name="cbp")
    (comparison,) = compare_to_first([a, b], METRIC, bin_size=1)
    assert (comparison.pairs, comparison.left_out, comparison.last_task) == ((0, 1), (2, 3, 4), 4)
    assert comparison.stretches[0].test.difference.num_values == 2


def test_unfinished_runs_are_compared_up_to_the_task_that_half_of_the_started_pairs_reached():
    a = group([[1, 1, 1, 1], [1, 1], [1, 1], [], []], num_tasks=4)
    (comparison,) = compare_to_first([a, group([[2, 2, 2, 2]] * 5, name="cbp")], METRIC, bin_size=1)
    assert (comparison.pairs, comparison.left_out, comparison.last_task) == ((0, 1, 2), (3, 4), 2)


def test_a_diverged_or_failed_seed_is_left_out_and_does_not_shorten_the_comparison():
    for state in ("diverged", "failed"):
        a = group([[1, 1, 1, 1], [1, 1], [1, 1]], num_tasks=4)
        a = replace(a, runs=(a.runs[0], *(replace(run, state=state) for run in a.runs[1:])))
        (comparison,) = compare_to_first([a, group([[2, 2, 2, 2]] * 3, name="cbp")], METRIC, bin_size=1)
        assert (comparison.pairs, comparison.left_out, comparison.last_task) == ((0,), (1, 2), 4)


def test_groups_of_different_length_are_compared_over_the_common_tasks():
    short, long = group([[1, 1, 1]] * 2), group([[2, 2, 2, 9, 9]] * 2, name="cbp")
    (comparison,) = compare_to_first([short, long], METRIC, bin_size=1)
    assert comparison.last_task == 3
    assert comparison.stretches[-1].test.difference.mean == 1


def test_comparisons_with_the_first_group_are_corrected_as_one_family():
    rng = np.random.default_rng(5)
    groups = [group(rng.normal(shift, 1, (8, 4)), name=f"m{shift}") for shift in (0, 1, 2)]
    apart = group([[1.0]], seeds=[99], name="apart")
    comparisons = compare_to_first([groups[0], apart, *groups[1:]], METRIC, bin_size=1)
    assert comparisons[0].stretches == ()
    for index in range(3):
        stretches = [comparison.stretches[index] for comparison in comparisons[1:]]
        assert [one.p_holm for one in stretches] == holm([one.test.p_value for one in stretches])


def with_spec(name, **spec):
    made = group([[1.0]], name=name)
    made.runs[0].spec.update(spec)
    return made


def test_protocol_differences_ignore_the_keys_of_methods():
    a = with_spec("bp", agent="bp", step_size=0.01, num_showings=250, num_tasks=1)
    b = with_spec("cbp", agent="cbp", step_size=0.1, momentum=0.9, replacement_rate=0.1, num_showings=6, num_tasks=9)
    b.runs[0].spec.update(num_runs=3, width=1.0, metrics_every=0)
    assert protocol_differences(a, b) == {"num_showings": (250, 6)}
