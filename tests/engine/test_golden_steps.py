"""Compare methods that act in every step with public implementations, number by number."""

import numpy as np
import pytest
import torch

from lop_engine.methods.step_numbers import like_weights
from tests.engine.golden import golden_learner, load, weight_difference
from tests.engine.test_golden_methods import ADAM, SGD, assert_trains_as, make_spec


@pytest.mark.parametrize(("name", "settings"), [("hare_tortoise_sgd", SGD), ("hare_tortoise_adam", ADAM)])
@pytest.mark.long
def test_hare_and_tortoise_agrees_with_the_paper(name, settings):
    spec = make_spec("hare_tortoise", hare_tortoise_decay=0.9, hare_tortoise_period=5, **settings)
    learner, stored = golden_learner(spec), load(f"methods/{name}")
    assert_trains_as(name, learner)
    if name.endswith("sgd"):
        measured = learner.evaluated()
        learner.params = {key: weight.clone() for key, weight in measured.items()}
        assert weight_difference(learner, stored, "slow.") < 1e-4


def test_shrink_and_perturb_in_every_step_agrees_with_kumar_et_al():
    spec = make_spec("snp_kumar", snp_kumar_shrink=0.01, snp_kumar_perturb=0.01, **SGD)
    learner, rng = golden_learner(spec), np.random.default_rng(401)
    method, layers = learner.method, {layer.name: layer for layer in learner.net.layers}

    def draw() -> None:
        for name, numbers in like_weights(method.fresh.numbers_SN, learner.params).items():
            bound = 1 / np.sqrt(layers[name.partition(".")[0]].fan_in)
            drawn = rng.uniform(-bound, bound, numbers.shape[1:]).astype(np.float32)
            numbers.copy_(torch.from_numpy((drawn + bound) / (2 * bound)))

    method.draw = draw
    assert_trains_as("snp_kumar_sgd", learner)


@pytest.mark.parametrize(
    ("name", "agent", "settings", "losses"),
    [
        ("parseval_sgd", "parseval", {"parseval_strength": 1e-3}, 2e-6),
        ("spectral_formula_sgd", "spectral", {"spectral_strength": 0.01, "spectral_biases": False}, 2e-6),
        ("spectral_formula_bias_sgd", "spectral", {"spectral_strength": 0.01}, 2e-6),
    ],
)
@pytest.mark.long
def test_a_penalty_agrees_with_its_public_implementation(name, agent, settings, losses):
    learner, stored = golden_learner(make_spec(agent, **SGD | settings)), load(f"methods/{name}")
    step, totals = learner.step, []

    def recording_step(inputs, targets):
        penalty_S = learner.method.penalty(learner.params)
        result = step(inputs, targets)
        totals.append(float((result.loss_S + penalty_S)[0].detach()))
        return result

    learner.step = recording_step
    assert_trains_as(name, learner, losses=losses)
    np.testing.assert_allclose(totals, stored["total_losses"], rtol=1e-5, atol=2e-6)
    if "sigma_max" in stored:
        weights = [learner.params[f"{layer.name}.weight"][0].detach().flatten(1) for layer in learner.net.layers]
        largest = [float(torch.linalg.matrix_norm(weight.double(), 2)) for weight in weights]
        np.testing.assert_allclose(largest, stored["sigma_max"], rtol=1e-4)
