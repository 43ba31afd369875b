"""Time steps, epochs and metrics by stack and precision, beside the plain loop on the same card."""

import time
from collections.abc import Callable, Iterator
from functools import partial

import torch

from bench.gpu import engine
from bench.gpu.engine import Setup
from bench.gpu.results import Report

LEAST_S = 0.25
"""A call is repeated until this much time has passed."""
HOST_STEPS = 20
STACKS = (30, 1, 8, 60, 120)
SMALL_STACKS = (2, 1)
AIM_OVER_PLAIN = 25


def milliseconds(call: Callable[[], object], setup: Setup) -> float:
    """Return the mean time of a call, the device's work included, after one call to warm up."""
    call()
    setup.settle()
    began, count = time.perf_counter(), 0
    while count == 0 or (time.perf_counter() - began < setup.pick(LEAST_S, 0.0) and count < 1000):
        for _ in range(setup.pick(5, 1)):
            call()
        count += setup.pick(5, 1)
        setup.settle()
    return 1000 * (time.perf_counter() - began) / count


def host_milliseconds(call: Callable[[], object], setup: Setup) -> float:
    """Return the time until a call returns to Python; the device may still be working."""
    count = setup.pick(HOST_STEPS, 1)
    setup.settle()
    began = time.perf_counter()
    for _ in range(count):
        call()
    elapsed = time.perf_counter() - began
    setup.settle()
    return 1000 * elapsed / count


def steps(setup: Setup, report: Report) -> None:
    """Time stacks, methods and precisions, the most informative first."""
    plain_ms: dict[engine.Precision, float] = {}
    for num_seeds, method, precision in _cases(setup):
        if precision not in plain_ms:
            plain_ms[precision] = milliseconds(_plain_step(setup, precision), setup)
            report.row("plain", precision=precision, step_ms=plain_ms[precision])
        try:
            cells = _times(setup, num_seeds, method, precision)
        except torch.cuda.OutOfMemoryError:
            report.row("steps", seeds=num_seeds, method=method, precision=precision, note="out of memory")
            continue
        cells["times_plain"] = plain_ms[precision] * num_seeds / cells["step_ms"]
        report.row("steps", seeds=num_seeds, method=method, precision=precision, **cells)
        if method == "bp":
            name = f"{engine.in_words(num_seeds)}, {precision}, over the plain loop"
            aim = f"aim at 30 seeds: >= {AIM_OVER_PLAIN}"
            report.measured(name, f"{cells['times_plain']:.1f} times", aim)
        setup.free()


def _cases(setup: Setup) -> Iterator[tuple[int, str, engine.Precision]]:
    """(seeds, method, precision): the figure's methods at its stack, then backprop at the other stacks."""
    figure, *others = setup.pick(STACKS, SMALL_STACKS)
    for method in engine.FIGURE_METHODS:
        yield from ((figure, method, precision) for precision in engine.PRECISIONS)
    for num_seeds in others:
        yield from ((num_seeds, "bp", precision) for precision in engine.PRECISIONS)


def _plain_step(setup: Setup, precision: engine.Precision) -> Callable[[], object]:
    """Return the training step of one seed as anyone would write it, in a precision."""
    step = engine.PlainStep(setup.device)
    size = setup.pick(100, 20)
    images = torch.randn(size, 3, 32, 32, device=setup.device)
    labels = torch.randint(0, 2, (size,), device=setup.device)

    def call() -> None:
        # A plain script lets cuDNN add in any order, which can be faster.
        with engine.cudnn_choice(deterministic=False), engine.training_precision(precision, setup.device.type):
            step(images, labels)

    return call


def _times(setup: Setup, num_seeds: int, method: str, precision: engine.Precision) -> dict[str, float]:
    """Milliseconds of the parts of an epoch of a stack.

    Metrics are the same for all methods, and always float32. Only the device's part of them is timed, because a
    worker computes the host's part during the next epoch.
    """
    stack = engine.Stack(setup, engine.timed_spec(method, setup, precision=precision), num_seeds)
    batch = stack.batch()
    cells = {
        "step_ms": milliseconds(lambda: stack.step(*batch), setup),
        "host_ms": host_milliseconds(lambda: stack.step(*batch), setup),
        "epoch_ms": milliseconds(stack.train_epoch, setup),
    }
    if method == "bp" and precision == "fp32":
        others = [name for name in engine.METRICS if name != "curvature"]
        cells["order_ms"] = milliseconds(stack.new_order, setup)
        cells["metrics_ms"] = milliseconds(lambda: stack.start_measuring(*others), setup)
        cells["curvature_ms"] = milliseconds(lambda: stack.start_measuring("curvature"), setup)
    return cells


def metric_times(setup: Setup, report: Report) -> None:
    """Time each metric alone, of one seed and of a stack; the curvature of 100 images."""
    for num_seeds in setup.pick((30, 1), (2, 1)):
        spec = engine.timed_spec("bp", setup, metrics=engine.METRICS, curvature_images=setup.pick(100, 20))
        stack = engine.Stack(setup, spec, num_seeds)
        stack.train_epoch()
        for name in spec.metrics:
            ms = milliseconds(partial(stack.measure, name), setup)
            report.row("metric-times", seeds=num_seeds, metric=name, ms=ms)
