"""Choosing settings, tables of methods, and planning the number of seeds, checked by simulation and by hand."""

import math
from pathlib import Path

import numpy as np
import pytest

from lop_engine.analysis import Group
from lop_engine.analysis.choice import best_row, bootstrap_shares, choose, families
from lop_engine.analysis.comparison import column
from lop_engine.analysis.statistics import deviations, estimate, mean_power, pairs_needed, plan
from lop_engine.runs.directory import RunDir
from lop_engine.runs.records import RunStatus
from lop_engine.runs.views import RunView

METRIC = "test_accuracy"


def setting(name, series, spec, experiment="bp", seeds=None, metric=METRIC):
    """Return a group whose seeds recorded `series`, a list of task values for each seed."""
    spec = {"agent": "bp", "num_tasks": max(map(len, series))} | spec
    runs = [
        RunView(
            RunDir(Path(f"runs/{experiment}/{name}/seed_{seed:03d}")),
            spec,
            RunStatus(),
            "finished",
            {metric: np.array(one, dtype=float)},
        )
        for seed, one in zip(seeds or range(len(series)), series, strict=True)
    ]
    return Group(experiment, name, tuple(runs))


def sweep(table, key="step_size", values=(0.1, 0.01, 0.001), **rest):
    """Return a setting for each row of `table`, shape (settings, seeds), with one task for each seed."""
    named = zip(values, table, strict=True)
    return [setting(f"{key}={value}", [[one] for one in row], {key: value}, **rest) for value, row in named]


def test_the_reported_mean_is_unbiased_if_all_settings_are_equal():
    rng, studies = np.random.default_rng(0), 2000
    reported, naive = [], []
    for table in rng.normal(0.5, 0.1, (studies, 6, 10)):
        reported.append(table[best_row(table[:, :5], "higher"), 5:].mean())  # as `choose` does, see the next test
        naive.append(table[best_row(table, "higher")].mean())
    error = np.std(reported) / studies**0.5
    assert abs(np.mean(reported) - 0.5) < 2 * error
    assert np.mean(naive) - 0.5 > 10 * error


@pytest.mark.parametrize("metric", ["test_accuracy", "train_loss_of_nobody"])
def test_choose_selects_on_some_seeds_and_reports_the_others(metric):
    rng = np.random.default_rng(1)
    for table in rng.normal(0.5, 0.1, (20, 3, 7)):
        choice = choose(sweep(table, metric=metric), metric)
        best = table[:, :3].mean(1).argmax()
        assert choice.group.setting == f"step_size={(0.1, 0.01, 0.001)[best]}"
        assert (choice.select_seeds, choice.report_seeds) == ((0, 1, 2), (3, 4, 5, 6))
        assert choice.report == estimate(table[best, 3:])
        assert [run.seed for run in choice.shown.runs] == [3, 4, 5, 6]
        assert choice.score.chosen_share == max(score.chosen_share for score in choice.scores)


def test_selection_seeds_can_be_named_and_lower_may_be_better(monkeypatch):
    from lop_engine.experiment import lookup
    from lop_engine.experiment.components import Metric

    error = Metric(name="error", title="error", takes=(), better="lower")
    monkeypatch.setattr(lookup, "metric", lambda name: error)
    table = np.array([[3.0, 1, 1, 9], [2, 2, 2, 2], [1, 3, 3, 3]])
    assert choose(sweep(table, metric="error"), "error").group.setting == "step_size=0.1"
    choice = choose(sweep(table, metric="error"), "error", select_seeds=[0])
    assert (choice.group.setting, choice.select_seeds, choice.report.mean) == ("step_size=0.001", (0,), 3)
    assert choice.score.chosen_share == 1


def test_a_setting_that_lacks_a_selection_seed_is_left_out_and_named():
    table = np.array([[0.9, math.nan, 0.9, 0.9], [0.5, 0.5, 0.5, math.nan], [0.4, 0.4, 0.4, 0.4]])
    choice = choose(sweep(table), METRIC)
    assert choice.group.setting == "step_size=0.01"
    assert [(group.setting, seeds) for group, seeds in choice.left_out] == [("step_size=0.1", (1,))]
    assert (choice.report_seeds, choice.missing, choice.num_settings) == ((2,), (3,), 3)
    assert choose(sweep(np.full((3, 4), math.nan)), METRIC) is None


def test_a_choice_on_a_single_seed_is_marked_as_biased():
    choice = choose(sweep(np.array([[0.1], [0.9], [0.5]])), METRIC)
    assert (choice.group.setting, choice.select_seeds, choice.report_seeds) == ("step_size=0.01", (0,), ())
    assert choice.is_biased
    assert choice.shown is choice.group
    (alone,) = families([setting("default", [[0.5], [0.7]], {})])
    choice = choose(alone, METRIC)
    assert (choice.select_seeds, choice.report_seeds, choice.is_biased) == ((), (0, 1), False)


def test_the_bootstrap_share_measures_the_certainty_of_the_choice():
    apart = np.array([[1.0, 1.1, 0.9], [5.0, 5.1, 4.9]])
    assert bootstrap_shares(apart, "higher").tolist() == [0, 1]
    assert bootstrap_shares(apart, "lower").tolist() == [1, 0]
    assert bootstrap_shares(np.ones((4, 5)), "higher").tolist() == [0.25] * 4
    noise = np.random.default_rng(0).normal(size=(2, 1000))
    noise[1] += noise[0].mean() - noise[1].mean()
    assert bootstrap_shares(noise, "higher") == pytest.approx([0.5, 0.5], abs=0.02)
    # One seed of three decides: without it, in (2/3)^3 of the resamples, the other is better.
    assert bootstrap_shares(np.array([[0, 0, 9.0], [1, 1, 1]]), "higher")[1] == pytest.approx((2 / 3) ** 3, abs=0.015)


def grid(best, shape=(3, 3)):
    """Return settings of two keys, of which the one at `best` has the highest values."""
    return [
        setting(f"a{i}b{j}", [[0.9 if (i, j) == best else 0.1 + 0.01 * i + 0.02 * j]] * 2, {"x": 10.0**-i, "y": j})
        for i in range(shape[0])
        for j in range(shape[1])
    ]


def test_neighbours_differ_by_one_step_in_one_key():
    choice = choose(grid((1, 1)), METRIC)
    assert {(near.key, near.value) for near in choice.nearby} == {("x", 1.0), ("x", 0.01), ("y", 0), ("y", 2)}
    assert choice.edges == ()
    assert {near.score.group.setting for near in choice.nearby} == {"a0b1", "a2b1", "a1b0", "a1b2"}


def test_an_optimum_at_the_edge_of_the_grid_is_reported_except_at_zero():
    def edges_of(best):
        return {(edge.key, edge.value, edge.is_largest) for edge in choose(grid(best), METRIC).edges}

    assert edges_of((0, 2)) == {("x", 1.0, True), ("y", 2, True)}
    assert edges_of((2, 1)) == {("x", 0.01, False)}
    assert edges_of((1, 0)) == set()


def test_non_numeric_keys_have_neither_neighbours_nor_edges():
    groups = [setting(f"act={name}", [[value]] * 2, {"act": name}) for name, value in (("relu", 0.9), ("tanh", 0.1))]
    choice = choose(groups, METRIC)
    assert (choice.nearby, choice.edges) == ((), ())


def test_the_95_percent_intervals_of_a_table_cover_the_truth_in_95_percent():
    rng, covered = np.random.default_rng(2), []
    for table in rng.normal(0.5, 0.1, (1500, 3, 5)) + rng.normal(0, 0.1, (1500, 1, 5)):
        for entry in column([dict(enumerate(row)) for row in table], "higher"):
            covered.append(entry.value.low <= 0.5 <= entry.value.high)
    assert 0.93 < np.mean(covered) < 0.97


def test_clearly_worse_methods_are_marked_in_less_than_5_percent_of_columns():
    rng, false = np.random.default_rng(3), []
    for table in rng.normal(0, 1, (500, 4, 8)) + rng.normal(0, 5, (500, 1, 8)):
        table[0] += 2 * np.sort(np.abs(table)).max()  # the best by far, so all others are worse
        marks = [entry.is_marked for entry in column([dict(enumerate(row)) for row in table], "higher")]
        assert marks[0]
        false.append(any(marks[1:]))
    assert np.mean(false) < 0.05


def test_a_column_without_tests_marks_nothing_and_missing_values_are_skipped():
    single = column([{0: 1.0}, {0: 2.0}], "higher")
    assert [(entry.is_best, entry.is_marked) for entry in single] == [(False, False), (True, False)]
    entries = column([{0: 1.0, 1: 1.1, 2: 0.9}, {}, {0: 5.0, 1: 5.2, 2: 4.7}, {0: 5.1, 1: 4.9, 2: 4.8}], "lower")
    assert [entry.is_marked for entry in entries] == [True, False, False, False]
    assert entries[1].value.num_values == 0
    assert [entry.num_pairs for entry in entries] == [3, 0, 3, 3]
    assert column([{}, {}], "higher")[0].value.num_values == 0


def simulated_power(num_pairs, difference, studies, rng):
    """Return the share of studies in which the paired t-test detects `difference`, in standard deviations."""
    from scipy.special import stdtrit

    values = rng.normal(difference, 1, (studies, num_pairs))
    t = values.mean(1) / (values.std(1, ddof=1) / num_pairs**0.5)
    return float(np.mean(np.abs(t) > stdtrit(num_pairs - 1, 0.975)))


@pytest.mark.parametrize(("difference", "textbook"), [(0.3, 90), (0.5, 34), (0.8, 15), (1.0, 10)])
def test_pairs_needed_agrees_with_the_textbook_and_has_80_percent_power(difference, textbook):
    assert pairs_needed(difference, np.ones(1)) == textbook
    rng = np.random.default_rng(4)
    assert simulated_power(textbook, difference, 20_000, rng) > 0.79
    if textbook > 30:  # with few pairs, one more pair changes the power a lot
        assert abs(simulated_power(textbook, difference, 20_000, rng) - 0.8) < 0.02


@pytest.mark.parametrize("pilot", [4, 6, 10, 30])
def test_a_plan_from_a_small_pilot_has_80_percent_power(pilot):
    """Averaged over pilots, planned studies detect the difference in 80 %; a pilot's own spread would give less."""
    from scipy.special import chdtri

    difference, quantiles = 0.25, (np.arange(400) + 0.5) / 400
    spreads = np.sqrt(chdtri(pilot - 1, quantiles) / (pilot - 1))

    def power_of(planned):
        coarse = np.quantile(spreads, np.linspace(0, 1, 25))
        sizes = np.interp(spreads, coarse, [planned(one) for one in coarse])
        return np.mean([mean_power(int(np.ceil(size)), difference, np.ones(1)) for size in sizes])

    assert abs(power_of(lambda one: pairs_needed(difference, deviations(one, pilot))) - 0.8) < 0.02
    if pilot < 10:
        assert power_of(lambda one: pairs_needed(difference, np.array([one]))) < 0.78


def test_a_plan_has_the_power_and_the_detectable_difference_of_the_present_pairs():
    rng = np.random.default_rng(5)
    plan_of_pairs = plan(estimate(rng.normal(0.02, 0.03, 12)), difference=0.01)
    scales = deviations(estimate(rng.normal(0, 1, 12)).deviation, 12)
    assert plan_of_pairs.needed > 12
    assert plan_of_pairs.reached < 0.8
    assert mean_power(12, plan(estimate(np.array([-1.0, 1] * 6))).detectable, deviations(2 * (3 / 11) ** 0.5, 12)) == (
        pytest.approx(0.8, abs=1e-6)
    )
    assert pairs_needed(1e-6, scales) is None
    assert plan(estimate(np.array([1.0, 1.0]))) is None
    assert plan(estimate(np.array([1.0]))) is None
    assert plan(estimate(np.array([1.0, -1.0]))).needed is None
