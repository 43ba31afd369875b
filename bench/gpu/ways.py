"""Ways to convolve a stack of seeds: forward, data gradient and weight gradient; and the stage that times them.

To add a way, write a class like those below and name it in `WAYS`. The check first compares each with the reference.

Dimensions: S seeds, B batch, C input channels, O output channels, H W sides of the input, K kernel side.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.gpu.engine import PRECISIONS, Precision, Setup, cudnn_choice, training_precision
from bench.gpu.results import Report, breaks_the_process

Pass = Literal["forward", "data", "weight"]
PASSES: tuple[Pass, ...] = ("forward", "data", "weight")
STREAMS = 8
TOLERANCE = 1e-4
ROUNDS, CALLS = 7, 3


@dataclass(frozen=True)
class Layer:
    """A convolution of the paper's network."""

    name: str
    inputs: int
    outputs: int
    kernel: int
    side: int

    @property
    def output_side(self) -> int:
        return self.side - self.kernel + 1

    def gflop(self, num_seeds: int, batch: int) -> float:
        """Arithmetic of one pass, in 1e9."""
        return 2 * num_seeds * batch * self.output_side**2 * self.outputs * self.inputs * self.kernel**2 / 1e9


LAYERS = (Layer("conv1", 3, 32, 5, 32), Layer("conv2", 32, 64, 3, 14), Layer("conv3", 64, 128, 3, 6))


@dataclass(frozen=True)
class Case:
    """The tensors of a layer: images (S, B, C, H, W), weights (S, O, C, K, K), output gradients (S, B, O, h, w)."""

    images: Tensor
    weights: Tensor
    gradients: Tensor

    @property
    def num_seeds(self) -> int:
        return self.images.shape[0]


class Way(Protocol):
    """A way to convolve: arranges the tensors of a case in its own layout, then computes passes."""

    def __init__(self, case: Case, setup: Setup) -> None: ...

    def run(self, which: Pass) -> Any:
        """Compute a pass; only this is timed."""

    def stacked(self, which: Pass, result: Any) -> Tensor:
        """The result of a pass with the seed axis first, shaped as images, weights or output gradients."""


def _backward(which: Pass, gradients: Tensor, images: Tensor, weights: Tensor, groups: int) -> Tensor:
    mask = [which == "data", which == "weight", False]
    outputs, ones, zeros = [weights.shape[0]], [1, 1], [0, 0]
    result = torch.ops.aten.convolution_backward(
        gradients, images, weights, outputs, ones, zeros, ones, False, zeros, groups, mask
    )
    return result[PASSES.index(which) - 1]


class Grouped:
    """One convolution with a group for each seed, as lop computes it."""

    memory_format = torch.channels_last

    def __init__(self, case: Case, setup: Setup) -> None:
        self.groups = case.num_seeds
        self.images = self._laid_out(case.images.transpose(0, 1).flatten(1, 2))
        self.gradients = self._laid_out(case.gradients.transpose(0, 1).flatten(1, 2))
        self.weights = self._laid_out(case.weights.flatten(0, 1))

    def run(self, which: Pass) -> Tensor:
        if which == "forward":
            return F.conv2d(self.images, self.weights, groups=self.groups)
        return _backward(which, self.gradients, self.images, self.weights, self.groups)

    def stacked(self, which: Pass, result: Tensor) -> Tensor:
        if which == "weight":
            return result.unflatten(0, (self.groups, -1))
        return result.unflatten(1, (self.groups, -1)).transpose(0, 1)

    def _laid_out(self, tensor: Tensor) -> Tensor:
        return tensor.contiguous(memory_format=self.memory_format)


class GroupedContiguous(Grouped):
    """The same with channels first."""

    memory_format = torch.contiguous_format


class Separate:
    """A convolution for each seed, on parallel streams within one graph."""

    memory_format = torch.channels_last

    def __init__(self, case: Case, setup: Setup) -> None:
        self.images = self._laid_out(case.images)
        self.weights = self._laid_out(case.weights)
        self.gradients = self._laid_out(case.gradients)
        count = min(STREAMS, case.num_seeds) if setup.on_gpu else 0
        self.streams = [torch.cuda.Stream(setup.device) for _ in range(count)]

    def run(self, which: Pass) -> list[Tensor]:
        if not self.streams:
            return [self._one(which, seed) for seed in range(len(self.images))]
        present, results = torch.cuda.current_stream(), []
        for stream in self.streams:
            stream.wait_stream(present)
        for seed in range(len(self.images)):
            with torch.cuda.stream(self.streams[seed % len(self.streams)]):
                results.append(self._one(which, seed))
        for stream in self.streams:
            present.wait_stream(stream)
        return results

    def stacked(self, which: Pass, result: list[Tensor]) -> Tensor:
        return torch.stack(result)

    def _laid_out(self, stacked: Tensor) -> list[Tensor]:
        return [of_seed.contiguous(memory_format=self.memory_format) for of_seed in stacked]

    def _one(self, which: Pass, seed: int) -> Tensor:
        if which == "forward":
            return F.conv2d(self.images[seed], self.weights[seed])
        return _backward(which, self.gradients[seed], self.images[seed], self.weights[seed], 1)


class SeparateContiguous(Separate):
    """The same with channels first."""

    memory_format = torch.contiguous_format


class Unfolded:
    """Image patches as the rows of a matrix, and batched matrix products (im2col)."""

    def __init__(self, case: Case, setup: Setup) -> None:
        self.images = case.images.permute(0, 1, 3, 4, 2).contiguous()
        self.kernel, self.shape = case.weights.shape[-1], case.images.shape
        self.output_shape = case.gradients.shape
        # Columns in the order K, K, C for the patches of channels-last images, C, K, K for `fold`.
        self.weights = case.weights.permute(0, 1, 3, 4, 2).flatten(2).contiguous()
        self.folding_weights = case.weights.flatten(2).contiguous()
        self.gradients = case.gradients.permute(0, 1, 3, 4, 2).flatten(1, 3).contiguous()

    def run(self, which: Pass) -> Tensor:
        if which == "forward":
            return torch.bmm(self._patches(), self.weights.mT)
        if which == "weight":
            return torch.bmm(self.gradients.mT, self._patches())
        num_seeds, batch, _, height, width = self.shape
        patches = torch.bmm(self.gradients, self.folding_weights)
        columns = patches.unflatten(1, (batch, -1)).flatten(0, 1).mT
        return F.fold(columns, (height, width), self.kernel).unflatten(0, (num_seeds, batch))

    def stacked(self, which: Pass, result: Tensor) -> Tensor:
        if which == "forward":
            _, batch, _, height, width = self.output_shape
            return result.unflatten(1, (batch, height, width)).permute(0, 1, 4, 2, 3)
        if which == "weight":
            return result.unflatten(2, (self.kernel, self.kernel, -1)).permute(0, 1, 4, 2, 3)
        return result

    def _patches(self) -> Tensor:
        stride_s, stride_b, stride_h, stride_w, stride_c = self.images.stride()
        num_seeds, batch, channels, height, width = self.shape
        rows, columns, k = height - self.kernel + 1, width - self.kernel + 1, self.kernel
        size = (num_seeds, batch, rows, columns, k, k, channels)
        strides = (stride_s, stride_b, stride_h, stride_w, stride_h, stride_w, stride_c)
        return self.images.as_strided(size, strides).reshape(num_seeds, batch * rows * columns, k * k * channels)


@dataclass(frozen=True)
class Variant:
    """A way to convolve, and how cuDNN chooses its algorithms for it."""

    way: type[Way]
    deterministic: bool = False
    benchmark: bool = False


WAYS = {
    "grouped, channels-last, deterministic (lop without Triton)": Variant(Grouped, deterministic=True),
    "grouped, channels-last": Variant(Grouped),
    "grouped, channels-last, benchmark": Variant(Grouped, benchmark=True),
    "grouped, channels-last, deterministic, benchmark": Variant(Grouped, deterministic=True, benchmark=True),
    "grouped, contiguous, deterministic": Variant(GroupedContiguous, deterministic=True),
    "grouped, contiguous, benchmark": Variant(GroupedContiguous, benchmark=True),
    "separate, channels-last, benchmark": Variant(Separate, benchmark=True),
    "separate, contiguous, benchmark": Variant(SeparateContiguous, benchmark=True),
    "im2col": Variant(Unfolded),
}


def make_case(layer: Layer, num_seeds: int, batch: int, dtype: torch.dtype, device: torch.device) -> Case:
    """Random tensors of a layer, the same each time."""
    generator = torch.Generator(device).manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(num_seeds, *shape, generator=generator, device=device).to(dtype)

    side, kernel = layer.side, layer.kernel
    return Case(
        draw(batch, layer.inputs, side, side),
        draw(layer.outputs, layer.inputs, kernel, kernel),
        draw(batch, layer.outputs, layer.output_side, layer.output_side),
    )


def error_of(way: type[Way], layer: Layer, setup: Setup) -> float:
    """Return the largest error of a way's passes in float32 against float64 on the CPU, relative to their maximum."""
    case = make_case(layer, 2, 4, torch.float64, torch.device("cpu"))
    reference = GroupedContiguous(case, Setup(torch.device("cpu")))
    here = Case(*(part.to(setup.device, torch.float32) for part in vars(case).values()))
    tried, errors = way(here, setup), []
    for which in PASSES:
        expected = reference.stacked(which, reference.run(which))
        result = tried.stacked(which, tried.run(which)).to("cpu", torch.float64)
        errors.append(float((result - expected).abs().max() / expected.abs().max()))
    return max(errors)


def convolutions(setup: Setup, report: Report) -> None:
    """Compare every way with the reference, then time each by stack, precision and layer."""
    criterion = f"relative difference of every pass <= {TOLERANCE:g}"
    for way in dict.fromkeys(variant.way for variant in WAYS.values()):
        with report.attempt(way.__name__, criterion):
            largest = max(error_of(way, layer, setup) for layer in LAYERS)
            report.check(way.__name__, largest <= TOLERANCE, f"{largest:.1e}", criterion)
    for num_seeds in setup.pick((30, 8, 120, 1, 60), (2,)):
        for precision in PRECISIONS:
            for name in WAYS:
                time_way(setup, report, name, num_seeds, precision)


def time_way(setup: Setup, report: Report, name: str, num_seeds: int, precision: Precision) -> None:
    """Report milliseconds and TFLOP/s of each pass, a row for each layer."""
    variant = WAYS[name]
    batch = setup.pick(100, 4)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    for layer in LAYERS:
        cells: dict[str, Any] = {"seeds": num_seeds, "precision": precision, "way": name, "layer": layer.name}
        try:
            with (
                cudnn_choice(variant.deterministic, variant.benchmark),
                training_precision("tf32" if precision == "tf32" else "fp32", "cuda"),
            ):
                tried = variant.way(make_case(layer, num_seeds, batch, dtype, setup.device), setup)
                for which in PASSES:
                    ms = replayed_ms(partial(tried.run, which), setup)
                    cells[f"{which}_ms"] = ms
                    cells[f"{which}_tflops"] = layer.gflop(num_seeds, batch) / ms
        except RuntimeError as error:  # this precision or card does not support the way
            if breaks_the_process(error):
                raise
            cells["note"] = str(error).splitlines()[0][:120]
        report.row("convolutions", **cells)
        setup.free()


def replayed_ms(call: Callable[[], Any], setup: Setup) -> float:
    """Return the median milliseconds of a call; on a GPU, of the replay of its CUDA graph."""
    if not setup.on_gpu:
        call()
        began = time.perf_counter()
        call()
        return 1000 * (time.perf_counter() - began)
    side = torch.cuda.Stream(setup.device)
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = call()
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    times = []
    for _ in range(ROUNDS):
        begin.record()
        for _ in range(CALLS):
            graph.replay()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / CALLS)
    del result
    return statistics.median(times[1:])
