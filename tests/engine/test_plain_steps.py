"""Methods that act in every step, written a second time, with other numbers than the public figures."""

import pytest
import torch

from lop_engine.training.learner import Learner
from tests.engine.plain import Plain, assert_same
from tests.engine.test_methods import CPU, make_spec

ADAM = {"opt": "adam", "step_size": 1e-3, "epsilon": 1e-4}


class HareAndTortoise(Plain):
    def __init__(self, learner, run):
        super().__init__(learner, run)
        self.slow = {name: weight.clone() for name, weight in self.initial.items()}

    def start_task(self, index, images, labels):
        if self.spec.new_heads:
            self.slow["fc3.weight"].zero_()
            self.slow["fc3.bias"].zero_()

    def after_update(self):
        decay = self.spec.hare_tortoise_decay
        for name, weight in self.params.items():
            self.slow[name] = decay * self.slow[name] + (1 - decay) * weight
        if self.done % self.spec.hare_tortoise_period == 0:
            for name, weight in self.params.items():
                weight.copy_(self.slow[name])

    def measured(self):
        return self.slow


@pytest.mark.parametrize(
    ("decay", "period", "more"), [(0.8, 3, {}), (0.0, 4, {"new_heads": False}), (0.99, 7, ADAM), (0.5, 1, {})]
)
def test_hare_and_tortoise(decay, period, more):
    assert_same(
        HareAndTortoise, {"agent": "hare_tortoise", "hare_tortoise_decay": decay, "hare_tortoise_period": period} | more
    )


class ShrinkAndPerturb(Plain):
    def after_update(self):
        for name, fresh in self.learner.method.fresh.of_step().items():
            weight = self.params[name]
            drawn = self.row(fresh).double()
            weight.copy_((1 - self.spec.snp_kumar_shrink) * weight + self.spec.snp_kumar_perturb * drawn)


@pytest.mark.parametrize(("shrink", "perturb", "more"), [(0.1, 0.02, {}), (0.0, 0.3, ADAM), (0.7, 0.7, {})])
def test_shrink_and_perturb_in_every_step(shrink, perturb, more):
    settings = {"agent": "snp_kumar", "snp_kumar_shrink": shrink, "snp_kumar_perturb": perturb}
    assert_same(ShrinkAndPerturb, settings | more)


def test_the_fresh_network_of_a_step_has_the_initial_distribution():
    settings = {
        "agent": "snp_kumar",
        "snp_kumar_perturb": 0.1,
        "layer_norm": True,
        "network": "mlp",
        "num_features": 40,
    }
    learner = Learner(make_spec(settings), [3, 8], CPU)
    method, net = learner.method, learner.net
    method.start_epoch(0, 0)
    method.draw()
    first = {name: one.clone() for name, one in method.fresh.of_step().items()}
    method.draw()
    second = method.fresh.of_step()
    bound = net.weight_bounds["fc1"]
    for one in (first, second):
        assert one.keys() == learner.params.keys()
        drawn = one["fc1.weight"]
        assert float(drawn.abs().max()) <= bound
        assert float(drawn.std()) == pytest.approx(bound / 3**0.5, rel=0.02)
        assert not one["fc1.bias"].any()  # which starts from zero in this network
        assert (one["layer_norm1.weight"] == 1).all()
        assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(first["fc1.weight"], second["fc1.weight"])
