"""Compare optimisers with torch's and public implementations, and test which of their state a unit reset changes.

Dimensions: S seeds, F units of a layer.
"""

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from lop_engine.experiment.registry import OPTIMIZERS
from lop_engine.methods import units
from lop_engine.training.learner import Learner
from tests.engine.golden import golden_learner, load, train_20_steps
from tests.engine.test_golden_methods import assert_trains_as
from tests.engine.test_golden_methods import make_spec as golden_spec
from tests.engine.test_methods import CPU, go_through, make_spec, task_of

ADAM = {"step_size": 1e-3, "epsilon": 1e-4, "precision": "fp64"}
MUON = {"opt": "muon", "precision": "fp64", "adamw_step_size": 1e-3, "epsilon": 1e-4}


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("adam_wd0.01", ADAM | {"opt": "adam", "weight_decay": 0.01}),
        ("adamw_wd0.1", ADAM | {"opt": "adamW", "weight_decay": 0.1}),
        ("muon_f32", MUON | {"step_size": 0.01}),
        (
            "muon_torch_linear_only_f32",
            MUON | {"step_size": 0.02, "muon_variant": "torch", "beta_1": 0.9, "beta_2": 0.999},
        ),
    ],
)
@pytest.mark.long
def test_twenty_steps_agree_with_the_public_implementation(name, settings):
    assert_trains_as(name, golden_learner(golden_spec(**settings)))


def test_first_steps_of_muon_in_bfloat16_agree_with_the_authors():
    """They agree to 1e-3, because rounding to bfloat16 depends on the order of additions."""
    learner = golden_learner(golden_spec(**MUON | {"step_size": 0.01, "precision": "fp32", "muon_precision": "bf16"}))
    np.testing.assert_allclose(train_20_steps(learner)[:4, 0], load("methods/muon_bf16")["losses"][:4], atol=1e-3)


@pytest.mark.parametrize(
    ("settings", "torchs", "options"),
    [
        ({"opt": "rmsprop"}, torch.optim.RMSprop, {"alpha": 0.99}),
        (
            {"opt": "rmsprop", "beta_2": 0.7, "momentum": 0.8, "weight_decay": 0.1},
            torch.optim.RMSprop,
            {"alpha": 0.7, "momentum": 0.8, "weight_decay": 0.1},
        ),
        ({"opt": "adam", "beta_1": 0.99, "beta_2": 0.99}, torch.optim.Adam, {"betas": (0.99, 0.99)}),
        (
            {"opt": "adamW", "beta_1": 0.5, "beta_2": 0.8, "weight_decay": 0.3},
            torch.optim.AdamW,
            {"betas": (0.5, 0.8), "weight_decay": 0.3},
        ),
    ],
)
@pytest.mark.parametrize("step_size", [1e-3, 0.02])
def test_a_step_equals_that_of_torch(settings, torchs, options, step_size):
    spec = make_spec(
        {"agent": "bp", "precision": "fp64", "epsilon": 1e-3, "network": "mlp", **settings}, step_size=step_size
    )
    learner, task = Learner(spec, [3], CPU), task_of([3], 0, 24)
    weights = [weight.detach().clone().requires_grad_() for weight in learner.params.values()]
    optimizer = torchs(weights, lr=step_size, eps=1e-3, **options)
    learner.start_epoch(0, 0)
    for x, y in zip(task.train_inputs.double().split(4, 1), task.train_targets.split(4, 1), strict=True):
        outputs = learner.net(dict(zip(learner.params, weights, strict=True)), x).outputs_SBO
        optimizer.zero_grad()
        learner.problem.loss(outputs, y).sum().backward()
        optimizer.step()
        learner.step(x, y)
        for ours, theirs in zip(learner.params.values(), weights, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("decay", "wd", "rest"), [(0.9, 0.2, 1e-2), (0.5, 0.0, 1e-4)])
def test_muon_with_other_settings_agrees_with_the_authors(decay, wd, rest):
    own = {"muon_momentum": decay, "weight_decay": wd, "adamw_step_size": rest, "epsilon": 1e-3, "beta_1": 0.8}
    spec = make_spec({"agent": "bp", "opt": "muon", "precision": "fp64", "network": "conv_net", **own}, step_size=0.03)
    learner, task = Learner(spec, [3], CPU), task_of([3], 0, 20)
    plain = {name: weight.detach()[0].clone() for name, weight in learner.params.items()}
    hidden = {
        f"{layer.name}.weight": torch.zeros_like(plain[f"{layer.name}.weight"]) for layer in learner.net.hidden_layers
    }
    others = [plain[name].requires_grad_() for name in plain if name not in hidden]
    adamw = torch.optim.AdamW(others, lr=rest, betas=(0.8, 0.95), eps=1e-3, weight_decay=wd)
    for x, y in zip(task.train_inputs.double().split(4, 1), task.train_targets.split(4, 1), strict=True):
        leaves = {name: weight.requires_grad_() for name, weight in plain.items()}
        loss = learner.problem.loss(learner.net({n: w[None] for n, w in leaves.items()}, x).outputs_SBO, y).sum()
        grads = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))
        for name, weight in plain.items():
            weight.grad = grads[name]
        adamw.step()
        with torch.no_grad():
            for name, mean in hidden.items():
                g, w = grads[name], plain[name]
                mean += (1 - decay) * (g - mean)
                u = (g + decay * (mean - g)).reshape(len(g), -1)
                x2 = u.T if u.shape[0] > u.shape[1] else u
                x2 = x2 / (x2.norm() + 1e-7)
                for _ in range(5):
                    a = x2 @ x2.T
                    x2 = 3.4445 * x2 + (-4.7750 * a + 2.0315 * a @ a) @ x2
                u = x2.T if u.shape[0] > u.shape[1] else x2
                w.copy_(w * (1 - 0.03 * wd) - 0.03 * max(1, g.shape[-2] / g.shape[-1]) ** 0.5 * u.reshape(g.shape))
        learner.step(x, y)
        for name, weight in plain.items():
            torch.testing.assert_close(learner.params[name][0], weight, rtol=1e-9, atol=1e-9)


#: The kinds of state that are running means, and those that count steps, by optimiser.
STATE = {
    "sgd": ({"momentum"}, set()),
    "rmsprop": ({"second", "momentum"}, set()),
    "adam": ({"first", "second"}, {"steps"}),
    "adamW": ({"first", "second"}, {"steps"}),
    "adam_gnt": ({"first", "second"}, {"steps"}),
    "muon": ({"first", "second", "momentum"}, {"steps"}),
}


def filled(opt: str, **settings) -> Learner:
    """Return a learner of two seeds whose optimiser state has no zeros."""
    momentum = {"momentum": 0.9} if "momentum" in OPTIMIZERS[opt].fields.model_fields else {}
    spec = make_spec({"agent": "bp", "opt": opt, "network": "mlp", **momentum, **settings}, num_hidden_layers=3)
    learner = Learner(spec, [0, 3], CPU)
    for tensor in learner.optimizer.state().values():
        tensor.fill_(0.5)
    return learner


def zeroed(learner: Learner) -> dict[str, set[str]]:
    """Return the kinds of state that are 0 for each part of unit 1 of layer 2, seed 0; check that no other is."""
    kinds_of_part: dict[str, set[str]] = {"incoming": set(), "bias": set(), "outgoing": set()}
    for name, tensor in learner.optimizer.state().items():
        kind, _, weight = name.partition(".")
        entries = {
            "fc2.weight": ("incoming", (0, 1)),
            "fc2.bias": ("bias", (0, 1)),
            "fc3.weight": ("outgoing", (0, slice(None), 1)),
        }
        rest = torch.ones_like(tensor, dtype=torch.bool)
        if weight in entries:
            part, place = entries[weight]
            rest[place] = False
            if not tensor[place].any():
                kinds_of_part[part].add(kind)
        assert (tensor[rest] == 0.5).all(), name
    return kinds_of_part


def test_the_state_of_every_optimizer_is_listed():
    assert STATE.keys() == OPTIMIZERS.keys()
    for opt, (means, counts) in STATE.items():
        assert {name.partition(".")[0] for name in filled(opt).optimizer.state()} == means | counts


@pytest.mark.parametrize(("opt", "bias", "counts"), itertools.product(STATE, (False, True), (False, True)))
def test_forgetting_a_unit_zeroes_its_part_of_the_state(opt, bias, counts):
    learner = filled(opt)
    mask_SF = torch.zeros(2, learner.net.layers[1].outputs, dtype=torch.bool)
    mask_SF[0, 1] = True
    units.forget(learner.optimizer, learner.net, 1, mask_SF, bias=bias, counts=counts)
    zeros = zeroed(learner)
    optimizer = learner.optimizer
    for part, name in {"incoming": "fc2.weight", "bias": "fc2.bias", "outgoing": "fc3.weight"}.items():
        num_tensors = len(optimizer.moments(name)) + len(optimizer.counts(name)) * counts
        assert len(zeros[part]) == (num_tensors if part != "bias" or bias else 0)
        assert num_tensors, "every optimiser has state for every weight"


#: The parts of a unit that lose their running means, by method; by default, and with SGD if that differs.
RESETS: dict[str, tuple[set[str], set[str]]] = {
    "redo": ({"incoming", "outgoing"}, {"incoming", "outgoing"}),
    "redo_kumar": (set(), set()),
    "regrama": ({"incoming", "bias", "outgoing"}, {"incoming", "bias", "outgoing"}),
    "snr": ({"incoming", "bias", "outgoing"}, set()),
}
ALWAYS = {"redo": {"redo_period": 1, "redo_scores": "train"}, "redo_kumar": {"redo_period": 1},
          "regrama": {"regrama_period": 1}, "snr": {}}  # fmt: skip
MASKS = {"redo": "dormant", "redo_kumar": "dormant", "regrama": "inactive", "snr": "overdue"}


@pytest.mark.parametrize(("method", "opt"), itertools.product(RESETS, STATE))
def test_a_reset_changes_the_state_documented_in_methods_md(method, opt):
    """docs/methods.md has this table."""
    learner = filled(opt, agent=method, **ALWAYS[method])

    def one_unit(index: int, *about) -> Tensor:
        mask_SF = torch.zeros(2, learner.net.layers[index].outputs, dtype=torch.bool)
        mask_SF[0, 1] = index == 1
        return mask_SF

    setattr(learner.method, MASKS[method], one_unit)
    learner.optimizer.update = lambda params, grads: None
    learner.method.step = 4
    task = task_of([0, 3], 0, 4)
    before = learner.params["fc2.weight"].detach().clone()
    learner.step(task.train_inputs, task.train_targets)
    assert method == "redo_kumar" or not torch.equal(before[0, 1], learner.params["fc2.weight"][0, 1])
    _, counts = STATE[opt]
    of_any, of_sgd = RESETS[method]
    zeros = zeroed(learner)
    for part, kinds in zeros.items():
        assert not kinds & counts
        assert bool(kinds) == (part in (of_sgd if opt == "sgd" else of_any)), part


@pytest.mark.parametrize("opt", OPTIMIZERS)
def test_every_optimizer_trains(opt):
    learner = Learner(make_spec({"agent": "bp", "opt": opt, "network": "mlp", "step_size": 1e-3}), [0, 3], CPU)
    assert go_through(learner, range(2)).isfinite().all()
