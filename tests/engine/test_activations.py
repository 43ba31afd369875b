"""Compare networks with each activation with the same network of torch's modules.

Dimensions: S seeds, B batch.
"""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lop_engine.experiment.networks import units_of_conv_net, units_of_mlp
from lop_engine.experiment.registry import NETWORKS
from lop_engine.networks import build_network
from lop_engine.networks.convolution import WAYS, hidden_maps
from tests.engine.test_methods import CPU, make_spec

SEEDS = [3, 8]

PLAIN = {
    "relu": nn.functional.relu,
    "crelu": lambda x: F.relu(torch.cat([x, -x], 1)),
    "leaky_relu": nn.functional.leaky_relu,
    "elu": nn.functional.elu,
    "swish": nn.functional.silu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "fourier": lambda x: torch.cat([torch.sin(x), torch.cos(x)], 1),
}


def plain_activation(name: str, params: dict[str, Tensor], index: int):
    if name == "prelu":
        return lambda x: F.prelu(x, params[f"prelu{index}.weight"])
    return PLAIN[name]


def plain_outputs(network: str, activation: str, params: dict[str, Tensor], images: Tensor) -> Tensor:
    """Return the outputs of one run."""
    x, index = images, 0
    for name in ("conv1", "conv2", "conv3") if network == "conv_net" else ():
        index += 1
        x = F.conv2d(x, params[f"{name}.weight"], params[f"{name}.bias"])
        x = F.max_pool2d(plain_activation(activation, params, index)(x), 2)
    x = x.flatten(1)
    for name in ("fc1", "fc2"):
        index += 1
        x = F.linear(x, params[f"{name}.weight"], params[f"{name}.bias"])
        x = plain_activation(activation, params, index)(x)
    return F.linear(x, params["fc3.weight"], params["fc3.bias"])


@pytest.mark.parametrize(("network", "activation"), itertools.product(("conv_net", "mlp"), [*PLAIN, "prelu"]))
def test_outputs_and_gradients_equal_those_of_torch_modules(network, activation):
    spec = make_spec({"agent": "bp", "network": network, "activation": activation})
    net = build_network(spec, (3, 32, 32), 2)
    params = net.init(SEEDS, CPU, torch.float64)
    generator = torch.Generator().manual_seed(1)
    for run in range(2):
        for i, name in enumerate(net.names_of(1)[2:], start=1):
            params[name][run] = -0.3 * i * run  # slopes that differ between seeds; one is negative
    images = torch.randn(2, 3, 3, 32, 32, generator=generator, dtype=torch.float64)
    weights = torch.randn(2, 3, 2, generator=generator, dtype=torch.float64)
    leaves = {name: weight.requires_grad_() for name, weight in params.items()}
    outputs = net(leaves, images).outputs_SBO
    grads = dict(zip(leaves, torch.autograd.grad((outputs * weights).sum(), list(leaves.values())), strict=True))
    for run in range(2):
        own = {name: weight.detach()[run].contiguous().requires_grad_() for name, weight in params.items()}
        expected = plain_outputs(network, activation, own, images[run])
        torch.testing.assert_close(outputs[run], expected, rtol=1e-10, atol=1e-12)
        of_own = torch.autograd.grad((expected * weights[run]).sum(), list(own.values()))
        for name, grad in zip(own, of_own, strict=True):
            torch.testing.assert_close(grads[name][run], grad, rtol=1e-9, atol=1e-12, msg=name)


def test_prelu_learns_one_slope_for_each_layer_starting_at_a_quarter():
    for network, count in (("conv_net", 5), ("mlp", 2)):
        net = build_network(make_spec({"agent": "bp", "network": network, "activation": "prelu"}), (3, 32, 32), 2)
        params = net.init(SEEDS, CPU)
        slopes = {name: weight for name, weight in params.items() if name.startswith("prelu")}
        assert list(slopes) == [f"prelu{i}.weight" for i in range(1, count + 1)]
        assert all(torch.equal(slope, torch.full((2, 1), 0.25)) for slope in slopes.values())
        assert [net.names_of(i)[-1] for i in range(count)] == list(slopes)
        assert net.names_of(count) == ["fc3.weight", "fc3.bias"]


@pytest.mark.parametrize("activation", [*PLAIN, "prelu"])
def test_activations_before_pooling_are_consistent_with_the_pooled_ones(activation):
    spec = make_spec({"agent": "bp", "network": "conv_net", "activation": activation})
    net = build_network(spec, (3, 32, 32), 2)
    params = net.init(SEEDS, CPU)
    images = torch.randn(2, 3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    for layer in net(params, images).hidden[:3]:
        pooled = F.max_pool2d(layer.before_pooling.flatten(0, 1), 2).unflatten(0, (2, 3))
        torch.testing.assert_close(layer.activation, pooled)


@pytest.mark.parametrize("activation", ["relu", "crelu", "prelu", "fourier"])
def test_every_way_to_convolve_gives_the_same_outputs(activation):
    spec = make_spec({"agent": "bp", "network": "conv_net", "activation": activation})
    net = build_network(spec, (3, 32, 32), 2)
    params = net.init(SEEDS, CPU)
    images = torch.randn(2, 3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    weights = [(params[f"conv{i}.weight"], params[f"conv{i}.bias"]) for i in (1, 2, 3)]
    slopes = [params[name] for name in list(net.slopes)[:3]]
    one, *others = (hidden_maps(images, weights, way, net.activation, slopes=slopes) for way in WAYS.values())
    for other in others:
        for first, second in zip(one, other, strict=True):
            torch.testing.assert_close(first.activation, second.activation, rtol=1e-4, atol=1e-5)


def num_weights(spec) -> int:
    params = build_network(spec, (3, 32, 32), 2).init([0], CPU)
    return sum(weight.numel() for name, weight in params.items() if not name.startswith("prelu"))


@pytest.mark.parametrize("activation", ["crelu", "fourier"])
@pytest.mark.parametrize(
    ("network", "size"),
    [("conv_net", {"width": 1.0}), ("conv_net", {"width": 0.5}), ("conv_net", {"width": 2.0})]
    + [("mlp", {"num_features": n, "num_hidden_layers": k}) for n, k in ((100, 3), (2000, 1), (30, 6))],
)
def test_narrow_networks_have_about_the_original_number_of_weights(network, size, activation):
    base = {"agent": "bp", "network": network} | size
    relu = num_weights(make_spec(base, activation="relu"))
    narrow = num_weights(make_spec(base, activation=activation, narrow=True))
    wide = num_weights(make_spec(base, activation=activation))
    assert 0.96 * relu < narrow <= relu < wide
    assert num_weights(make_spec(base, activation="relu", narrow=True)) == relu


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("activation", ["relu", "crelu", "prelu"])
@pytest.mark.parametrize("network", ["conv_net", "mlp"])
def test_the_described_size_of_a_network_is_its_number_of_weights(network, activation, narrow):
    spec = make_spec({"agent": "bp", "network": network, "activation": activation, "narrow": narrow}, width=0.3)
    described = NETWORKS[network]
    size = described.size(spec.own(described.fields), (3, 32, 32), 2)
    assert size.num_parameters == num_weights(spec)


def test_a_network_too_small_to_be_narrower_has_one_unit_in_each_layer():
    conv_net = make_spec({"agent": "bp", "network": "conv_net", "activation": "crelu", "narrow": True}, width=1e-3)
    mlp = make_spec({"agent": "bp", "network": "mlp", "activation": "crelu", "narrow": True}, num_features=1)
    assert units_of_conv_net(conv_net.own(NETWORKS["conv_net"].fields), (3, 32, 32), 2) == (1, 1, 1, 1, 1)
    assert units_of_mlp(mlp.own(NETWORKS["mlp"].fields), (3, 32, 32), 2) == 1
