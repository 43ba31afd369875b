"""Compare methods and network options with public implementations, number by number.

Tolerances are the differences of a second implementation, or of the same one with other memory layouts.
"""

import hashlib

import numpy as np
import pytest
import torch

from lop_engine.experiment.spec import Spec
from lop_engine.methods.step_numbers import like_weights
from lop_engine.networks import build_network
from lop_engine.training.learner import Learner
from tests.engine.golden import fresh_layer, golden_learner, load, train_20_steps, weight_difference

SGD = {"opt": "sgd", "step_size": 0.01, "momentum": 0.9}
ADAM = {"opt": "adam", "step_size": 1e-3, "epsilon": 1e-4, "precision": "fp64"}


def make_spec(agent="bp", **settings) -> Spec:
    return Spec(agent=agent, num_tasks=1, num_showings=1, **settings)


def assert_trains_as(name: str, learner: Learner, losses: float = 2e-6, weights: float = 1e-4) -> None:
    """Train the 20 steps and compare them with a golden figure; in double precision with its float64 run."""
    stored, in_double = load(f"methods/{name}"), learner.dtype == torch.float64
    expected = stored["losses_f64" if in_double else "losses"]
    if in_double:
        losses, weights = 1e-9, 1e-7
    assert np.abs(train_20_steps(learner)[:, 0] - expected).max() < losses
    assert weight_difference(learner, stored, "f64." if in_double else "") < weights


def test_layer_normalisation_agrees_with_torch():
    assert_trains_as("layernorm_sgd", golden_learner(make_spec(layer_norm=True, **SGD)), losses=1e-5)


def test_crelu_agrees_with_kumar_et_al():
    spec = make_spec(width=0.75, activation="crelu", **SGD)
    rng, params = np.random.default_rng(77), {}
    for layer in build_network(spec, (3, 32, 32), 2).layers:
        bound = 1 / np.sqrt(layer.fan_in)
        params[f"{layer.name}.weight"] = fresh_layer(rng, layer)
        params[f"{layer.name}.bias"] = torch.from_numpy(rng.uniform(-bound, bound, layer.outputs).astype("f4"))[None]
    checksum = hashlib.sha256(b"".join(weight.numpy().tobytes() for weight in params.values())).hexdigest()
    assert checksum == "e2a2a35f50b740612c979cd14ed482851c75c464043a45a8bf3696a962f5c3c6"
    assert_trains_as("crelu_narrow_sgd", Learner(spec, [0], torch.device("cpu"), params))


class Recycling:
    """Feeds ReDo the random draws of a golden figure and records every recycled unit."""

    def __init__(self, learner: Learner, seed: int) -> None:
        self.method, self.layers, self.rng = learner.method, learner.net.hidden_layers, np.random.default_rng(seed)
        self.events: list[tuple[int, ...]] = []
        self.drawn: list[torch.Tensor] = []
        self.dormant = self.method.dormant
        self.method.draw, self.method.dormant = self.draw, self.noted
        self.method.drawn_incoming = lambda index: self.drawn[index]

    def draw(self) -> None:
        if self.method.variant:
            self.drawn = [fresh_layer(self.rng, layer) for layer in self.layers]

    def noted(self, index, layer):
        mask_SF = self.dormant(index, layer)
        self.events += [(self.method.step + 1, index, unit) for unit in mask_SF[0].nonzero()[:, 0].tolist()]
        return mask_SF


@pytest.mark.parametrize(
    ("name", "seed", "settings"),
    [
        ("redo_dopamine_sgd", 603, SGD),
        ("redo_prepool_sgd", 605, SGD | {"redo_scores": "train"}),
        ("redo_sgd", 601, SGD | {"redo_scores": "train", "redo_activations": "pooled"}),
        (
            "redo_keepmomentum_sgd",
            604,
            SGD | {"redo_scores": "train", "redo_activations": "pooled", "redo_optimizer_state": "keep"},
        ),
        ("redo_adam", 602, ADAM | {"redo_scores": "train", "redo_activations": "pooled"}),
    ],
)
@pytest.mark.long
def test_redo_recycles_the_same_units_as_dopamine(name, seed, settings):
    learner, stored = (
        golden_learner(make_spec("redo", redo_threshold=0.3, redo_period=5, **settings)),
        load(f"methods/{name}"),
    )
    recycling = Recycling(learner, seed)
    assert_trains_as(name, learner)
    prefix = "f64." if "f64.event_step" in stored else ""
    expected = zip(*(stored[f"{prefix}event_{what}"].tolist() for what in ("step", "layer", "unit")), strict=True)
    assert recycling.events == list(expected)
    assert len(recycling.events) > 400


@pytest.mark.parametrize(("name", "settings"), [("l2init_sgd", SGD), ("l2init_adam", ADAM)])
@pytest.mark.long
def test_l2_init_agrees_with_kumar_et_al(name, settings):
    assert_trains_as(name, golden_learner(make_spec("l2_init", l2_init=0.05, **settings)))


LOCAL = {"upgd_utility": "local"}
UNPROTECTED = {"upgd_protecting": False}


def feed_noise(learner: Learner, seed: int) -> list[float]:
    """Feed UPGD the noise of a golden figure; return a list of the largest utility of each step but the last."""
    method, rng, largest = learner.method, np.random.default_rng(seed), []

    def draw() -> None:
        if method.step:
            largest.append(max(float(utility.max()) for utility in method.utilities.values()))
        for noise in like_weights(method.numbers.of_step_SN, learner.params).values():
            noise.copy_(torch.from_numpy(rng.standard_normal(noise.shape[1:], dtype=np.float32)))

    method.draw = draw
    return largest


def assert_near(tensors: dict[str, torch.Tensor], name: str, prefix: str, layers: list[str], tolerance: float) -> None:
    """Compare running means of weights with a golden figure's, each to a fraction of its largest entry."""
    stored = load(f"methods/{name}")
    for name in (f"{layer}.weight" for layer in layers):
        ours, key = tensors[name][0].numpy(), f"{prefix}.{name}"
        expected = stored[key] if key in stored else stored[f"{key}[::8]"]
        ours = ours if key in stored else ours.flatten()[::8]
        assert np.abs(ours - expected).max() < tolerance * np.abs(expected).max()


@pytest.mark.parametrize(
    ("name", "seed", "settings", "weights"),
    [
        ("upgd_global_protecting", 501, {}, 1e-4),
        ("upgd_global_nonprotecting", 503, UNPROTECTED, 1e-4),
        ("upgd_local_protecting", 502, LOCAL, 1e-3),
        ("upgd_local_nonprotecting", 504, LOCAL | UNPROTECTED, 1e-3),
        ("upgd_readme", 505, {"step_size": 0.02, "weight_decay": 0.005}, 1e-4),
        ("upgd_weight_clipping", 508, {"upgd_clip_kappa": 1.0}, 1e-4),
    ],
)
@pytest.mark.long
def test_upgd_agrees_with_elsayed_et_al(name, seed, settings, weights):
    settings = {"step_size": 0.01, "weight_decay": 0.01, "upgd_utility_decay": 0.9, "upgd_sigma": 0.1} | settings
    learner, stored = golden_learner(make_spec("upgd", **settings)), load(f"methods/{name}")
    largest = feed_noise(learner, seed)
    assert_trains_as(name, learner, weights=weights)
    state = 1e-3 if weights == 1e-4 else 0.05  # local utilities near 0 are ill-conditioned
    np.testing.assert_allclose(largest, stored["global_max_utility"][:19], rtol=state / 10 if state == 1e-3 else state)
    assert_near(learner.method.utilities, name, "utility", ["conv1", "fc3"], state)


def test_adaupgd_agrees_with_elsayed_et_al():
    settings = {"step_size": 1e-3, "weight_decay": 0.01, "upgd_utility_decay": 0.9, "upgd_sigma": 0.1}
    learner = golden_learner(make_spec("adaupgd", epsilon=1e-3, precision="fp64", **settings))
    largest = feed_noise(learner, 506)
    assert_trains_as("adaupgd", learner)
    # The figure's value is from its float32 run, which drifts away.
    np.testing.assert_allclose(largest[:10], load("methods/adaupgd")["global_max_utility"][:10], rtol=1e-3)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("l1init_sgd", {"l2_init": 1e-4, "l2_init_penalty": "l1"}),
        ("l2init_resampled_sgd", {"l2_init": 0.05, "l2_init_target": "resampled"}),
    ],
)
def test_variants_of_l2_init_agree_with_kumar_et_al(name, settings):
    learner = golden_learner(make_spec("l2_init", **settings, **SGD))
    method, rng = learner.method, np.random.default_rng(301)

    def draw() -> None:
        drawn = {f"{layer.name}.{kind}": fresh(rng, layer, kind) for layer in learner.net.layers for kind in KINDS}
        method.targets = lambda: drawn

    if "l2_init_target" in settings:
        method.draw = draw
    assert_trains_as(name, learner)


KINDS = ("weight", "bias")


def fresh(rng: np.random.Generator, layer, kind: str) -> torch.Tensor:
    """Return initial weights or biases of a layer as drawn for the figures, (1, ...)."""
    if kind == "weight":
        return fresh_layer(rng, layer)
    bound = 1 / np.sqrt(layer.fan_in)
    return torch.from_numpy(rng.uniform(-bound, bound, layer.outputs).astype("f4"))[None]


@pytest.mark.parametrize(("name", "settings"), [("weight_clipping_sgd", SGD), ("weight_clipping_adam", ADAM)])
@pytest.mark.long
def test_weight_clipping_agrees_with_elsayed_et_al(name, settings):
    learner, shares = golden_learner(make_spec("weight_clipping", clip_kappa=1.0, **settings)), []
    clip = learner.method.after_update

    def noted(params, *about):
        before = {name: weight.detach().clone() for name, weight in params.items()}
        clip(params, *about)
        changed = sum(int((before[name] != weight).sum()) for name, weight in params.items())
        shares.append(changed / sum(weight.numel() for weight in params.values()))

    learner.method.after_update = noted
    assert_trains_as(name, learner)
    # The figure's value is from its float32 run.
    np.testing.assert_allclose(shares, load(f"methods/{name}")["clipped_proportion"], atol=3e-5, rtol=0.01)
    assert min(shares) > 0


def test_shrink_and_perturb_agrees_with_elsayed_et_al():
    """Its noise is multiplied by the step size."""
    spec = make_spec("snp", step_size=0.01, weight_decay=0.1, perturb_scale=0.01 * 0.05)
    learner, rng = golden_learner(spec), np.random.default_rng(507)

    def draw() -> None:
        for noise in like_weights(learner.method.noise_SN, learner.params).values():
            noise.copy_(-torch.from_numpy(rng.standard_normal(noise.shape[1:], dtype=np.float32)))

    learner.method.draw = draw
    assert_trains_as("snp_upgdrepo", learner)
