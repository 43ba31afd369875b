"""Compare lop's own kernels of a pooled convolution with torch's, and time each pass of each layer."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from bench.gpu.engine import PRECISIONS, FusedLayer, Precision, Setup, fused_error
from bench.gpu.results import Report
from bench.gpu.ways import LAYERS, TOLERANCE, Layer, make_case, replayed_ms

WAY = "fused with bias, pooling and ReLU (lop)"
SEEDS = (30, 8, 120, 1, 60)


def fused(setup: Setup, report: Report) -> None:
    """Check values and gradients, then time the kernels by stack, precision and layer."""
    name, criterion = "values and gradients", f"relative difference <= {TOLERANCE:g}"
    if not setup.on_gpu:
        report.check(name, True, "not tried", criterion)
        return
    layers = setup.pick(LAYERS, (Layer("small", 3, 4, 3, 6),))
    with report.attempt(name, criterion):
        largest = max(fused_error(setup.device, _fused(layer, "fp32")) for layer in layers)
        report.check(name, largest <= TOLERANCE, f"{largest:.1e}", criterion)
    for num_seeds in setup.pick(SEEDS, (1,)):
        for precision in PRECISIONS:
            for layer in layers:
                _time_layer(setup, report, num_seeds, precision, layer)


def _fused(layer: Layer, precision: Precision) -> FusedLayer:
    return FusedLayer(layer.side, layer.side, layer.inputs, layer.outputs, layer.kernel, precision)


def _time_layer(setup: Setup, report: Report, num_seeds: int, precision: Precision, layer: Layer) -> None:
    """Report milliseconds of each pass; the other ways do not include bias, pooling and ReLU."""
    batch, dtype = setup.pick(100, 2), torch.bfloat16 if precision == "bf16" else torch.float32
    of_layer, case = _fused(layer, precision), make_case(layer, num_seeds, batch, dtype, setup.device)
    images = of_layer.filled_up(case.images.permute(0, 1, 3, 4, 2))
    weight = case.weights.permute(0, 1, 3, 4, 2).contiguous()
    bias = torch.zeros(num_seeds, layer.outputs, device=setup.device)
    maps, winner = of_layer.forward(images, weight, bias)
    calls: dict[str, Callable[[], Any]] = {
        "forward": partial(of_layer.forward, images, weight, bias),
        "data": partial(of_layer.image_gradient, maps, winner, weight),
        "weight": partial(of_layer.weight_gradient, images, maps, winner),
    }
    cells: dict[str, Any] = {"seeds": num_seeds, "precision": precision, "way": WAY, "layer": layer.name}
    for name, call in calls.items():
        cells[f"{name}_ms"] = replayed_ms(call, setup)
        cells[f"{name}_tflops"] = layer.gflop(num_seeds, batch) / cells[f"{name}_ms"]
    report.row("convolutions", **cells)
    setup.free()
