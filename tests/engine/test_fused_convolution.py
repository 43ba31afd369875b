"""The Triton kernels of a pooled convolution, in Triton's interpreter; `python -m bench.gpu` runs them on a GPU."""

import pytest
import torch
from torch import Tensor

from lop_engine.device import compute_in_full, training_precision
from lop_engine.networks import convolution, fused_convolution
from lop_engine.networks.convolution import WAYS, way_of
from lop_engine.networks.fused_convolution import FusedLayer, pooled_convolution
from lop_engine.training.learner import Learner
from tests.engine.test_learners import CPU, make_spec

LAYERS = {
    "images": (12, 12, 3, 6, 5),
    "odd sides": (9, 12, 3, 5, 5),
    "even kernel": (8, 7, 6, 5, 2),
    "many channels": (8, 7, 20, 18, 3),
    "channels over two tiles": (6, 6, 66, 68, 3),
}
"""(H, W, C, O, K)."""


@pytest.fixture(autouse=True)
def _in_full():
    compute_in_full()


def tensors(height: int, width: int, channels: int, outputs: int, kernel: int, seeds: int = 2) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(seeds, 3, height, width, channels, generator=generator)
    weight = torch.randn(seeds, outputs, kernel, kernel, channels, generator=generator) / (kernel * channels**0.5)
    return [images, weight, torch.randn(seeds, outputs, generator=generator) / 10]


def by_torch(images: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    seeds = []
    for images_BHWC, weight_OKKC, bias_O in zip(images, weight, bias, strict=True):
        maps = torch.conv2d(images_BHWC.permute(0, 3, 1, 2), weight_OKKC.permute(0, 3, 1, 2), bias_O)
        seeds.append(torch.relu(torch.max_pool2d(maps, 2)).permute(0, 2, 3, 1))
    return torch.stack(seeds)


def values_and_gradients(compute, given: list[Tensor]) -> list[Tensor]:
    leaves = [tensor.clone().requires_grad_(True) for tensor in given]
    maps = compute(*leaves)
    arriving = torch.randn(maps.shape, generator=torch.Generator().manual_seed(1)).to(maps.dtype)
    return [maps.detach(), *torch.autograd.grad(maps, leaves, arriving)]


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.long
def test_values_and_gradients_equal_those_of_torch(name):
    given = tensors(*LAYERS[name])
    for mine, torch_s in zip(
        values_and_gradients(pooled_convolution, given), values_and_gradients(by_torch, given), strict=True
    ):
        torch.testing.assert_close(mine, torch_s, rtol=1e-4, atol=1e-5)


def test_negative_values_are_kept_and_have_gradients_without_relu():
    given = tensors(*LAYERS["images"])
    given[2] -= 2  # most maxima lie below 0

    def torch_s(images, weight, bias):
        maps = [
            torch.max_pool2d(torch.conv2d(i.permute(0, 3, 1, 2), w.permute(0, 3, 1, 2), b), 2).permute(0, 2, 3, 1)
            for i, w, b in zip(images, weight, bias, strict=True)
        ]
        return torch.stack(maps)

    mine = values_and_gradients(lambda *args: pooled_convolution(*args, relu=False), given)
    assert (mine[0] < 0).float().mean() > 0.3
    for one, other in zip(mine, values_and_gradients(torch_s, given), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["images", "many channels"])
def test_the_tf32_kernels_agree_within_rounding(name):
    """The interpreter rounds only where the kernel itself does: the factors of the weights' gradient."""
    given = tensors(*LAYERS[name])
    expected = values_and_gradients(by_torch, given)
    with training_precision("tf32", "cpu"):
        mine = values_and_gradients(pooled_convolution, given)
    for one, other in zip(mine, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-3, atol=2e-3 * float(other.abs().max()))


@pytest.mark.parametrize("name", ["images", "many channels"])
def test_bf16_rounds_only_the_factors(name):
    """bfloat16 represents whole numbers exactly, so products and sums must be exact except for the rounded result."""
    given = [tensor.mul(20).round().clamp(-8, 8) for tensor in tensors(*LAYERS[name])]
    expected = values_and_gradients(by_torch, given)
    with training_precision("bf16", "cpu"):
        mine = values_and_gradients(pooled_convolution, given)
    assert [tensor.dtype for tensor in mine] == [torch.bfloat16, *[torch.float32] * 3]
    torch.testing.assert_close(mine[0].float(), expected[0], rtol=2**-8, atol=0)
    for one, other in zip(mine[1:], expected[1:], strict=True):
        torch.testing.assert_close(one, other, rtol=0.02, atol=0.02 * float(other.abs().max()))


def test_pooling_takes_the_first_of_equal_values_and_propagates_nan_like_torch():
    images, weight, bias = (tensor.round() for tensor in tensors(*LAYERS["images"]))
    images[0, 0] = 1.0  # every window of this image has four equal members
    images[1, 1, 4, 5, 0] = torch.nan
    given = [images, weight.sign(), bias]
    for mine, torch_s in zip(
        values_and_gradients(pooled_convolution, given), values_and_gradients(by_torch, given), strict=True
    ):
        torch.testing.assert_close(mine, torch_s, rtol=1e-4, atol=1e-4, equal_nan=True)


def test_unsupported_convolutions_are_refused():
    images, weight, bias = (torch.empty(shape, device="meta") for shape in ((1, 10**6, 32, 32, 4), (1, 8, 5, 5, 3), 8))
    with pytest.raises(ValueError, match="a batch of 1,000,000 images is too large"):
        FusedLayer(32, 32, 3, 8, 5, "fp32").forward(images, weight, bias)
    leaves = [tensor.requires_grad_(True) for tensor in tensors(*LAYERS["images"])]
    [gradient] = torch.autograd.grad(pooled_convolution(*leaves).square().sum(), leaves[1], create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        gradient.sum().backward()


def test_a_single_seed_gives_the_same_bits_as_in_a_stack():
    given = tensors(*LAYERS["many channels"], seeds=3)
    whole = values_and_gradients(lambda *args: pooled_convolution(*args) * 1.0, given)
    maps_of_last = pooled_convolution(*(tensor[2:] for tensor in given))
    assert torch.equal(maps_of_last[0], whole[0][2])


def test_the_gradient_of_the_images_is_computed_only_if_required(monkeypatch):
    calls: list[str] = []
    layer = fused_convolution.FusedLayer
    for name in ("image_gradient", "weight_gradient"):
        compute = getattr(layer, name)
        monkeypatch.setattr(layer, name, lambda *args, n=name, f=compute: calls.append(n) or f(*args))
    images, weight, bias = tensors(*LAYERS["images"])
    pooled_convolution(images, weight.requires_grad_(True), bias).sum().backward()
    assert calls == ["weight_gradient"]
    pooled_convolution(images.requires_grad_(True), weight.detach(), bias).sum().backward()
    assert calls == ["weight_gradient", "image_gradient"]


@pytest.mark.parametrize(
    ("agent", "precision", "activation"), [("bp", "fp32", "relu"), ("cbp", "bf16", "relu"), ("bp", "fp32", "tanh")]
)
@pytest.mark.long
def test_a_training_step_with_the_kernels_equals_one_with_torch(monkeypatch, agent, precision, activation):
    """Both train a step of a small network from the same state."""
    spec = make_spec(agent, width=0.1, precision=precision, activation=activation)
    ends = {}
    for name in ("cpu", "cuda"):
        monkeypatch.setattr(convolution, "way_of", lambda device, n=name: WAYS[n])
        learner = Learner(spec, [0, 1], CPU)
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(2, 2, 32, 32, 3, generator=generator).permute(0, 1, 4, 2, 3)
        loss_S = learner.step(images, torch.randint(0, 2, (2, 2), generator=generator)).loss_S
        ends[name] = {**learner.state(), "loss": loss_S}
    tolerance = 1e-4 if precision == "fp32" else 3e-2
    for name, end in ends["cuda"].items():
        torch.testing.assert_close(end, ends["cpu"][name], rtol=tolerance, atol=tolerance, msg=name)


def test_activations_before_pooling_belong_to_the_weights_of_the_step(monkeypatch):
    """Methods read them after the update has changed the weights."""
    images = torch.randn(2, 4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    activations = {}
    for name in ("cpu", "cuda"):
        monkeypatch.setattr(convolution, "way_of", lambda device, n=name: WAYS[n])
        learner = Learner(make_spec("bp", width=0.1), [0, 1], CPU)
        hidden = [layer.to(torch.float32, keep_maps=True) for layer in learner.net(learner.params, images).hidden]
        with torch.no_grad():
            for weight in learner.params.values():
                weight.add_(1)
        activations[name] = [layer.before_pooling.detach() for layer in hidden]
    for mine, torch_s in zip(activations["cuda"], activations["cpu"], strict=True):
        torch.testing.assert_close(mine, torch_s, rtol=1e-4, atol=1e-5)


def test_without_a_working_triton_cudnn_is_used_with_a_warning(monkeypatch):
    gpu = torch.device("cuda:0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(fused_convolution, "problem", lambda device: "")
    assert way_of(gpu).fused
    monkeypatch.setattr(fused_convolution, "problem", lambda device: "Triton fails: RuntimeError: no C compiler")
    with pytest.warns(UserWarning, match="cuDNN, which takes .*: Triton fails: RuntimeError: no C compiler"):
        assert not way_of(gpu).fused


def test_the_reason_why_a_gpu_cannot_use_the_kernels_is_given(monkeypatch):
    find = fused_convolution.problem.__wrapped__
    assert find(torch.device("cuda")) == "they need a GPU"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert find(torch.device("cuda")) == "compute capability 7.5 is below 8.0"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))

    def fail(*args):
        raise RuntimeError("Failed to find C compiler\nmore")

    monkeypatch.setattr(fused_convolution, "error", fail)
    assert find(torch.device("cuda")) == "Triton fails: RuntimeError: Failed to find C compiler"
    monkeypatch.setattr(fused_convolution, "error", lambda *args: 0.5)
    assert "compute wrongly" in find(torch.device("cuda"))
