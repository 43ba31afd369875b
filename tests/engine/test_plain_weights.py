"""Compare penalties, utilities and clipping with plain computations in double precision, with many settings."""

import math

import pytest
import torch

from lop_engine.methods.step_numbers import like_weights
from lop_engine.training.learner import Learner
from tests.engine.plain import Plain, assert_same
from tests.engine.test_methods import CPU, make_spec


def settings_of(**settings) -> dict:
    return {"step_size": 0.05} | settings


class L2Init(Plain):
    def penalty(self):
        total, spec = 0.0, self.spec
        for name, weight in self.params.items():
            target = self.initial[name]
            if spec.l2_init_target == "resampled":
                target = self.row(self.learner.method.targets()[name])
            d = weight - target
            if spec.l2_init_penalty == "l2":
                total = total + spec.l2_init / 2 * (d**2).sum()
            elif spec.l2_init_penalty == "l1":
                total = total + spec.l2_init * (d * d.sign()).sum()
            else:
                total = total + spec.l2_init * torch.where(d.abs() < 1, d**2 / 2, d.abs() - 0.5).sum()
        return total


@pytest.mark.parametrize(
    ("penalty", "opt", "strength"),
    # l1 with Adam is left out: near 0, rounding decides the sign of a distance and thus a whole step.
    [("l2", "sgd", 0.03), ("l2", "adam", 0.7), ("l1", "sgd", 0.03), ("huber", "sgd", 0.3), ("huber", "adam", 0.7)],
)
@pytest.mark.parametrize("target", ["initial", "resampled"])
def test_l2_init_agrees_with_a_plain_implementation(penalty, target, opt, strength):
    settings = settings_of(l2_init=strength, l2_init_penalty=penalty, l2_init_target=target)
    more = {"opt": "adam", "epsilon": 1e-3} if opt == "adam" else {}
    assert_same(L2Init, settings | {"agent": "l2_init"} | more)


def test_resampled_targets_change_in_every_step_within_the_initial_bounds():
    learner = Learner(make_spec({"agent": "l2_init", "l2_init_target": "resampled"}), [0, 3], CPU)
    learner.start_epoch(0, 0)
    drawn = []
    for _ in range(2):
        learner.method.draw()
        drawn.append({name: target.clone() for name, target in learner.method.targets().items()})
    assert drawn[0].keys() == learner.params.keys()
    for name, target in drawn[0].items():
        bound = learner.net.weight_bounds[name.partition(".")[0]]
        assert target.shape == learner.params[name].shape
        assert 0.7 * bound < target.abs().max() <= bound
        assert not torch.equal(target, drawn[1][name])
        assert not torch.equal(target[0], target[1])


class WeightClipping(Plain):
    def after_update(self):
        for name, weight in self.params.items():
            layer = name.partition(".")[0]
            fan_in = self.params[f"{layer}.weight"][0].numel()
            if layer != "fc3" or self.spec.clip_last_layer:
                bound = self.spec.clip_kappa / math.sqrt(fan_in)
                weight.copy_(torch.where(weight > bound, bound, torch.where(weight < -bound, -bound, weight)))


@pytest.mark.parametrize(("kappa", "last"), [(0.5, True), (0.99, False), (3.0, True)])
@pytest.mark.parametrize("more", [{}, {"opt": "adam", "epsilon": 1e-3}], ids=["sgd", "adam"])
def test_weight_clipping_agrees_with_a_plain_implementation(kappa, last, more):
    settings = settings_of(agent="weight_clipping", clip_kappa=kappa, clip_last_layer=last)
    assert_same(WeightClipping, settings | more)


class UPGD(Plain):
    """Computes each weight in the order of the authors' equations."""

    def __init__(self, learner, run):
        super().__init__(learner, run)
        self.u = {name: torch.zeros_like(weight) for name, weight in self.params.items()}
        self.m, self.v = ({name: torch.zeros_like(weight) for name, weight in self.params.items()} for _ in range(2))

    def new_optimizer(self):
        pass

    def step(self, images, labels):
        spec, self.done = self.spec, self.done + 1
        grads, noise = (
            self.gradient(images, labels),
            like_weights(self.learner.method.numbers.of_step_SN, self.learner.params),
        )
        beta, wd, lr = spec.upgd_utility_decay, spec.weight_decay, spec.step_size
        with torch.no_grad():
            for name, weight in self.params.items():
                self.u[name] = beta * self.u[name] + (1 - beta) * -grads[name] * weight
            largest = max(u.max() for u in self.u.values())
            for name, weight in self.params.items():
                hat = self.u[name] / (1 - beta**self.done)
                s = torch.sigmoid(hat / largest)
                if getattr(spec, "upgd_utility", "global") == "local":
                    s = torch.sigmoid(hat / hat.norm(dim=-1, keepdim=True).clamp(min=1e-12))
                xi = spec.upgd_sigma * noise[name][self.run].double()
                weight.copy_(weight * (1 - lr * wd) - self.change(name, grads[name], s, xi))
            self.clip()

    def change(self, name, g, s, xi):
        if self.spec.upgd_protecting:
            return self.spec.step_size * (g + xi) * (1 - s)
        return self.spec.step_size * (g + xi * (1 - s))

    def clip(self):
        kappa = self.spec.upgd_clip_kappa
        for name, weight in self.params.items() if kappa else ():
            bound = kappa / math.sqrt(self.params[f"{name.partition('.')[0]}.weight"][0].numel())
            weight.clamp_(-bound, bound)


@pytest.mark.parametrize("utility", ["global", "local"])
@pytest.mark.parametrize("protecting", [True, False])
@pytest.mark.parametrize(
    ("decay", "sigma", "wd", "kappa"), [(0.9, 0.3, 0.02, 0.0), (0.5, 0.05, 0.0, 0.8), (0.999, 0.0, 0.4, 0.0)]
)
def test_upgd_agrees_with_a_plain_implementation(utility, protecting, decay, sigma, wd, kappa):
    own = {"upgd_utility": utility, "upgd_protecting": protecting, "upgd_clip_kappa": kappa}
    common = {"agent": "upgd", "upgd_utility_decay": decay, "upgd_sigma": sigma, "weight_decay": wd}
    # The noise is multiplied in float32; local utilities near 0 are ill-conditioned.
    tolerance = 1e-8 if utility == "global" else 1e-7
    assert_same(UPGD, settings_of(new_heads=False, **own, **common), tolerance)


class AdaUPGD(UPGD):
    def change(self, name, g, s, xi):
        spec = self.spec
        self.m[name] = spec.beta_1 * self.m[name] + (1 - spec.beta_1) * g
        self.v[name] = spec.beta_2 * self.v[name] + (1 - spec.beta_2) * g**2
        m, v = self.m[name] / (1 - spec.beta_1**self.done), self.v[name] / (1 - spec.beta_2**self.done)
        return 2 * spec.step_size * (m * (1 - s) / (v.sqrt() + spec.epsilon) + xi * (1 - s))

    def clip(self):
        pass


@pytest.mark.parametrize(("beta_1", "beta_2", "epsilon", "wd"), [(0.9, 0.999, 1e-3, 0.0), (0.5, 0.9, 1e-2, 0.1)])
def test_adaupgd_agrees_with_a_plain_implementation(beta_1, beta_2, epsilon, wd):
    own = {"agent": "adaupgd", "beta_1": beta_1, "beta_2": beta_2, "epsilon": epsilon, "weight_decay": wd}
    common = {"upgd_utility_decay": 0.8, "upgd_sigma": 0.1, "step_size": 5e-3, "new_heads": False}
    assert_same(AdaUPGD, common | own, tolerance=1e-8)
