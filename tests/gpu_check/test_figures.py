"""The comparisons, figures and tables of the check."""

import math

import pytest

from bench.gpu import engine, runs, timing
from bench.gpu.agreement import apart
from bench.gpu.results import Report, Results, convolution_table, figure_hours, markdown
from bench.gpu.ways import LAYERS, WAYS, Grouped, error_of
from tests.gpu_check.helpers import SMALL


@pytest.mark.parametrize("way", list(dict.fromkeys(variant.way for variant in WAYS.values())))
def test_every_way_to_convolve_computes_the_convolution(way):
    assert max(error_of(way, layer, SMALL) for layer in LAYERS) < 1e-5


def test_a_way_that_computes_wrongly_is_detected():
    class Mirrored(Grouped):
        def run(self, which):
            return super().run(which).flip(-1)

    assert error_of(Mirrored, LAYERS[1], SMALL) > 0.1


def test_a_step_s_convolutions_leave_out_the_gradient_of_the_images():
    times = {"forward_ms": 1.0, "data_ms": 10.0, "weight_ms": 100.0}
    rows = [{"seeds": 30, "precision": "fp32", "way": "a", "layer": layer.name, **times} for layer in LAYERS]
    assert convolution_table(rows)[1] == ("30", "fp32", "a", "323", "101", "111", "111")
    del rows[1]["data_ms"]  # a pass that could not be computed
    assert convolution_table(rows)[1] == ("30", "fp32", "a", "", "101", "", "111")


def test_hours_of_the_paper_s_figure_are_summed_by_precision():
    one = {"seeds": 30, "precision": "fp32", "epoch_ms": 20.0}
    rows = [one | {"method": method} for method in ("bp", "l2", "snp", "cbp")]
    rows[0] |= {"metrics_ms": 4.0, "curvature_ms": 100.0}
    rows += [{"seeds": 1, "precision": "fp32", "method": "bp", "epoch_ms": 5.0}]
    expected_s = 5000 * (4 * 250 * (0.020 + 0.004) + 4 * 0.1)
    assert figure_hours(rows)["fp32"] == pytest.approx(expected_s / 3600)
    assert figure_hours(rows[1:]) == {}


class Recorded:
    """Runs with given records."""

    def __init__(self, documents):
        self._documents = documents

    def documents(self):
        return self._documents


def records(*values: float | None):
    return [[{"task": 0, "epoch": epoch, "loss": value} for epoch, value in enumerate(values)]]


@pytest.mark.parametrize(
    ("resumed", "again", "failing"),
    [
        (records(1.0, 2.0, None), records(1.0, 2.0, None), []),
        (records(1.0, 2.5, None), records(1.0, 2.0, None), ["values after resume"]),
        (records(1.0, 2.5, None), records(1.0, 2.4, None), []),  # as close as two uninterrupted runs
        (records(1.0, 2.0), records(1.0, 2.0, None), ["records after resume"]),
        (records(1.0, 2.0, 3.0), records(1.0, 2.0, None), ["values after resume"]),
    ],
)
def test_records_of_a_resumed_run_are_compared_with_uninterrupted_ones(resumed, again, failing):
    results = Results()
    whole = records(1.0, 2.0, None)
    runs.compare(Report("runs", True, results.take), *map(Recorded, (whole, again, resumed)))
    assert [line.check for line in results.lines if line.verdict == "FAIL"] == failing


def test_the_busy_share_counts_time_in_which_kernels_overlap_once():
    assert timing.busy_share([(0, 2), (1, 3), (5, 6)]) == pytest.approx(4 / 6)
    assert timing.busy_share([]) == 0


def test_trainings_that_differ_by_a_nan_are_infinitely_far_apart():
    trained = engine.train(engine.spec_of("bp", SMALL), [0], 1, SMALL, graphs=False)
    broken = engine.Trained(trained.start, {n: t * math.nan for n, t in trained.end.items()}, trained.losses)
    assert apart(trained, trained) == 0
    assert apart(broken, trained) == math.inf


def test_the_table_of_the_summary_is_valid_with_any_text():
    results = Results(about={"device": "CPU", "command": "x", "date": "today"})
    Report("golden", True, results.take).check("bp", False, "a | b", "<= 1")
    assert "| FAIL | golden | bp | a / b | <= 1 |" in markdown(results)
