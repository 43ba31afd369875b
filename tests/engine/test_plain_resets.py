"""Compare methods that reset hidden units with plain computations unit by unit, with many settings.

The runs of a stack differ in their settings. All computations are in double precision.
"""

from collections import Counter

import pytest
import torch
from torch import Tensor

from lop_engine.networks.activations import ACTIVATIONS
from lop_engine.training.learner import Learner
from tests.engine.plain_units import Plain
from tests.engine.test_methods import CPU, make_spec

SEEDS = (3, 8)
BATCHES = [4] * 7 + [2]
"""Of an epoch: 30 examples."""
SGD = {"opt": "sgd", "momentum": 0.8, "step_size": 0.05}
ADAM = {"opt": "adam", "step_size": 0.02, "beta_1": 0.8, "epsilon": 1e-4}


def stack(settings: dict, varied: dict[str, tuple], network: str) -> Learner:
    spec = make_spec(settings | {"network": network, "precision": "fp64", "mini_batch_size": 4}, width=0.1)
    specs = [spec.with_changes(**{key: values[run] for key, values in varied.items()}) for run in range(2)]
    return Learner(specs, SEEDS, CPU)


def optimizer(settings: dict):
    if settings["opt"] == "sgd":
        return lambda weights: torch.optim.SGD(weights, lr=settings["step_size"], momentum=settings["momentum"])
    betas = (settings["beta_1"], 0.999)
    return lambda weights: torch.optim.Adam(weights, lr=settings["step_size"], betas=betas, eps=settings["epsilon"])


def batches(epochs: int):
    """Yield inputs (2, B, 3, 32, 32) and labels (2, B), different for each run; a unit is silent on many inputs."""
    generator = torch.Generator().manual_seed(5)
    for _ in range(epochs):
        for size in BATCHES:
            x = torch.randn(2, size, 3, 32, 32, generator=generator, dtype=torch.float64)
            yield x, torch.randint(0, 2, (2, size), generator=generator)


def train(learner: Learner, epochs: int, compare_step):
    """Train; after each step call `compare_step` with the number of the step, from 1, and its batch."""
    for number, (x, y) in enumerate(batches(epochs)):
        if number % len(BATCHES) == 0:
            learner.start_epoch(0, number // len(BATCHES))
        learner.step(x, y)
        compare_step(number + 1, x, y)


def low(scores: Tensor, threshold: float) -> list[int]:
    return [unit for unit, score in enumerate(scores.tolist()) if score <= threshold]


@pytest.mark.parametrize("network", ["mlp", "conv_net"])
@pytest.mark.parametrize(("settings", "keep"), [(SGD, True), (SGD, False), (ADAM, False)], ids=["keep", "sgd", "adam"])
def test_regrama_agrees_with_a_plain_implementation(network, settings, keep):
    thresholds, period = (0.3, 0.8), 3
    own = {"agent": "regrama", "regrama_period": period, "regrama_optimizer_state": "keep" if keep else "reset"}
    learner = stack(own | settings, {"regrama_threshold": thresholds}, network)
    plain, num_resets = [Plain(learner, run, optimizer(settings)) for run in range(2)], [0, 0]

    def compare_step(number, x, y):
        for run, one in enumerate(plain):
            one.learn(x[run], y[run])
            if number % period == 0:
                grads = {name: weight.grad for name, weight in one.weights.items()}
                for index, layer in enumerate(one.net.hidden_layers):
                    mean = grads[f"{layer.name}.weight"].abs().flatten(1).mean(1)
                    for unit in low(mean / (mean.mean() + 1e-8), thresholds[run]):
                        one.reset(index, unit, learner.method.drawn_incoming(index)[run, unit])
                        num_resets[run] += 1
                        if not keep:
                            one.forget(index, unit)
            one.assert_is(learner)

    train(learner, 2, compare_step)
    assert min(num_resets) > 3


@pytest.mark.parametrize("network", ["mlp", "conv_net"])
@pytest.mark.parametrize("settings", [SGD, ADAM], ids=["sgd", "adam"])
@pytest.mark.parametrize("period", [1, 5])
def test_redo_of_kumar_et_al_agrees_with_a_plain_implementation(network, settings, period):
    thresholds = (0.2, 0.7)
    own = {"agent": "redo_kumar", "redo_period": period}
    learner = stack(own | settings, {"redo_threshold": thresholds}, network)
    plain, num_resets = [Plain(learner, run, optimizer(settings)) for run in range(2)], [0, 0]
    last: list[list[Tensor]] = [[], []]

    def compare_step(number, x, y):
        for run, one in enumerate(plain):
            if number > 1 and (number - 1) % period == 0:
                for index, layer in enumerate(one.net.hidden_layers):
                    h = last[run][index].abs()
                    mean = h.mean((0, *range(2, h.dim())))
                    for unit in low(mean / mean.mean(), thresholds[run]):
                        bias = float(one.initial[f"{layer.name}.bias"][unit])
                        one.reset(index, unit, one.initial[f"{layer.name}.weight"][unit], bias)
                        num_resets[run] += 1
            last[run] = one.learn(x[run], y[run])
            one.assert_is(learner)

    train(learner, 2, compare_step)
    assert min(num_resets) > 3


class PlainSNR:
    """Ages, thresholds and histograms of the units of a layer, in examples."""

    def __init__(self, num_units: int, threshold: float) -> None:
        self.ages, self.thresholds = [0] * num_units, [threshold] * num_units
        self.histograms: list[Counter[int]] = [Counter() for _ in range(num_units)]

    def see(self, h: Tensor) -> None:
        for unit, fired in enumerate((h > 0).any(0).flatten(1).any(1) if h.dim() > 2 else (h > 0).any(0)):
            if fired:
                self.enter(unit)
            else:
                self.ages[unit] += len(h)

    def enter(self, unit: int) -> None:
        self.histograms[unit][self.ages[unit]] += 1
        self.ages[unit] = 0

    def end_task(self, quantile: float, factor: float, least: int, most: int) -> None:
        for unit, histogram in enumerate(self.histograms):
            entries = sorted(age for age, count in histogram.items() for _ in range(count) if 1 <= age <= most)
            shares = {age: sum(other <= age for other in entries) / len(entries) for age in entries}
            usual = min((age for age, share in shares.items() if share >= quantile), default=1)
            threshold = self.thresholds[unit]
            threshold = usual if usual < threshold else factor * threshold
            self.thresholds[unit] = max(least, min(threshold, most))
            histogram.clear()


@pytest.mark.parametrize("network", ["mlp", "conv_net"])
@pytest.mark.parametrize("state", [None, "keep", "reset"])
@pytest.mark.parametrize("settings", [SGD, ADAM], ids=["sgd", "adam"])
@pytest.mark.parametrize(
    ("threshold", "most", "quantile", "factor", "tasks"),
    [((10, 6), 200, (0.5, 0.9), (1.5, 3.0), 1), ((14, 9), 16, (0.98, 0.3), (2.0, 1.0), 2)],
)
@pytest.mark.long
def test_snr_agrees_with_a_plain_implementation(network, settings, state, threshold, most, quantile, factor, tasks):
    own = {"agent": "snr", "snr_max_threshold": most, "snr_threshold_tasks": tasks, "snr_optimizer_state": state}
    varied = {"snr_threshold": threshold, "snr_quantile": quantile, "snr_factor": factor}
    learner = stack(own | settings, varied, network)
    with torch.no_grad():
        for layer in learner.net.hidden_layers:  # makes some units silent
            learner.params[f"{layer.name}.bias"] -= 0.1 * torch.rand(layer.outputs, dtype=torch.float64)
    plain, num_resets = [Plain(learner, run, optimizer(settings)) for run in range(2)], [0, 0]
    counted = [[PlainSNR(layer.outputs, threshold[run]) for layer in learner.net.hidden_layers] for run in range(2)]
    forgets = state == "reset" or (state is None and settings["opt"] == "adam")

    def compare_step(number, x, y):
        if number % 4 == 0:
            learner.end_task(number // 4 - 1)
        for run, one in enumerate(plain):
            hidden = one.learn(x[run], y[run])
            for index, layer in enumerate(counted[run]):
                layer.see(hidden[index])
                for unit, age in enumerate(layer.ages):
                    if age >= layer.thresholds[unit]:
                        layer.enter(unit)
                        one.reset(index, unit, learner.method.drawn_incoming(index)[run, unit])
                        num_resets[run] += 1
                        if forgets:
                            one.forget(index, unit)
                if number % (4 * tasks) == 0:
                    layer.end_task(quantile[run], factor[run], 4, most)
                ours = learner.method.layers[index]
                assert ours.age_SF[run].tolist() == layer.ages
                assert ours.threshold_SF[run].tolist() == layer.thresholds
            one.assert_is(learner)

    train(learner, 3, compare_step)
    assert min(num_resets) > 3


FIRING = {"crelu": [True, False, True], "fourier": [True, True, True], "sigmoid": [True, True, True]}


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_snr_decides_with_each_activation_which_units_fire(activation):
    """The units have inputs -0.5, 0 and 0.5. With activations missing in FIRING, positive inputs fire."""
    learner = Learner(make_spec({"agent": "snr", "network": "mlp", "activation": activation}, num_features=3), [3], CPU)
    for name, weight in learner.params.items():
        if name.startswith("fc1"):
            weight.detach().zero_()
    learner.params["fc1.bias"].detach().copy_(torch.tensor([[-0.5, 0.0, 0.5]]))
    hidden = learner.net(learner.params, torch.randn(1, 4, 3, 32, 32)).hidden
    assert learner.method.fires(0, hidden[0])[0].tolist() == FIRING.get(activation, [False, False, True])
