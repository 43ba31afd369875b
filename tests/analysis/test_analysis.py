"""Compare the aggregation of `analysis` with a plain implementation in Python."""

import itertools
import math
from pathlib import Path
from statistics import fmean, pstdev

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lop_engine.analysis import (
    Group,
    average,
    bin_means,
    default_bin,
    final_value,
    group_runs,
    seed_table,
    smooth,
    summarise,
    summarise_seed,
)
from lop_engine.analysis.windows import last_tenth
from lop_engine.runs.directory import RunDir
from lop_engine.runs.records import RunStatus
from lop_engine.runs.views import RunView

values = st.floats(-100, 100) | st.just(math.nan)


@st.composite
def experiments(draw):
    """Draw (series of some seeds, bin size, num_tasks).

    A seed may have fewer tasks than the others, or have diverged.
    """
    num_tasks = draw(st.integers(1, 30))
    bin_size = draw(st.integers(1, 12))
    series = draw(st.lists(st.lists(values, max_size=num_tasks), max_size=5))
    if draw(st.booleans()):
        series.append(draw(st.lists(values, min_size=num_tasks, max_size=num_tasks)))
    return series, bin_size, num_tasks


def plain_average(series, bin_size, num_tasks):
    """Return [(middle task, mean, standard error, number of seeds), ...], one entry a bin."""
    points = []
    for start in range(0, num_tasks, bin_size):
        end = min(start + bin_size, num_tasks)
        means = [fmean(one[start:end]) for one in series if len(one) >= end]
        means = [mean for mean in means if math.isfinite(mean)]
        if means:
            tasks = range(start + 1, end + 1)
            points.append((fmean(tasks), fmean(means), pstdev(means) / math.sqrt(len(means)), len(means)))
    return points


@settings(max_examples=200, deadline=None, derandomize=True)
@given(experiments())
def test_average_equals_the_plain_average(experiment):
    series, bin_size, num_tasks = experiment
    curve = average([np.array(one, dtype=float) for one in series], bin_size, num_tasks)
    points = plain_average(series, bin_size, num_tasks)
    computed = list(zip(curve.task, curve.mean, curve.standard_error, curve.num_seeds, strict=True))
    assert len(computed) == len(points)
    for one, other in zip(computed, points, strict=True):
        assert one == pytest.approx(other, abs=1e-9)
    assert (curve.low <= curve.mean).all()
    assert (curve.high - curve.mean == pytest.approx(curve.standard_error)) if points else curve.high.size == 0


def test_three_seeds_by_hand():
    curve = average([np.array([1.0, 3, 5, 7, 9]), np.array([3.0, 5, 1, 1]), np.array([2.0, 4])], 2, 5)
    assert curve.task.tolist() == [1.5, 3.5, 5]
    assert curve.mean.tolist() == [3, 3.5, 9]
    assert curve.num_seeds.tolist() == [3, 2, 1]
    assert curve.standard_error == pytest.approx([math.sqrt(2 / 3) / math.sqrt(3), 2.5 / math.sqrt(2), 0])
    assert curve.bin_size == 2


def test_only_complete_bins_are_shown():
    series = np.arange(7.0)
    assert bin_means(series[:5], 3, 7).tolist() == [1]
    assert bin_means(series[:6], 3, 7).tolist() == [1, 4]
    assert bin_means(series, 3, 7).tolist() == [1, 4, 6]
    assert bin_means(series, 3, 8).tolist() == [1, 4]
    assert bin_means(series[:0], 3, 7).tolist() == []
    assert bin_means(series, 50, 7).tolist() == [3]


def test_a_bin_longer_than_the_run_is_placed_at_its_middle():
    assert average([np.ones(10)], 50, 10).task.tolist() == [5.5]


def test_a_diverged_seed_counts_in_the_mean_until_it_diverged():
    curve = average([np.array([1.0, 1, 1, 1]), np.array([3.0, 3, np.nan, np.nan])], 2, 4)
    assert curve.mean.tolist() == [2, 1]
    assert curve.num_seeds.tolist() == [2, 1]


def test_the_average_without_finite_values_is_empty():
    for series in ([], [np.array([])], [np.full(4, np.nan)]):
        curve = average(series, 2, 4)
        assert curve.task.size == curve.mean.size == curve.low.size == 0


@pytest.mark.parametrize(
    ("num_tasks", "size"),
    [(0, 1), (1, 1), (59, 1), (60, 2), (200, 5), (300, 10), (1000, 25), (1499, 49), (1500, 50), (2000, 50), (5000, 50)],
)
def test_default_bin(num_tasks, size):
    assert default_bin(num_tasks) == size


def view(experiment, setting, seed, num_tasks=20, seconds=(), spec=None, **series):
    directory = RunDir(Path("runs") / experiment / setting / f"seed_{seed:03d}")
    arrays = {name: np.array(array, dtype=float) for name, array in series.items()}
    spec = {"num_tasks": num_tasks} | (spec or {})
    return RunView(directory, spec, RunStatus(), "running", arrays, seconds=np.array(seconds, dtype=float))


def test_groups_are_the_settings_of_an_experiment():
    runs = [view("cbp", "default", 0), view("bp", "step_size=0.1", 1), view("bp", "step_size=0.1", 0)]
    groups = group_runs(runs)
    assert [group.label for group in groups] == ["bp step_size=0.1", "cbp"]
    assert [run.seed for run in groups[0].runs] == [0, 1]
    assert groups[0].num_tasks == 20
    assert Group("x", "default", ()).num_tasks == 0


def test_a_group_s_curve_takes_the_default_bin_and_the_seeds_that_have_the_metric():
    series = np.linspace(0, 1, 90)
    runs = [view("bp", "default", seed, 90, curvature=series) for seed in range(2)]
    group = Group("bp", "default", (*runs, view("bp", "default", 2, 90)))
    curve = group.curve("curvature")
    assert curve.bin_size == 3
    assert curve.mean == pytest.approx(series.reshape(30, 3).mean(1))
    assert set(curve.num_seeds) == {2}
    assert group.curve("curvature", 45).mean == pytest.approx(series.reshape(2, 45).mean(1))
    assert group.curve("test_accuracy").mean.size == 0


def test_summary_of_first_best_and_last_tenth():
    accuracy = np.array([[0.5, 0.7, 0.9, 0.9, 0.8, 0.8, 0.7, 0.7, 0.6, 0.4]] * 2).repeat(2, axis=1)
    accuracy[1] += 0.02
    group = Group("bp", "default", tuple(view("bp", "default", s, test_accuracy=accuracy[s]) for s in range(2)))
    summary = summarise(group)
    assert (summary.num_seeds, summary.tasks_done) == (2, 20)
    assert [summary.first, summary.best, summary.last] == pytest.approx([0.51, 0.91, 0.41])
    assert summary.last_standard_error == pytest.approx(0.01 / math.sqrt(2))
    assert summary.lost == pytest.approx(0.5)


def test_no_summary_without_a_finite_value():
    assert summarise(Group("bp", "default", (view("bp", "default", 0),))) is None
    assert summarise(Group("bp", "default", (view("bp", "default", 0, test_accuracy=[math.nan] * 20),))) is None
    runs = (view("bp", "default", 0, test_accuracy=[0.5, 0.7, 0.9]), view("bp", "default", 1, test_accuracy=[0.1]))
    summary = summarise(Group("bp", "default", runs))
    assert (summary.first, summary.num_seeds, summary.tasks_done) == (pytest.approx(0.6), 2, 1)


def plain_tenths(num_tasks):
    """Return the tasks of each tenth, counted from 0. A run of fewer than ten tasks has one part for each task."""
    edges = [i * num_tasks // 10 for i in range(11)] if num_tasks >= 10 else list(range(num_tasks + 1))
    return [range(*pair) for pair in itertools.pairwise(edges)]


@pytest.mark.parametrize("num_tasks", [*range(1, 31), 99, 105, 2000])
def test_the_tenths_of_a_run_differ_in_length_by_at_most_one_task(num_tasks):
    parts = plain_tenths(num_tasks)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    accuracy = np.random.default_rng(num_tasks).random((2, num_tasks))
    group = Group(
        "bp", "default", tuple(view("bp", "default", s, num_tasks, test_accuracy=accuracy[s]) for s in range(2))
    )
    summary, means = summarise(group), [accuracy[:, part].mean() for part in parts]
    means_of_tenths = [summary.first, summary.best, summary.last]
    assert means_of_tenths == pytest.approx([means[0], max(means), means[-1]], rel=1e-12)
    assert last_tenth(num_tasks, num_tasks) == (parts[-1].start + 1, num_tasks)
    for run in group.runs:
        assert final_value(run, "test_accuracy") == pytest.approx(accuracy[run.seed, parts[-1]].mean(), rel=1e-12)


def test_the_final_value_of_an_unfinished_run_averages_its_last_complete_tenth_or_all_its_tasks():
    series = np.arange(40.0)
    expected = {1: 0, 3: 1, 4: 1.5, 7: 1.5, 8: 5.5, 39: 33.5, 40: 37.5}
    for done, value in expected.items():
        assert final_value(view("bp", "default", 0, 40, test_accuracy=series[:done]), "test_accuracy") == value
    runs = (view("bp", "default", 0, 40, test_accuracy=series[:3]), view("bp", "default", 1, 40, test_accuracy=[4]))
    assert (summarise(Group("bp", "default", runs)).last, last_tenth(40, 3)) == (2, (1, 3))


def plain_smooth(values, width):
    """Compute the weighted mean at each point."""
    smoothed = []
    for i in range(len(values)):
        reach = min(width // 2, i, len(values) - 1 - i)
        thin = width % 2 == 0 and reach == width // 2
        window = [(values[j], 0.5 if thin and abs(i - j) == reach else 1) for j in range(i - reach, i + reach + 1)]
        window = [(value, weight) for value, weight in window if math.isfinite(value)]
        total = sum(weight for _, weight in window)
        smoothed.append(sum(value * weight for value, weight in window) / total if total else math.nan)
    return smoothed


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(values, max_size=30), st.integers(2, 40))
def test_smoothing_equals_the_plain_centred_mean(points, width):
    smoothed = smooth(np.array(points, dtype=float), width)
    assert smoothed.tolist() == pytest.approx(plain_smooth(points, width), abs=1e-9, nan_ok=True)


def test_smoothing_with_a_width_of_one_changes_nothing():
    values = np.array([0.1, np.nan, 1e300, -np.inf])
    assert np.array_equal(smooth(values, 1), values, equal_nan=True)
    assert smooth(values, 1) is not values


def test_smoothing_keeps_a_straight_line_up_to_its_ends():
    line = 3 + 0.5 * np.arange(20)
    for width in (2, 3, 8, 9, 50):
        assert smooth(line, width) == pytest.approx(line)


def test_smoothing_fills_short_gaps_and_keeps_long_ones():
    values = np.array([1, 2, np.nan, 4, np.nan, np.nan, np.nan, 8, 9])
    assert smooth(values, 3).tolist() == pytest.approx([1, 1.5, 3, 4, 4, math.nan, 8, 8.5, 9], nan_ok=True)


def test_elapsed_hours_sum_the_mean_task_times_of_the_seeds():
    runs = (view("bp", "default", 0, seconds=[3600, 7200, 3600]), view("bp", "default", 1, seconds=[7200, math.nan]))
    assert Group("bp", "default", runs).elapsed_hours() == pytest.approx([0, 1.5, 3.5, 4.5])


def test_a_task_of_unknown_duration_counts_as_the_mean_of_the_others():
    group = Group("bp", "default", (view("bp", "default", 0, seconds=[3600, math.nan, 7200]),))
    assert group.elapsed_hours() == pytest.approx([0, 1, 2.5, 4.5])
    nothing = Group("bp", "default", (view("bp", "default", 0, seconds=[math.nan] * 2),))
    assert nothing.elapsed_hours().tolist() == [0, 0, 0]
    assert Group("bp", "default", ()).elapsed_hours().tolist() == [0]


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.lists(st.floats(0, 1e6) | st.just(math.nan), max_size=12), max_size=4))
def test_elapsed_hours_never_fall(seconds):
    runs = tuple(view("bp", "default", seed, seconds=one) for seed, one in enumerate(seconds))
    elapsed = Group("bp", "default", runs).elapsed_hours()
    assert len(elapsed) == 1 + max(map(len, seconds), default=0)
    assert (np.diff(elapsed) >= 0).all()


PAPER = {
    "agent": "bp",
    "step_size": 0.01,
    "num_showings": 250,
    "num_classes": 2,
    "train_images": 600,
    "mini_batch_size": 100,
}


def test_a_task_of_the_paper_has_3000_steps():
    assert Group("bp", "default", (view("bp", "default", 0, spec=PAPER),)).steps_per_task == 3000
    odd = PAPER | {"train_images": 601}
    assert Group("bp", "default", (view("bp", "default", 0, spec=odd),)).steps_per_task == 250 * 13


@pytest.mark.parametrize("spec", [{}, {"train_images": 0}, {"num_classes": "2"}, {"mini_batch_size": None}])
def test_the_number_of_steps_is_unknown_for_an_incomplete_spec(spec):
    assert Group("bp", "default", (view("bp", "default", 0, spec=spec and PAPER | spec),)).steps_per_task is None


def test_the_seed_table_has_a_row_for_each_seed_and_nan_for_missing_bins():
    runs = (
        view("bp", "default", 0, 5, srank=[1, 3, 5, 7, 9]),
        view("bp", "default", 4, 5, srank=[2, 4, math.inf]),
        view("bp", "default", 7, 5),
    )
    table = seed_table(Group("bp", "default", runs), "srank", 2)
    assert table.seeds.tolist() == [0, 4, 7]
    assert table.task.tolist() == [1.5, 3.5, 5]
    assert table.values == pytest.approx(np.array([[2, 6, 9], [3, math.nan, math.nan], [math.nan] * 3]), nan_ok=True)
    assert seed_table(Group("bp", "default", runs[2:]), "srank").values.shape == (1, 0)


def test_the_summary_of_a_seed_has_its_drop_from_the_best_value():
    run = view("bp", "default", 3, 6, test_accuracy=[0.5, 0.7, 0.9, 0.9, 0.5], dormant_proportion=[0, 0, 0.1, 0.3])
    summary = summarise_seed(run, "test_accuracy")
    assert (summary.seed, summary.tasks_done) == (3, 5)
    assert [summary.last, summary.best, summary.drop, summary.dormant] == pytest.approx([0.5, 0.9, 0.4, 0.3])


def test_summary_of_a_seed_without_a_finite_value_or_dormancy():
    assert summarise_seed(view("bp", "default", 0), "test_accuracy") is None
    assert summarise_seed(view("bp", "default", 0, test_accuracy=[math.nan] * 3), "test_accuracy") is None
    diverged = summarise_seed(view("bp", "default", 0, 3, test_accuracy=[0.8, 0.6, math.nan]), "test_accuracy")
    assert (diverged.last, diverged.best) == (0.6, 0.8)
    assert math.isnan(diverged.dormant)
