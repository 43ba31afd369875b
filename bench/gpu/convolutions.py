"""Time the ways to convolve a stack of seeds, each pass of each layer as a CUDA graph."""

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from bench.gpu.engine import PRECISIONS, Precision, Setup, cudnn_choice, training_precision
from bench.gpu.results import Report, breaks_the_process
from bench.gpu.ways import LAYERS, PASSES, WAYS, error_of, make_case

TOLERANCE = 1e-4
ROUNDS, CALLS = 7, 3


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
