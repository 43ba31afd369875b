"""The compiled kernels agree with the general training step up to rounding."""

import pytest
import torch

from lop_engine.experiment.spec import Spec
from lop_engine.methods import continual_backprop
from lop_engine.methods.replacement import lowest_first
from lop_engine.training import fused
from lop_engine.training.fused.classifier import ClassifierPart
from lop_engine.training.fused.regression import ACTIVATIONS, RegressionPart
from lop_engine.training.learner import Learner
from lop_engine.training.loop import train

CPU = torch.device("cpu")
SMALL = {"problem": "slowly_changing_regression", "step_size": 0.01, "num_tasks": 2, "flip_after": 300}
CBP = {"agent": "cbp", "replacement_rate": 0.02, "maturity_threshold": 10, "util_type": "adaptable_contribution"}
SETTINGS = {
    **{name: {"activation": name} for name in ACTIVATIONS},
    "adam": {"opt": "adam", "step_size": 1e-3},
    "l2": {"agent": "l2", "weight_decay": 1e-2},
    "snp": {"agent": "snp", "weight_decay": 1e-2, "perturb_scale": 1e-2},
    # tanh: no two units have the same utility
    "linear": {"agent": "linear"},
    "linear adam": {"agent": "linear", "opt": "adam", "step_size": 1e-3},
    "cbp": CBP | {"activation": "tanh", "budget_accrual": "eligible"},
    "cbp all": CBP | {"activation": "tanh", "util_type": "contribution"},
    "cbp bernoulli": CBP | {"activation": "tanh", "budget_accrual": "bernoulli"},
    "cbp adam": CBP | {"activation": "tanh", "opt": "adam", "step_size": 1e-3},
}


def trained(specs, seeds, monkeypatch, is_fused):
    monkeypatch.setattr(fused, "has_numba", lambda: is_fused)
    learner, reports = Learner(specs, seeds, CPU), []
    train(learner.spec, learner, CPU, reports.append)
    return learner, [one.metrics for one in reports if one.metrics]


def assert_same(one, other):
    (learner, metrics), (expected, others) = one, other
    assert learner.method.step == expected.method.step
    for name, tensor in expected.state().items():
        torch.testing.assert_close(
            learner.state()[name], tensor, rtol=2e-3, atol=2e-4, msg=lambda text, n=name: f"{n}: {text}"
        )
    for ours, theirs in zip(metrics, others, strict=True):
        for metric in theirs:
            assert ours[metric] == pytest.approx(theirs[metric], rel=1e-4, abs=1e-6), metric


DIGITS = {
    "problem": "permuted_mnist",
    "step_size": 0.01,
    "num_features": 30,
    "change_after": 500,
    "num_tasks": 2,
    "metrics": ["online_accuracy", "train_loss", "weight_magnitude"],
}
OF_DIGITS = {
    "bp": {},
    "l2": {"agent": "l2", "weight_decay": 1e-3},
    "one hidden layer": {"num_hidden_layers": 1},
    "cbp": CBP | {"budget_accrual": "eligible"},
    "cbp all": CBP | {"util_type": "contribution", "weight_decay": 1e-4},
}


@pytest.fixture
def _lowest_index_first(monkeypatch):
    """Let the general step replace the same unit as the kernels among units that never fired."""
    monkeypatch.setattr(continual_backprop, "least_useful", lowest_first)


@pytest.mark.usefixtures("_lowest_index_first")
@pytest.mark.parametrize("name", OF_DIGITS)
def test_runs_on_digits_agree_with_the_general_step(name, monkeypatch):
    pytest.importorskip("numba", reason="the extra `fast` is not installed")
    spec = Spec(**{"agent": "bp"} | DIGITS | OF_DIGITS[name])
    assert fused.kernel_for(Learner(spec, [0], CPU), CPU) is ClassifierPart
    seeds = [1, 5, 9]  # with some other seeds rounding decides the sign of a ReLU's input
    fast = trained(spec, seeds, monkeypatch, is_fused=True)
    assert_same(fast, trained(spec, seeds, monkeypatch, is_fused=False))
    if name.startswith("cbp"):
        assert all((state.age_SF < 1000).any() for state in fast[0].method.layer_states)


@pytest.mark.usefixtures("_lowest_index_first")
def test_runs_on_digits_in_a_stack_may_have_different_values(monkeypatch):
    pytest.importorskip("numba", reason="the extra `fast` is not installed")
    values = DIGITS | CBP
    numbers = ({"step_size": 0.01, "replacement_rate": 1e-2}, {"step_size": 0.003, "weight_decay": 1e-3})
    specs = [Spec(**values | own) for own in numbers]
    assert_same(*(trained(specs, [3, 4], monkeypatch, is_fused) for is_fused in (True, False)))


def test_a_diverging_run_on_digits_has_non_finite_values(monkeypatch):
    pytest.importorskip("numba", reason="the extra `fast` is not installed")
    learner, metrics = trained(Spec(agent="bp", **DIGITS | {"step_size": 1e20}), [0], monkeypatch, is_fused=True)
    assert not all(weight.isfinite().all() for weight in learner.params.values())
    assert all(value != value for value in metrics[-1]["online_accuracy"])  # NaN


@pytest.mark.parametrize(
    "changes",
    [
        {"agent": "redo"},
        {"agent": "snp", "perturb_scale": 1e-3},
        {"agent": "cbp", "budget_accrual": "bernoulli"},
        {"activation": "tanh"},
        {"layer_norm": True},
        {"momentum": 0.9},
        {"opt": "adam"},
        {"mini_batch_size": 2},
        {"precision": "fp64"},
    ],
)
def test_runs_on_digits_that_the_kernel_does_not_support_use_the_general_step(changes):
    assert fused.kernel_for(Learner(Spec(**{"agent": "bp"} | DIGITS | changes), [0], CPU), CPU) is None


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.long
def test_regression_runs_agree_with_the_general_step(name, monkeypatch):
    pytest.importorskip("numba", reason="the extra `fast` is not installed")
    spec = Spec(**{"agent": "bp"} | SMALL | SETTINGS[name])
    seeds = list(range(35))  # more seeds than the kernel has lanes
    assert fused.kernel_for(Learner(spec, seeds, CPU), CPU) is RegressionPart
    fast = trained(spec, seeds, monkeypatch, is_fused=True)
    assert_same(fast, trained(spec, seeds, monkeypatch, is_fused=False))
    if name.startswith("cbp"):
        assert (fast[0].method.layer_states[0].age_SF < 600).any()


def test_regression_runs_in_a_stack_may_have_different_values(monkeypatch):
    pytest.importorskip("numba", reason="the extra `fast` is not installed")
    values = SMALL | CBP | {"activation": "tanh"}
    specs = [
        Spec(**values | {"step_size": size, "replacement_rate": rate}) for size, rate in ((0.01, 1e-2), (0.003, 2e-2))
    ]
    both = [trained(specs, [3, 4], monkeypatch, is_fused) for is_fused in (True, False)]
    assert_same(*both)


@pytest.mark.parametrize(
    "changes",
    [
        {"agent": "redo"},
        {"agent": "cbp", "util_type": "random"},
        {"num_hidden_layers": 2},
        {"layer_norm": True},
        {"activation": "crelu"},
        {"num_features": 200},
        {"momentum": 0.9},
        {"opt": "rmsprop"},
        {"opt": "adam_gnt"},
        {"mini_batch_size": 2},
        {"precision": "fp64"},
    ],
)
def test_regression_runs_that_the_kernel_does_not_support_use_the_general_step(changes):
    assert fused.kernel_for(Learner(Spec(**{"agent": "bp"} | SMALL | changes), [0], CPU), CPU) is None
