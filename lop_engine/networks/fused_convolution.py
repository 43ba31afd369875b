"""Convolution, bias, 2x2 max-pooling and ReLU of a stack of networks as one differentiable function, in Triton.

It takes a third to a fifth of cuDNN's time on an H200 (docs/performance.md), because the unpooled maps never reach
memory. Only GPUs with Triton use it; `problem` says why one does not.

Dimensions: S seeds, B batch, H W image sides, C channels, K kernel side, O outputs, h w sides after pooling.
"""

import functools
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from lop_engine.experiment.parts import Precision

FEW = 16
"""Layers with fewer channels use other tiles; their pixels are padded to whole groups of `PIXEL` values."""
PIXEL = 4
MOST_VALUES = 2**31
"""Most values of a seed's images or maps: the kernels count them in 32 bits."""
LEAST_CAPABILITY = (8, 0)
"""Older GPUs have no products of TF32 or bfloat16."""

INPUT_PRECISION: dict[Precision, str] = {"fp32": "tf32x3", "tf32": "tf32", "bf16": "ieee"}
"""Triton's name. Factors in bfloat16 are multiplied exactly."""


@dataclass(frozen=True)
class Tile:
    """How a kernel divides its work: the best of about ten that were timed on an H200 at 30 seeds."""

    rows: int
    """Pixels, or blocks of 2x2 pixels, per program."""
    columns: int
    """Outputs (forward), channels (gradient of the images) or outputs (gradient of the weights), at most."""
    depth: int
    """Values added up at a time (forward, gradient of the images), or values of a window a program (weights)."""
    warps: int = 4
    stages: int = 1


Tiles = dict[Precision, tuple[Tile, Tile]]
"""Tiles by precision, for layers with many channels, then for layers with few."""

FORWARD: Tiles = {
    "fp32": (Tile(64, 64, 16, 4, 3), Tile(64, 32, 32)),
    "tf32": (Tile(64, 64, 16, 4, 3), Tile(64, 32, 32)),
    "bf16": (Tile(64, 64, 32, 4, 2), Tile(64, 32, 16)),
}
IMAGE_GRADIENT: Tiles = {
    "fp32": (Tile(64, 64, 32), Tile(64, 64, 32)),
    "tf32": (Tile(64, 64, 32), Tile(64, 64, 32, 4, 2)),
    "bf16": (Tile(64, 64, 32, 4, 2), Tile(128, 64, 32)),
}
WEIGHT_GRADIENT: Tiles = {
    "fp32": (Tile(32, 64, 64, 4, 2), Tile(32, 32, 128)),
    "tf32": (Tile(32, 64, 128, 4, 2), Tile(16, 32, 128)),
    "bf16": (Tile(64, 64, 64, 4, 2), Tile(64, 32, 128)),
}


def pooled_convolution(images: Tensor, weight: Tensor, bias: Tensor, relu: bool = True) -> Tensor:
    """The 2x2 max-pooled convolution, (S, B, h, w, O); in the precision that torch computes in here.

    Args:
        images: (S, B, H, W, C). Their gradient is computed if they require one.
        weight: (S, O, K, K, C).
        bias: (S, O).
        relu: apply ReLU.
    """
    return _fused(_precision(images.device.type), images, weight, bias, relu)


def _fused(precision: Precision, images: Tensor, weight: Tensor, bias: Tensor, relu: bool = True) -> Tensor:
    maps: Tensor = _PooledConvolution.apply(images, weight, bias, precision, relu)  # type: ignore[no-untyped-call]
    return maps


class _PooledConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor, precision: Precision, relu: bool) -> Tensor:
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        height, width, channels = images.shape[2:]
        layer = FusedLayer(height, width, channels, weight.shape[1], weight.shape[2], precision, relu)
        ctx.layer, ctx.dtype_of_images = layer, images.dtype
        images, weight = layer.filled_up(images.to(dtype)), weight.to(dtype).contiguous()
        maps, winner = layer.forward(images, weight, bias.contiguous())
        ctx.save_for_backward(images if ctx.needs_input_grad[1] or ctx.needs_input_grad[2] else None, weight, winner)
        return maps

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        images, weight, winner = ctx.saved_tensors
        layer: FusedLayer = ctx.layer
        grad = grads[0].to(weight.dtype).contiguous()
        in_images, in_weight, in_bias = None, None, None
        if ctx.needs_input_grad[0]:
            in_images = layer.image_gradient(grad, winner, weight).to(ctx.dtype_of_images)
        if images is not None:
            in_weight, in_bias = layer.weight_gradient(images, grad, winner)
        return in_images, in_weight, in_bias, None, None


@dataclass(frozen=True)
class FusedLayer:
    """Launches the kernels of one layer: of images (S, B, H, W, C) with `kernel` x `kernel` weights."""

    height: int
    width: int
    channels: int
    outputs: int
    kernel: int
    precision: Precision
    relu: bool = True

    @property
    def pooled(self) -> tuple[int, int]:
        """Sides of the maps after pooling."""
        return (self.height - self.kernel + 1) // 2, (self.width - self.kernel + 1) // 2

    @property
    def values(self) -> int:
        """Values of a pixel in memory."""
        return -(-self.channels // PIXEL) * PIXEL if self.has_few_channels else self.channels

    @property
    def has_few_channels(self) -> bool:
        return self.channels < FEW

    def filled_up(self, images: Tensor) -> Tensor:
        """Return the images with zeros after each pixel's channels, so that whole groups are loaded at once."""
        missing = self.values - self.channels
        return F.pad(images, (0, missing)) if missing else images.contiguous()

    def forward(self, images: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Return maps (S, B, h, w, O), and which member of each window is the largest."""
        num_seeds, batch = images.shape[:2]
        if batch * max(self.height * self.width * self.values, _area(self.pooled) * self.outputs) >= MOST_VALUES:
            raise ValueError(f"a batch of {batch:,} images is too large for a GPU's convolution; use smaller batches")
        maps = images.new_empty(num_seeds, batch, *self.pooled, self.outputs)
        winner = torch.empty_like(maps, dtype=torch.uint8)
        tile = self._tile(FORWARD)
        columns = min(tile.columns, _power_of_2(self.outputs))
        grid = (_parts(batch * _area(self.pooled), tile.rows), _parts(self.outputs, columns), num_seeds)
        _kernels().forward_kernel[grid](
            images, weight, bias, maps, winner, batch, **self._shape, X=self.values,
            RELU=self.relu, PIXELS=tile.rows, OUTPUTS=columns, DEPTH=tile.depth, **_resources(tile),
        )  # fmt: skip
        return maps, winner

    def image_gradient(self, grad: Tensor, winner: Tensor, weight: Tensor) -> Tensor:
        """Return the gradient with respect to the images (S, B, H, W, C)."""
        num_seeds, batch = grad.shape[:2]
        out = grad.new_empty(num_seeds, batch, self.height, self.width, self.channels)
        weight = weight.permute(0, 2, 3, 4, 1).contiguous()
        tile = self._tile(IMAGE_GRADIENT)
        blocks = _parts(batch * ((self.height + 1) // 2) * ((self.width + 1) // 2), tile.rows)
        columns = min(tile.columns, _power_of_2(self.channels))
        parts = _parts(self.channels, columns)
        if self.has_few_channels:
            kernel, parts = _kernels().image_gradient_by_members_kernel, 1
            columns = _power_of_2(4 * self.channels)
        elif self.precision == "fp32":
            kernel, parts = _kernels().image_gradient_by_pixel_kernel, 4 * parts
        else:
            kernel = _kernels().image_gradient_by_block_kernel
        kernel[(blocks, parts, num_seeds)](
            grad, winner, weight, out, batch, **self._shape,
            BLOCKS=tile.rows, COLUMNS=columns, OUTPUTS=min(tile.depth, _power_of_2(self.outputs)), **_resources(tile),
        )  # fmt: skip
        return out

    def weight_gradient(self, images: Tensor, grad: Tensor, winner: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradients of the weight (S, O, K, K, C) and of the bias (S, O), float32."""
        num_seeds, batch = grad.shape[:2]
        tile = self._tile(WEIGHT_GRADIENT)
        num_pixels = batch * _area(self.pooled)
        # Enough programs to fill a GPU at 30 seeds. A layer's parts depend on its shape alone, not on the stack.
        most_parts = 32 if self.has_few_channels else 16 if self.channels <= 32 else 4
        share = _parts(_parts(num_pixels, most_parts), tile.rows) * tile.rows
        num_parts = _parts(num_pixels, share)
        outputs = min(tile.columns, _power_of_2(self.outputs))
        length = self.outputs * self.kernel**2 * self.channels
        parts = grad.new_empty(num_seeds, num_parts, length + self.outputs, dtype=torch.float32)
        tiles = _parts(self.outputs, outputs) * _parts(self.kernel**2 * self.values, tile.depth)
        _kernels().weight_gradient_kernel[(tiles, num_parts, num_seeds)](
            images, grad, winner, parts, batch, share, num_parts, **self._shape, X=self.values,
            ROUND=self.precision == "tf32", PIXELS=tile.rows, OUTPUTS=outputs, DEPTH=tile.depth, **_resources(tile),
        )  # fmt: skip
        in_weight = parts.new_empty(num_seeds, self.outputs, self.kernel, self.kernel, self.channels)
        in_bias = parts.new_empty(num_seeds, self.outputs)
        grid = (_parts(length + self.outputs, 512), num_seeds)
        _kernels().sum_parts_kernel[grid](parts, in_weight, in_bias, num_parts, length, self.outputs, TILE=512)
        return in_weight, in_bias

    @property
    def _shape(self) -> dict[str, Any]:
        sides = {"H": self.height, "W": self.width, "C": self.channels, "O": self.outputs, "K": self.kernel}
        return sides | {"PRECISION": INPUT_PRECISION[self.precision]}

    def _tile(self, tiles: Tiles) -> Tile:
        return tiles[self.precision][self.has_few_channels]


def _resources(tile: Tile) -> dict[str, int]:
    return {"num_warps": tile.warps, "num_stages": tile.stages}


def _area(sides: tuple[int, int]) -> int:
    return sides[0] * sides[1]


def _parts(number: int, size: int) -> int:
    """Return how many parts of `size` cover `number`."""
    return -(-number // size)


def _power_of_2(number: int) -> int:
    """Return the next power of 2, at least 16: the smallest side of a product in Triton."""
    return max(16, 1 << (number - 1).bit_length())


def _kernels() -> ModuleType:
    from lop_engine.networks import fused_kernels  # not every machine has Triton

    return fused_kernels


def _precision(device_type: str) -> Precision:
    """Return the precision that torch's products currently have on such a device."""
    if torch.is_autocast_enabled(device_type):
        return "bf16"
    return "tf32" if torch.backends.cudnn.conv.fp32_precision == "tf32" else "fp32"  # type: ignore[attr-defined]


_TRIED = (FusedLayer(9, 9, 3, 32, 5, "fp32"), FusedLayer(14, 14, 32, 64, 3, "fp32"))


@functools.cache
def problem(device: torch.device) -> str:
    """Return why the kernels cannot be used on a device, "" if they can. The first call compiles them (seconds)."""
    if device.type != "cuda" or not torch.cuda.is_available():
        return "they need a GPU"
    capability = torch.cuda.get_device_capability(device)
    if capability < LEAST_CAPABILITY:
        has, needs = (".".join(map(str, version)) for version in (capability, LEAST_CAPABILITY))
        return f"compute capability {has} is below {needs}"
    try:
        worst = max(error(device, layer) for layer in _TRIED)
    except Exception as failure:  # whatever Triton, its compiler or the driver raises
        return f"Triton fails: {type(failure).__name__}: {(str(failure).strip() or '-').splitlines()[0]}"
    return "" if worst < 1e-3 else f"they compute wrongly here (relative error {worst:.0e})"


def error(device: torch.device, layer: FusedLayer) -> float:
    """Return the largest relative error of the values and gradients of a layer, compared with torch's convolution."""
    generator = torch.Generator(device).manual_seed(0)
    images = torch.randn(2, 3, layer.height, layer.width, layer.channels, device=device, generator=generator)
    filters = (layer.kernel, layer.kernel, layer.channels)
    weight = torch.randn(2, layer.outputs, *filters, device=device, generator=generator)
    bias = torch.randn(2, layer.outputs, device=device, generator=generator)
    results: list[list[Tensor]] = []
    for is_ours in (True, False):
        leaves = [tensor.clone().requires_grad_(True) for tensor in (images, weight, bias)]
        maps = _fused(layer.precision, leaves[0], leaves[1], leaves[2]) if is_ours else _by_torch(*leaves)
        results.append([maps.detach(), *torch.autograd.grad(maps.square().sum(), leaves)])
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(*results, strict=True))


def _by_torch(images: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Compute the same with torch."""
    num_seeds = images.shape[0]
    maps = F.conv2d(
        images.permute(1, 0, 4, 2, 3).flatten(1, 2),
        weight.permute(0, 1, 4, 2, 3).flatten(0, 1),
        bias.flatten(),
        groups=num_seeds,
    )
    return F.relu(F.max_pool2d(maps, 2)).unflatten(1, (num_seeds, -1)).permute(1, 0, 3, 4, 2)
