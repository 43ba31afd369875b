"""``python -m bench.layers``: times a training step of the paper's network, layer by layer.

Times the operations of one seed's step in their order and with their memory, on one thread; prints medians of rounds.
"""

import argparse
import os
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from lop_engine.launch import worker_environment
from lop_engine.networks.convolution import image_gradient

BATCH, ROUNDS = 100, 40
#: (inputs, outputs, kernel, side of the output)
CONVOLUTIONS = ((3, 32, 5, 28), (32, 64, 3, 12), (64, 128, 3, 4))
LINEAR = ((512, 128), (128, 128), (128, 2))
CHANNELS_LAST = torch.channels_last

aten = torch.ops.aten

Result = TypeVar("Result")


class Step:
    """A training step that times each operation."""

    def __init__(self) -> None:
        self.images = torch.randn(BATCH, 3, 32, 32).contiguous(memory_format=CHANNELS_LAST)
        self.weights = [
            (torch.randn(o, i, k, k) / 20).contiguous(memory_format=CHANNELS_LAST) for i, o, k, _ in CONVOLUTIONS
        ]
        self.biases = [torch.zeros(o) for _, o, _, _ in CONVOLUTIONS]
        self.linear = [(torch.randn(BATCH, i), torch.randn(o, i), torch.randn(BATCH, o)) for i, o in LINEAR]
        self.ms: dict[str, list[float]] = defaultdict(list)
        """Milliseconds of each round by operation; forward and backward together if they share a name."""
        self._round: dict[str, float] = defaultdict(float)

    def timed(self, name: str, operation: Callable[[], Result]) -> Result:
        began = time.perf_counter()
        result = operation()
        self._round[name] += 1000 * (time.perf_counter() - began)
        return result

    def end_round(self) -> None:
        for name, ms in self._round.items():
            self.ms[name].append(ms)
        self._round.clear()

    def __call__(self) -> None:
        x, inputs = self.images, list[tuple[Tensor, ...]]()
        for n, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True), start=1):
            y = self.timed(f"conv{n} forward", partial(torch.conv2d, x, weight, bias))
            pooled, index = self.timed(f"pool{n}", partial(aten.max_pool2d_with_indices, y, [2, 2]))
            x_before, x = x, self.timed(f"relu{n}", partial(torch.relu, pooled))
            inputs.append((x_before, y, index, x))
        self.timed("linear", self.linear_layers)
        gradient = torch.randn_like(x)
        for n in (3, 2, 1):
            gradient = self.backward(n, gradient, inputs.pop())
        self.timed("(curvature: conv1's image gradient)", lambda: image_gradient(self.last, self.weights[0], 1))
        self.timed(
            "(the same by torch)", lambda: self.convolution_backward(1, self.last, self.images, [True, False])[0]
        )

    def backward(self, n: int, gradient: Tensor, of_forward: tuple[Tensor, ...]) -> Tensor:
        x, y, index, out = of_forward
        gradient = self.timed(f"relu{n}", lambda: aten.threshold_backward(gradient, out, 0))
        self.last = self.timed(
            f"pool{n}",
            lambda: aten.max_pool2d_with_indices_backward(gradient, y, [2, 2], [2, 2], [0, 0], [1, 1], False, index),
        )
        return self.timed(f"conv{n} backward", lambda: self.convolution_backward(n, self.last, x, [n > 1, True]))[0]

    def convolution_backward(self, n: int, gradient: Tensor, x: Tensor, output_mask: list[bool]) -> tuple[Tensor, ...]:
        weight = self.weights[n - 1]
        ones, zeros = [1, 1], [0, 0]
        mask = [*output_mask, output_mask[1]]
        return aten.convolution_backward(gradient, x, weight, [len(weight)], ones, zeros, ones, False, zeros, 1, mask)

    def linear_layers(self) -> None:
        for x, weight, gradient in self.linear:
            x @ weight.T, gradient @ weight, gradient.T @ x


def gflop(name: str) -> float:
    """Return the arithmetic of an operation in GFLOP; 0 if memory limits it."""
    if name == "linear":
        return 3 * 2 * BATCH * sum(i * o for i, o in LINEAR) / 1e9
    if name.startswith("("):
        return gflop("conv1 forward")
    if not name.startswith("conv"):
        return 0.0
    inputs, outputs, kernel, side = CONVOLUTIONS[int(name[4]) - 1]
    forward = 2 * BATCH * side * side * inputs * outputs * kernel * kernel / 1e9
    return forward if "forward" in name else forward * (1 if name[4] == "1" else 2)


def main() -> None:
    description = "Time a training step of the paper's network, layer by layer, on one thread."
    argparse.ArgumentParser(prog="python -m bench.layers", description=description).parse_args()
    if "MALLOC_TOP_PAD_" not in os.environ:  # the allocator reads its settings when a process starts
        os.execve(sys.executable, [sys.executable, "-m", "bench.layers"], worker_environment(threads=1))
    torch.set_num_threads(1)
    step, a, b = Step(), torch.randn(1024, 1024), torch.randn(1024, 1024)
    for _ in range(ROUNDS):
        step()
        step.timed("matrix product", lambda: a @ b)
        step.end_round()
    medians = {name: statistics.median(values[ROUNDS // 4 :]) for name, values in step.ms.items()}
    product = 2 * 1024**3 / 1e6 / medians.pop("matrix product")
    whole = sum(ms for name, ms in medians.items() if not name.startswith("("))
    table = Table(
        title=f"a step of 100 images, {whole:.1f} ms; matrix product {product:.0f} GFLOP/s", title_justify="left"
    )
    for heading in ("", "ms", "% of the step", "GFLOP", "GFLOP/s", "% of product"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, ms in medians.items():
        rate = gflop(name) / ms * 1000
        rates = (f"{gflop(name):.2f}", f"{rate:.0f}", f"{100 * rate / product:.0f}") if rate else ("", "", "")
        share = "" if name.startswith("(") else f"{100 * ms / whole:.1f}"
        table.add_row(name, f"{ms:.2f}", share, *rates)
    Console().print(table)


if __name__ == "__main__":
    main()
