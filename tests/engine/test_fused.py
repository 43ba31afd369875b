"""The compiled kernel computes what the general training step does, to rounding."""

import pytest
import torch

from lop_engine.experiment.spec import Spec
from lop_engine.training import fused
from lop_engine.training.learner import Learner
from lop_engine.training.loop import train

CPU = torch.device("cpu")
SMALL = {"problem": "slowly_changing_regression", "step_size": 0.01, "num_tasks": 2, "flip_after": 300}
CBP = {"agent": "cbp", "replacement_rate": 0.02, "maturity_threshold": 10, "util_type": "adaptable_contribution"}
SETTINGS = {
    **{name: {"activation": name} for name in fused.ACTIVATIONS},
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
    learner, found = Learner(specs, seeds, CPU), []
    train(learner.spec, learner, CPU, found.append)
    return learner, [one.metrics for one in found if one.metrics]


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


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.long
def test_it_trains_as_the_general_step(name, monkeypatch):
    pytest.importorskip("numba", reason="the extra `fast` is not installed")
    spec = Spec(**{"agent": "bp"} | SMALL | SETTINGS[name])
    seeds = list(range(35))  # more than the lanes of the kernel
    assert fused.applies(Learner(spec, seeds, CPU), CPU)
    fast = trained(spec, seeds, monkeypatch, is_fused=True)
    assert_same(fast, trained(spec, seeds, monkeypatch, is_fused=False))
    if name.startswith("cbp"):
        assert (fast[0].method.layer_states[0].age_SF < 600).any()


def test_runs_of_a_stack_may_have_their_own_numbers(monkeypatch):
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
def test_what_it_does_not_compute_is_left_to_the_general_step(changes):
    assert not fused.applies(Learner(Spec(**{"agent": "bp"} | SMALL | changes), [0], CPU), CPU)
