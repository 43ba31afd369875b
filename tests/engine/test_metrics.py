"""Compare metrics with the reference, and test limiting cases."""

import hashlib
import math

import numpy as np
import pytest
import torch

from lop_engine.experiment.networks import ConvNet as ConvNetFields
from lop_engine.experiment.registry import METRICS
from lop_engine.metrics import MetricInputs, measure
from lop_engine.metrics.curvature import curvature, random_directions
from lop_engine.metrics.ranks import (
    effective_rank,
    frobenius_spectral_ratio,
    nuclear_frobenius_ratio,
    singular_values,
    srank,
    stable_rank,
)
from lop_engine.metrics.scores import test_accuracy as accuracy_on_test_batches
from lop_engine.metrics.scores import train_accuracy
from lop_engine.metrics.units import dead_proportion, dormant_proportion, tau_dormant_proportion
from lop_engine.metrics.weights import gradient_norm, weight_magnitude
from lop_engine.networks.conv_net import ConvNet
from lop_engine.problems.losses import cross_entropy
from tests.engine.golden import EXPECTED, params

NET = ConvNet(ConvNetFields(), (3, 32, 32), 2)


@pytest.fixture(scope="module")
def images_and_labels():
    rng = np.random.default_rng(7)
    prototypes = rng.standard_normal((2, 3, 32, 32)).astype(np.float32) * 0.5
    images = np.repeat(prototypes, 600, 0) + rng.standard_normal((1200, 3, 32, 32)).astype(np.float32)
    labels = np.repeat(np.arange(2), 600)
    order = rng.permutation(1200)
    images, labels = images[order], labels[order]
    assert hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest() == EXPECTED["metric_data_sha256"]
    return torch.from_numpy(images)[None], torch.from_numpy(labels)[None]


@pytest.mark.parametrize("state", ["init", "metrics_state"])
def test_metrics_of_one_batch_equal_those_of_the_reference(state, images_and_labels):
    expected, weights = EXPECTED["expected_metrics"][state], params(state)
    hidden = [layer.activation for layer in NET(weights, images_and_labels[0][:, :100]).hidden]
    spectrum = singular_values(hidden[-1])
    assert weight_magnitude(weights).item() == pytest.approx(expected["weight_magnitude"], rel=1e-4)
    assert dormant_proportion(hidden).item() == pytest.approx(expected["dormant_proportion"], rel=1e-6)
    assert effective_rank(spectrum).item() == pytest.approx(expected["effective_rank"], rel=1e-4)
    assert stable_rank(spectrum).item() == expected["stable_rank"]
    assert nuclear_frobenius_ratio(spectrum).item() == pytest.approx(expected["nuclear_over_frobenius"], rel=1e-4)
    ratio = expected["frobenius_over_spectral_squared"]
    assert frobenius_spectral_ratio(spectrum).item() == pytest.approx(ratio, rel=1e-4)


@pytest.mark.parametrize("state", ["init", "metrics_state"])
@pytest.mark.long
def test_curvature_along_the_same_directions_equals_that_of_the_reference(state, images_and_labels):
    images, labels = images_and_labels
    directions = np.random.default_rng(11).integers(0, 2, size=(12, 10, 100, 3, 32, 32), dtype=np.int8) * 2 - 1
    assert hashlib.sha256(directions.astype(np.int8).tobytes()).hexdigest() == EXPECTED["direction_sha256"]
    batches = (torch.from_numpy(batch).float().unsqueeze(1) for batch in directions)
    value = curvature(NET, params(state), cross_entropy, images, labels, batches).item()
    assert value == pytest.approx(EXPECTED["expected_metrics"][state]["curvature"], rel=1e-3)


@pytest.mark.long
def test_curvature_along_random_directions_is_within_the_spread_of_the_reference(images_and_labels):
    images, labels = images_and_labels
    directions = random_directions(images, [torch.Generator().manual_seed(3)])
    value = curvature(NET, params("metrics_state"), cross_entropy, images, labels, directions).item()
    runs = EXPECTED["expected_metrics"]["metrics_state"]["curvature_random_direction_runs"]
    spread = max(runs) - min(runs)
    assert min(runs) - spread < value < max(runs) + spread


def test_curvature_weighs_a_short_last_batch_by_its_images():
    torch.manual_seed(0)
    images, labels = torch.randn(1, 130, 3, 32, 32), torch.randint(0, 2, (1, 130))
    weights = params("metrics_state")
    generator = torch.Generator().manual_seed(5)
    batches = list(random_directions(images, [generator]))
    assert [batch.shape[2] for batch in batches] == [100, 30]
    whole = curvature(NET, weights, cross_entropy, images, labels, batches).item()
    first = curvature(NET, weights, cross_entropy, images[:, :100], labels[:, :100], batches[:1]).item()
    rest = curvature(NET, weights, cross_entropy, images[:, 100:], labels[:, 100:], batches[1:]).item()
    assert whole == pytest.approx((100 * first + 30 * rest) / 130, rel=1e-5)


def test_directions_are_signs_and_depend_only_on_the_generator_of_the_seed():
    images = torch.zeros(2, 4, 3, 32, 32)
    stack = next(iter(random_directions(images, [torch.Generator().manual_seed(s) for s in (1, 2)])))
    alone = next(iter(random_directions(images[:1], [torch.Generator().manual_seed(2)])))
    assert stack.shape == (10, 2, 4, 3, 32, 32)
    assert set(stack.unique().tolist()) == {-1.0, 1.0}
    assert abs(stack.mean().item()) < 0.01
    assert torch.equal(stack[:, 1], alone[:, 0])


def test_ranks_of_identity_and_rank_one_matrices_are_right():
    flat, single = torch.eye(20)[None], torch.ones(1, 20, 20)
    assert effective_rank(singular_values(flat)).item() == pytest.approx(20, rel=1e-5)
    assert stable_rank(singular_values(flat)).item() == 20
    assert effective_rank(singular_values(single)).item() == pytest.approx(1, rel=1e-3)
    assert stable_rank(singular_values(single)).item() == 1


def test_a_dead_layer_has_rank_zero_and_a_diverged_seed_has_nan():
    activations = torch.stack([torch.zeros(10, 5), torch.full((10, 5), torch.nan), torch.ones(10, 5)])
    spectrum = singular_values(activations)
    for rank in (effective_rank, stable_rank, srank, nuclear_frobenius_ratio, frobenius_spectral_ratio):
        assert rank(spectrum)[0] == 0
        assert math.isnan(rank(spectrum)[1])
        assert rank(spectrum)[2].item() == pytest.approx(1, abs=1e-3)


def test_dormant_units_are_counted_over_all_layers_and_by_seed():
    convolution = torch.zeros(2, 4, 3, 2, 2)
    convolution[0, :, 1] = 0.02
    convolution[0, 0, 2, 0, 0] = 0.15  # 0.15 / 16 positions and images: dormant, though not dead
    linear = torch.full((2, 4, 2), 0.5)
    assert dormant_proportion([convolution, linear]).tolist() == pytest.approx([2 / 5, 3 / 5])


def test_dead_and_tau_dormant_units_are_counted():
    activations = torch.zeros(1, 4, 5)
    activations[0, :, 1] = 1e-9
    activations[0, :, 2:] = 0.01
    # the layer's mean is 0.006; a unit is tau-dormant up to 0.025 of it
    assert dead_proportion([activations]).item() == pytest.approx(1 / 5)
    assert tau_dormant_proportion([activations]).item() == pytest.approx(2 / 5)
    assert dormant_proportion([activations * 0.99]).item() == 1
    assert tau_dormant_proportion([torch.zeros(1, 4, 5)]).item() == 1


def test_gradient_norm_uses_the_mean_loss_of_the_batch():
    torch.manual_seed(1)
    weights, images, labels = params("metrics_state"), torch.randn(1, 30, 3, 32, 32), torch.randint(0, 2, (1, 30))
    leaves = {name: weight.clone().requires_grad_() for name, weight in weights.items()}
    logits = NET(leaves, images).outputs_SBO[0]
    torch.nn.functional.cross_entropy(logits, labels[0]).backward()
    expected = torch.cat([leaf.grad.flatten() for leaf in leaves.values()]).norm()
    assert gradient_norm(NET, weights, cross_entropy, images, labels).item() == pytest.approx(expected.item(), rel=1e-5)


def test_every_metric_can_be_recorded():
    torch.manual_seed(2)
    images, labels = torch.randn(2, 30, 3, 32, 32), torch.randint(0, 2, (2, 30))

    measured = measure(
        METRICS,
        MetricInputs(
            NET,
            cross_entropy,
            params("metrics_state", 2),
            [torch.rand(2)],
            [torch.rand(2)],
            images,
            labels,
            images,
            labels,
            NET.by_unit,
            20,
            10,
            [torch.Generator().manual_seed(seed) for seed in (0, 1)],
        ),
    )
    assert tuple(measured) == tuple(METRICS)
    assert all(value.shape == (2,) and value.isfinite().all() for value in measured.values())


def test_accuracies_weigh_all_batches_equally_even_a_short_last_one():
    torch.manual_seed(3)
    weights, images = params("metrics_state"), torch.randn(1, 130, 3, 32, 32)
    answers = NET(weights, images).outputs_SBO.argmax(2)
    labels = answers.clone()
    labels[:, 100:110] = 1 - labels[:, 100:110]
    assert accuracy_on_test_batches(NET, weights, images, labels).item() == pytest.approx((1 + 20 / 30) / 2)
    assert train_accuracy([torch.tensor([1.0]), torch.tensor([0.5])]).item() == 0.75
