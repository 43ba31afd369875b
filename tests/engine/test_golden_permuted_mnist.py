"""Compare online permuted MNIST with the reference implementation, example by example (tests/golden/README.md)."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lop_engine.datasets import ClassFolder
from lop_engine.datasets.importing import ImportOptions, import_images
from lop_engine.experiment.spec import Spec
from lop_engine.problems.permuted_mnist import PermutedMnist
from lop_engine.training.learner import Learner
from lop_engine.training.loop import measure_start, train, train_epoch

GOLDEN = Path(__file__).parents[1] / "golden"
STORED = GOLDEN / "permuted_mnist"
EXPECTED = json.loads((STORED / "expected.json").read_text())
STATISTICS = json.loads((STORED / "statistics.json").read_text())
CPU = torch.device("cpu")
LAYERS = ("fc1", "fc2", "fc3", "fc4")
SETTINGS = {
    "bp": {"agent": "bp", "step_size": 0.003},
    "l2": {"agent": "l2", "step_size": 0.003, "weight_decay": 1e-3},
    "snp": {"agent": "snp", "step_size": 0.003, "weight_decay": 1e-4, "perturb_scale": 1e-4},
    "cbp": {
        "agent": "cbp",
        "step_size": 0.003,
        "replacement_rate": 1e-3,
        "maturity_threshold": 20,
        "util_type": "adaptable_contribution",
        "decay_rate": 0.99,
        "budget_accrual": "eligible",
    },
    "adam": {"agent": "bp", "opt": "adam", "step_size": 1e-4},
}


@cache
def stored(name: str) -> dict[str, np.ndarray]:
    return dict(np.load(STORED / f"{name}.npz"))


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> ClassFolder:
    target = tmp_path_factory.mktemp("digits") / "mnist"
    import_images(GOLDEN / "digits", target, ImportOptions(), lambda *_: None)
    return ClassFolder.open(target)


def spec_of(**settings) -> Spec:
    fixed = {"problem": "permuted_mnist", "num_features": 100, "change_after": 2000, "num_tasks": 3}
    return Spec(**fixed | settings)


class GivenOrders(PermutedMnist):
    """The orders of pixels of the reference; each permutes the previous one."""

    def orders(self, seed, task, num_images):
        given = stored("permutations")
        pixels, images = np.arange(784), np.arange(num_images)
        for index in range(task + 1):
            pixels = pixels[given["pixel_permutation"][index]]
            images = images[given["data_permutation"][index]]
        return pixels, images


def the_reference_noise() -> Iterator[dict[str, np.ndarray]]:
    """Yield the noise of each step, by weight; a layer's bias is drawn first."""
    rng, scale = np.random.default_rng(EXPECTED["runs"]["snp"]["noise_seed"]), np.float32(1e-4)
    shapes = {key: stored("init")[key].shape for layer in LAYERS for key in (f"{layer}.bias", f"{layer}.weight")}
    while True:
        yield {key: rng.standard_normal(shape, dtype=np.float32) * scale for key, shape in shapes.items()}


def feed_noise(learner: Learner) -> None:
    noise, method = the_reference_noise(), learner.method
    method.scale = 1.0  # the reference rounds the scaled noise

    def draw() -> None:
        drawn = next(noise)
        method.noise_SN[0] = torch.from_numpy(np.concatenate([drawn[name].ravel() for name in learner.params]))

    method.draw = draw


class GivenDraws:
    """Feeds the reference's incoming weights to generate-and-test and records every replacement."""

    def __init__(self, learner: Learner) -> None:
        self.method, self.learner = learner.method, learner
        self.rng = np.random.default_rng(EXPECTED["runs"]["cbp"]["weight_draw_seed"])
        self.events: list[tuple[int, int, int]] = []
        self.sums: list[float] = []
        self.replace = self.method.replace
        self.method.replace = self.recording_replace
        self.method.drawn_incoming = lambda layer: self.drawn

    def recording_replace(self, layer, weights, units_SR, replaced_SR):
        units = units_SR[replaced_SR].tolist()
        fan_in, bound = self.method.hidden_layers[layer].fan_in, stored("cbp")["bounds"][layer]
        self.drawn = torch.zeros(1, self.method.max_replaced[layer], fan_in)
        if units:
            rows = self.rng.uniform(-bound, bound, size=(len(units), fan_in)).astype(np.float32)
            self.drawn[0, : len(units)] = torch.from_numpy(rows)
            self.sums += rows.sum(1, dtype=np.float64).tolist()
        self.events += [(self.method.step + 1, layer, unit) for unit in units]
        self.replace(layer, weights, units_SR, replaced_SR)


class Followed:
    """A run of 6,000 examples with the reference's random numbers."""

    def __init__(self, name: str, images: ClassFolder) -> None:
        spec = spec_of(**SETTINGS[name])
        weights = {key: torch.from_numpy(value)[None].clone() for key, value in stored("init").items()}
        self.learner = learner = Learner(spec, [0], CPU, weights, GivenOrders(spec, images))
        if name == "snp":
            feed_noise(learner)
        self.draws = GivenDraws(learner) if name == "cbp" else None
        self.losses, self.correct, self.starts, self.sums = [], [], [], []
        for index, task in enumerate(learner.problem.tasks([0], CPU, 0, learner.dtype)):
            self.starts.append({key: value.item() for key, value in measure_start(spec, learner, task, index).items()})
            for part in range(spec.num_parts):
                learner.start_epoch(index, part)
                steps = train_epoch(learner.step, task.part(part), None, 1)
                self.losses += [float(loss) for loss in steps.losses]
                self.correct += [float(score) for score in steps.scores]
                if len(self.losses) % 1000 == 0:
                    weights = [learner.params[f"{key}.weight"].detach() for key in LAYERS[::-1]]
                    self.sums.append([float(weight.abs().sum()) for weight in weights])


def plain_run(name: str, images: ClassFolder) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the same run by plain PyTorch on this machine: losses (6000,), and the final weights by name."""
    settings, net = SETTINGS[name], nn.Sequential()
    for layer in LAYERS:
        weight = torch.from_numpy(stored("init")[f"{layer}.weight"])
        net.add_module(layer, nn.Linear(weight.shape[1], weight.shape[0]))
        if layer != LAYERS[-1]:
            net.add_module(f"relu_{layer}", nn.ReLU())
    net.load_state_dict({key: torch.from_numpy(value) for key, value in stored("init").items()})
    options = {"lr": settings["step_size"], "weight_decay": settings.get("weight_decay", 0)}
    rule = torch.optim.Adam if settings.get("opt") == "adam" else torch.optim.SGD
    optimizer, noise, losses = rule(net.parameters(), **options), the_reference_noise(), []
    for task in GivenOrders(spec_of(**settings), images).tasks([0], CPU):
        for part in map(task.part, range(10)):
            for x, y in zip(part.train_inputs[0].split(1), part.train_targets[0].split(1), strict=True):
                loss = F.cross_entropy(net(x), y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
                if name == "snp":
                    added = next(noise)
                    for key, weight in net.named_parameters():
                        weight.data += torch.from_numpy(added[key])
    return np.array(losses), {key: weight.detach().numpy() for key, weight in net.named_parameters()}


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.timeout(900)
@pytest.mark.long
def test_six_thousand_examples_agree_with_the_reference(name, digits):
    """Compare with the stored figures of another CPU, or with plain PyTorch if it differs from them on this CPU.

    A unit's input may be zero up to rounding, which then decides whether the unit learns from that example.
    """
    run, theirs = Followed(name, digits), stored(name)
    weights = {key: weight[0].detach().numpy().ravel() for key, weight in run.learner.params.items()}
    allowed = 1e-3 if name == "adam" else 1e-4
    outside = np.abs(run.losses - theirs["losses"]) > 1e-4
    if outside.any():
        losses, plain_weights = plain_run(name, digits)
        first = int(outside.argmax())
        assert np.abs(losses[:first] - theirs["losses"][:first]).max() < 1e-4, "plain PyTorch is off"
        assert abs(losses[first] - theirs["losses"][first]) > 1e-4, "only lop is off"
        assert np.abs(run.losses - losses).max() < 1e-3
        assert all(np.abs(weights[key] - plain_weights[key].ravel()).max() < allowed for key in weights)
        return
    assert (np.array(run.correct) != np.unpackbits(theirs["correct"])[:6000]).sum() <= 2
    for key, ours in weights.items():
        thinned = f"final.{key}[::8]"
        pair = (ours[::8], theirs[thinned]) if thinned in theirs else (ours, theirs[f"final.{key}"].ravel())
        assert np.abs(pair[0] - pair[1]).max() < allowed, key
        total, total_size = EXPECTED["runs"][name]["sums"][f"final.{key}"]
        assert ours.sum(dtype=np.float64) == pytest.approx(total, abs=2e-2), key
        assert np.abs(ours).sum(dtype=np.float64) == pytest.approx(total_size, rel=1e-4), key
    np.testing.assert_allclose(run.sums, theirs["weight_mag_sum_every_500"][1::2], rtol=1e-4)
    _check_starts(run.starts, theirs)
    if run.draws:
        _check_replacements(run, theirs)


def _check_starts(starts: list[dict[str, float]], theirs: dict[str, np.ndarray]) -> None:
    for layer in range(3):
        for ours, key, scale in (
            ("approximate_rank", "approximate_ranks", 1),
            ("stable_rank", "abs_approximate_ranks", 1),
            ("dead_proportion", "dead_neurons", 100),
        ):
            values = [scale * start[f"{ours}_{layer + 1}"] for start in starts]
            assert np.abs(np.array(values) - theirs[key][:, layer]).max() <= 1, ours
        values = [start[f"effective_rank_{layer + 1}"] for start in starts]
        np.testing.assert_allclose(values, theirs["effective_ranks"][:, layer], rtol=1e-3)
    dead = [300 * start["dead_proportion"] for start in starts]
    assert np.abs(np.array(dead) - theirs["dead_neurons"].sum(1)).max() <= 1


def _check_replacements(run: Followed, theirs: dict[str, np.ndarray]) -> None:
    recorded = zip(theirs["event_step"], theirs["event_layer"], theirs["event_unit"], strict=True)
    assert run.draws.events == [tuple(map(int, event)) for event in recorded]
    assert len(run.draws.events) == 1758
    np.testing.assert_allclose(run.draws.sums, theirs["event_incoming_sum"], atol=1e-5)
    for layer, state in enumerate(run.learner.method.layer_states):
        np.testing.assert_array_equal(state.age_SF[0], theirs[f"age{layer}"])
        np.testing.assert_allclose(state.utility_SF[0], theirs[f"utility{layer}"], rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(state.mean_activation_SF[0], theirs[f"mean_act{layer}"], rtol=1e-3, atol=1e-4)
        assert float(state.budget_S) == pytest.approx(theirs["accumulated"][layer], abs=1e-9)


STATISTICAL = {
    "bp_0.01": {"agent": "bp", "step_size": 0.01},
    "bp_0.003": {"agent": "bp", "step_size": 0.003},
    "cbp_0.003": SETTINGS["cbp"] | {"replacement_rate": 1e-4, "maturity_threshold": 100},
}


@pytest.mark.parametrize("name", STATISTICAL)
@pytest.mark.timeout(900)
@pytest.mark.long
def test_accuracies_agree_with_those_of_the_reference_over_seeds(name, digits):
    """Train 20 tasks in the compiled kernel with lop's own random numbers.

    |difference of means| < 3 sqrt(se1^2 + se2^2) in all but one task of twenty.
    """
    pytest.importorskip("numba", reason="the extra `fast` is not installed")
    theirs, seeds, accuracies = STATISTICS[name], list(range(5)), []
    spec = spec_of(**STATISTICAL[name], change_after=5000, num_tasks=20, metrics=["online_accuracy"])
    learner = Learner(spec, seeds, CPU, problem=PermutedMnist(spec, digits))
    train(
        spec,
        learner,
        CPU,
        lambda report: accuracies.append(report.metrics["online_accuracy"]) if report.metrics else None,
    )
    ours = np.array(accuracies)
    mean, error = ours.mean(1), ours.std(1) / np.sqrt(len(seeds))
    limit = 3 * np.sqrt(error**2 + np.array(theirs["se"]) ** 2)
    outside = np.abs(mean - theirs["mean_accuracy"]) > limit
    print(name, "means", mean.round(4).tolist(), "tasks outside", int(outside.sum()))
    assert outside.sum() <= 1
