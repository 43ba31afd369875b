"""The training loop: its reports, and that stopping and resuming changes no result."""

import contextlib
import math

import pytest
import torch

from lop_engine.datasets import ClassSequence, SyntheticImages
from lop_engine.experiment.spec import Spec
from lop_engine.problems import build_problem
from lop_engine.runs.files import StopRequested
from lop_engine.training.learner import Learner
from lop_engine.training.loop import EpochReport, Position, train

CPU = torch.device("cpu")
START = Position()


def make_spec(**changes) -> Spec:
    base = {
        "agent": "cbp",
        "step_size": 0.02,
        "momentum": 0.9,
        "replacement_rate": 0.05,
        "maturity_threshold": 3,
        "dataset": "synthetic",
        "dataset_classes": 6,
        "train_images": 15,
        "test_images": 6,
        "width": 0.125,
        "num_tasks": 3,
        "num_showings": 2,
        "mini_batch_size": 8,
    }
    return Spec(**(base | changes))


def run(spec: Spec, seeds=(0, 1), start=START, learner=None, stop_at=None) -> tuple[list[EpochReport], object]:
    learner = learner or Learner(spec, list(seeds), CPU)
    reports: list[EpochReport] = []

    def report(epoch: EpochReport) -> None:
        reports.append(epoch)
        if epoch.position == stop_at:
            raise StopRequested

    with contextlib.suppress(StopRequested):
        train(spec, learner, CPU, report, start)
    return reports, learner


def test_every_epoch_is_reported_in_order_and_marks_the_end_of_a_task():
    reports, _ = run(make_spec())
    assert [(r.task, r.epoch) for r in reports] == [(t, e) for t in range(3) for e in range(2)]
    places = [(0, 1), (1, 0), (1, 1), (2, 0), (2, 1), (3, 0)]
    assert [r.position for r in reports] == [Position(*place) for place in places]
    assert [r.task_seconds is not None for r in reports] == [False, True] * 3
    assert reports[0].facts == [{"classes": ClassSequence(6, 2).classes(seed, 0)} for seed in (0, 1)]


@pytest.mark.parametrize(("every", "recorded"), [(0, [4]), (1, [0, 1, 2, 3, 4]), (2, [1, 3, 4]), (9, [4])])
def test_metrics_are_recorded_every_few_epochs_and_after_the_last(every, recorded):
    reports, _ = run(make_spec(num_tasks=1, num_showings=5, metrics_every=every))
    assert [r.epoch for r in reports if r.metrics is not None] == recorded


@pytest.mark.parametrize(
    ("metrics_every", "curvature_every", "expected"),
    [
        (1, 1, {0: True, 1: True, 2: True, 3: True, 4: True}),
        (1, 0, {0: False, 1: False, 2: False, 3: False, 4: True}),
        (1, 2, {0: False, 1: True, 2: False, 3: True, 4: True}),
        (2, 1, {1: True, 3: True, 4: True}),
        (2, 3, {1: False, 3: False, 4: True}),  # epoch 3 is due but not recorded
        (0, 1, {4: True}),
        (0, 0, {4: True}),
    ],
)
def test_the_curvature_is_measured_in_recorded_epochs_in_which_it_is_due(metrics_every, curvature_every, expected):
    every = {"metrics_every": metrics_every, "curvature_every": curvature_every}
    reports, _ = run(make_spec(num_tasks=1, num_showings=5, **every))
    assert {r.epoch: "curvature" in r.metrics for r in reports if r.metrics is not None} == expected


def test_measuring_the_curvature_less_often_changes_nothing_else():
    every_epoch, learner = run(make_spec(num_showings=3))
    seldom, other = run(make_spec(num_showings=3, curvature_every=2))
    assert all(torch.equal(learner.params[name], weight) for name, weight in other.params.items())
    for ours, theirs in zip(seldom, every_epoch, strict=True):
        assert ours.metrics == {name: theirs.metrics[name] for name in ours.metrics}
        assert set(theirs.metrics) - set(ours.metrics) <= {"curvature"}


def test_an_epoch_without_a_due_metric_is_not_recorded():
    for agent, metrics in (("bp", ["curvature"]), ("linear", ["curvature", "effective_rank"])):
        spec = make_spec(agent=agent, num_tasks=1, num_showings=3, metrics=metrics, curvature_every=0)
        reports, _ = run(spec)
        assert [r.metrics and list(r.metrics) for r in reports] == [None, None, ["curvature"]]


def test_all_seven_metrics_are_measured_and_four_for_a_linear_network():
    reports, _ = run(make_spec(num_tasks=1))
    assert list(reports[0].metrics) == [
        "train_accuracy",
        "test_accuracy",
        "curvature",
        "weight_magnitude",
        "dormant_proportion",
        "effective_rank",
        "stable_rank",
    ]
    assert all(len(values) == 2 and all(map(math.isfinite, values)) for values in reports[0].metrics.values())
    reports, _ = run(make_spec(agent="linear", num_tasks=1))
    assert list(reports[0].metrics) == ["train_accuracy", "test_accuracy", "curvature", "weight_magnitude"]


@pytest.mark.parametrize("agent", ["bp", "snp", "cbp"])
@pytest.mark.parametrize("stop", [Position(0, 1), Position(1, 0), Position(2, 1)])
@pytest.mark.long
def test_continuing_from_a_state_gives_the_same_numbers(agent, stop):
    extra = {"perturb_scale": 1e-3} if agent == "snp" else {}
    spec = make_spec(agent=agent, **extra)
    whole, _ = run(spec)
    before_stop, learner = run(spec, stop_at=stop)
    fresh = Learner(spec, [0, 1], CPU)
    fresh.load_state({name: tensor.clone() for name, tensor in learner.state().items()})
    rest, _ = run(spec, start=stop, learner=fresh)
    assert [r.metrics for r in before_stop + rest] == [r.metrics for r in whole]


def test_weights_carry_over_between_tasks_except_for_the_head():
    spec = make_spec(agent="bp", num_tasks=2, num_showings=1)
    _, stopped = run(spec, stop_at=Position(1, 0))
    carried = stopped.params["conv1.weight"].clone()
    head = stopped.params["fc3.weight"].clone()
    assert head.any()
    params = []
    step = stopped.step
    stopped.step = lambda x, y: (
        params.append({n: w.detach().clone() for n, w in stopped.params.items()}),
        step(x, y),
    )[1]
    run(spec, start=Position(1, 0), learner=stopped)
    assert torch.equal(params[0]["conv1.weight"], carried)
    assert not params[0]["fc3.weight"].any()


def test_a_diverged_seed_has_no_metrics_and_does_not_change_those_of_other_seeds():
    spec = make_spec(agent="bp", num_tasks=1)
    learner = Learner(spec, [0, 1], CPU)
    with torch.no_grad():
        learner.params["conv1.weight"][0].fill_(torch.nan)
    broken, _ = run(spec, learner=learner)
    whole, _ = run(spec)
    for report, sound in zip(broken, whole, strict=True):
        assert all(math.isnan(values[0]) for values in report.metrics.values())
        assert [values[1] for values in report.metrics.values()] == [values[1] for values in sound.metrics.values()]


def test_train_accuracy_is_measured_before_each_update():
    """A new head predicts the first class, so the accuracy of the first batch is its share of that class."""
    whole = make_spec(agent="bp", num_tasks=1, num_showings=1, mini_batch_size=30)
    assert run(whole)[0][0].metrics["train_accuracy"] == [0.5, 0.5]


def test_a_task_has_the_images_of_each_class_in_their_split():
    spec = make_spec()
    images = SyntheticImages(6)
    task = next(build_problem(spec).tasks([0], CPU))
    first, second = task.facts[0]["classes"]
    assert task.train_inputs.shape == (1, 30, 3, 32, 32)
    assert task.test_inputs.shape == (1, 12, 3, 32, 32)
    assert task.train_targets[0].tolist() == [0] * 15 + [1] * 15
    shown = ((task.train_inputs[0] + 1) * 127.5).round().byte().numpy()
    assert (shown[:15] == images.images(first, 15)).all()
    assert (shown[15:] == images.images(second, 15)).all()
    tested = ((task.test_inputs[0] + 1) * 127.5).round().byte().numpy()
    assert (tested[6:] == images.images(second, 21)[15:]).all()
