"""Limits and ticks of axes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lop_engine.experiment import lookup
from lop_engine.experiment.components import Scale
from lop_engine.runs.views import Snapshot
from lop_tui.dashboard.charts import scaled
from lop_tui.dashboard.drawing.axes import LABEL_WIDTH, Axis, nice_step, task_axis, value_axis
from lop_tui.dashboard.drawing.layers import in_units
from lop_tui.dashboard.drawing.plots import Ink, draw
from lop_tui.dashboard.model import ViewBuilder
from lop_tui.dashboard.settings import Request, Settings
from lop_tui.words.formats import short_value


def labels(low: float, high: float, most: int = 6, scale: Scale = "linear", least_step: float = 0) -> list[str]:
    return [label for _, label in Axis(low, high, scale).ticks(most, least_step)]


def test_axes_have_round_limits() -> None:
    assert [nice_step(span, 5) for span in (1, 7, 30, 100)] == [0.2, 2, 10, 20]
    assert [task_axis(done, 300).high for done in (0, 1, 7, 40, 120, 250)] == [300, 2, 10, 50, 200, 300]
    accuracy = value_axis([np.array([0.52, 0.893])], "percent", from_zero=False, least_span=10)
    assert (accuracy.low, accuracy.high) == (50, 90)
    assert accuracy.ticks(5) == [(50, "50"), (60, "60"), (70, "70"), (80, "80"), (90, "90")]
    curvature = value_axis([np.array([0.0, 3e-4, np.nan, 0.04])], "log", from_zero=False, least_span=0)
    assert [label for _, label in curvature.ticks(4)] == ["0.001", "0.01"]


@pytest.mark.parametrize("scale", ["linear", "percent", "log"])
@pytest.mark.parametrize(
    "values", [[], [np.nan], [0.0], [0.0, 0.0], [1e-12, np.inf], [0.3, 0.3], [1e300, -1e300], [1e40, 1e40], [5e-324]]
)
@pytest.mark.parametrize("least_span", [0.0, 1e-3])
def test_every_axis_contains_its_values(scale: Scale, values: list[float], least_span: float) -> None:
    for from_zero in (False, True):
        axis = value_axis([np.array(values)], scale, from_zero, least_span)
        assert axis.low < axis.high
        assert len(axis.ticks(3)) >= 1
        assert np.isfinite(axis.place(np.array([0.0, 1.0]))).all()


def test_percentages_stay_within_0_and_100_except_for_differences() -> None:
    values = [np.array([-0.031, 0.004])]
    assert value_axis(values, "percent", False, 1).low == 0
    difference = value_axis(values, "percent", False, 1, bounded=False)
    assert (difference.low, difference.high) == (-4, 1)


def test_labels_are_short_and_exact() -> None:
    assert labels(0, 0.002, most=5) == ["0.0000", "0.0005", "0.0010", "0.0015", "0.0020"]
    assert labels(0, 6e-5, most=4) == ["0", "2e-5", "4e-5", "6e-5"]
    assert labels(0, 12_000, most=4) == ["0", "5000", "10000"]
    assert labels(0, 200_000, most=5) == ["0", "50k", "100k", "150k", "200k"]
    assert labels(0, 1_500_000, most=4) == ["0", "0.5M", "1.0M", "1.5M"]
    assert labels(84.2, 84.3, most=3) == ["84.20", "84.25", "84.30"]
    assert labels(0, 1, most=3) == ["0.0", "0.5", "1.0"]
    assert labels(-5, -3, most=4, scale="log") == ["1e-5", "1e-4", "0.001"]
    assert labels(3, 5, most=9, scale="log") == ["1000", "2000", "5000", "10000", "20000", "50000", "1e5"]


def test_ticks_of_tasks_are_whole_numbers() -> None:
    assert labels(10, 12, most=6, least_step=1) == ["10", "11", "12"]


@settings(deadline=None)
@given(
    st.floats(-1e12, 1e12),
    st.floats(1e-9, 1e12),
    st.integers(1, 12),
    st.sampled_from(["linear", "percent"]),
)
def test_no_label_is_too_long(low: float, span: float, most: int, scale: Scale) -> None:
    axis = Axis(low, low + max(span, 1e-9 * abs(low)), scale)
    ticks = axis.ticks(most)
    assert 1 <= len(ticks) <= max(2, most)
    assert all(len(label) <= LABEL_WIDTH for _, label in ticks)
    assert len({label for _, label in ticks}) == len(ticks)
    assert all(axis.low - 1e-6 * span <= at <= axis.high + 1e-6 * span for at, _ in ticks)


@settings(deadline=None)
@given(st.floats(-300, 299), st.floats(0, 300), st.integers(1, 12))
def test_no_label_of_a_log_axis_is_too_long(low: float, span: float, most: int) -> None:
    axis = value_axis([10.0 ** np.array([low, min(low + span, 300)])], "log", False, 0)
    assert axis.low <= low + 1e-6
    assert axis.high - axis.low >= 0.4
    assert all(len(label) <= LABEL_WIDTH for _, label in axis.ticks(most))


@pytest.mark.parametrize("metric", ["test_accuracy", "dormant_proportion"])
def test_a_share_on_a_log_scale_stays_in_percent(metric: str) -> None:
    measure = scaled(lookup.metric(metric), Settings(other_scale=(metric,)))
    assert measure.heading == f"{measure.title}, %, log scale"
    assert scaled(measure, Settings(other_scale=(metric,))).scale == "percent"
    assert short_value(0.883, measure.scale) == "88.3"
    values = np.array([0.02, 0.5, 0.95])
    axis = value_axis([values], measure.scale, measure.from_zero, measure.least_span)
    assert axis.high == 2
    assert 10**axis.low == pytest.approx(2)
    assert {"2", "10", "100"} <= {label for _, label in axis.ticks(8)}
    np.testing.assert_allclose(axis.place(values), in_units(values, measure.scale))
    np.testing.assert_allclose(10 ** axis.place(values), [2, 50, 95])


def test_a_log_axis_of_a_share_never_exceeds_100_percent() -> None:
    axis = value_axis([np.array([0.88, 0.93])], "log percent", False, 10)
    assert axis.high == 2
    assert axis.low <= 1.5


def test_a_chart_of_a_share_on_a_log_scale_has_percent_ticks(eleven_runs: Snapshot) -> None:
    request = Request(Settings(other_scale=("test_accuracy",)))
    (chart, *_) = ViewBuilder().build(eleven_runs, request).charts
    labels = [line.split("┤")[0].strip() for line in draw(chart, 80, 20, Ink()).plain.split("\n") if "┤" in line]
    assert "100" in labels
    assert not any(label.startswith("0.") for label in labels)
