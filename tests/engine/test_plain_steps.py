"""Compare methods that act in every step with plain implementations, for other values than the golden figures."""

import pytest
import torch

from lop_engine.device import training_precision
from lop_engine.methods.spectral import square_of_largest
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
def test_hare_and_tortoise_agrees_with_a_plain_implementation(decay, period, more):
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
def test_shrink_and_perturb_in_every_step_agrees_with_a_plain_implementation(shrink, perturb, more):
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
        assert not one["fc1.bias"].any()  # biases start from zero in this network
        assert (one["layer_norm1.weight"] == 1).all()
        assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(first["fc1.weight"], second["fc1.weight"])


class Parseval(Plain):
    def penalty(self):
        total = 0
        for layer in self.layers if self.spec.parseval_head else self.layers[:-1]:
            weight = self.params[f"{layer}.weight"].flatten(1)
            total = total + ((weight @ weight.T - self.spec.parseval_scale * torch.eye(len(weight))) ** 2).sum()
        return self.spec.parseval_strength * total


@pytest.mark.parametrize("more", [{}, ADAM, {"new_heads": False}])
@pytest.mark.parametrize(
    "own", [{"parseval_strength": 0.02, "parseval_scale": 0.5}, {"parseval_strength": 0.3, "parseval_head": False}]
)
def test_parseval_agrees_with_a_plain_implementation(own, more):
    assert_same(Parseval, {"agent": "parseval"} | own | more)


class Spectral(Plain):
    """Computed with singular value decompositions."""

    def penalty(self):
        total, power = 0, self.spec.spectral_power
        for layer in self.layers if self.spec.spectral_head else self.layers[:-1]:
            weight, bias = (self.params[f"{layer}.{kind}"] for kind in ("weight", "bias"))
            if weight.any():
                total = total + (torch.linalg.svdvals(weight.flatten(1))[0] ** power - 1) ** 2
            if self.spec.spectral_biases and bias.any():
                total = total + torch.linalg.vector_norm(bias) ** (2 * power)
        return self.spec.spectral_strength * total


@pytest.mark.parametrize("more", [{}, ADAM, {"new_heads": False}])
@pytest.mark.parametrize(
    "own",
    [
        {"spectral_strength": 0.1, "spectral_power": 1},
        {"spectral_strength": 0.05, "spectral_power": 3, "spectral_biases": False},
        {"spectral_strength": 0.5, "spectral_head": False},
    ],
)
def test_spectral_agrees_with_a_plain_implementation(own, more):
    assert_same(Spectral, {"agent": "spectral"} | own | more, tolerance=1e-8)


@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (1, 7), (128, 576)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_largest_singular_value_and_its_gradient_agree_with_a_decomposition(shape, dtype):
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(3, *shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    other = weight.detach().double().requires_grad_()
    square, expected = square_of_largest(weight), torch.linalg.matrix_norm(other, 2) ** 2
    tolerance = 1e-9 if dtype == torch.float64 else 1e-5
    torch.testing.assert_close(square.double(), expected, rtol=tolerance, atol=0)
    [gradient] = torch.autograd.grad(square.sum(), weight)
    [of_other] = torch.autograd.grad(expected.sum(), other)
    size = float(of_other.abs().max())
    torch.testing.assert_close(gradient.double(), of_other, rtol=0, atol=max(20 * tolerance, 1e-6) * size)


@pytest.mark.parametrize("power", [1, 2, 3])
def test_a_weight_of_zeros_or_of_equal_singular_values_has_a_finite_gradient(power):
    spec = make_spec({"agent": "spectral", "spectral_power": power}, network="mlp", num_features=4)
    learner = Learner(spec, [3, 8], CPU)
    with torch.no_grad():
        learner.params["fc3.weight"].zero_()
        learner.params["fc2.weight"].copy_(torch.eye(4) * 3)
    penalty_S = learner.method.penalty(learner.params)
    grads = torch.autograd.grad(penalty_S.sum(), list(learner.params.values()))
    assert penalty_S.isfinite().all()
    assert all(grad.isfinite().all() for grad in grads)
    assert not grads[list(learner.params).index("fc3.weight")].any()
    # Weights of equal singular values shrink as a whole.
    of_equal = grads[list(learner.params).index("fc2.weight")][0]
    torch.testing.assert_close(of_equal, torch.eye(4) * of_equal[0, 0])
    assert float(of_equal[0, 0]) > 0


@pytest.mark.parametrize("agent", ["parseval", "spectral"])
def test_a_penalty_is_not_rounded_in_a_bf16_step(agent):
    learner = Learner(make_spec({"agent": agent}), [3, 8], CPU)
    expected = learner.method.penalty(learner.params)
    with training_precision("bf16", "cpu"):
        torch.testing.assert_close(learner.method.penalty(learner.params), expected, rtol=1e-6, atol=0)
