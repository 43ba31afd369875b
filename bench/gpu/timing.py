"""Time steps, epochs and metrics by stack and precision, beside the plain loop on the same card; profile kernels."""

import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import torch
from torch.profiler import ProfilerActivity
from torch.profiler import profile as record

from bench.gpu import engine
from bench.gpu.engine import Setup
from bench.gpu.results import Report

LEAST_S = 0.25
"""A call is repeated until this much time has passed."""
HOST_STEPS = 20
STACKS = (30, 1, 8, 60, 120)
SMALL_STACKS = (2, 1)
AIM_OVER_PLAIN = 25
CASES = (("cbp", "fp32"), ("bp", "tf32"), ("bp", "bf16"))
KERNELS_SHOWN = 8
ROWS_IN_FILE = 40
BUSY_AIM = 0.9


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


def profile(setup: Setup, report: Report) -> None:
    """Profile an epoch of replayed steps, and a metric epoch; the whole tables go to profile.txt."""
    for method, precision in setup.pick(CASES, CASES[:1]):
        spec = engine.timed_spec(method, setup, precision=precision, curvature_images=setup.pick(100, 20))
        stack = engine.Stack(setup, spec, setup.pick(30, 2))
        stack.train_epoch()
        stack.measure()
        for part, call in (("an epoch", stack.train_epoch), ("a metric epoch", stack.measure)):
            name = f"{part}, {method}, {precision}"
            with report.attempt(name, "can be profiled"):
                _profile(setup, report, name, call)


def _profile(setup: Setup, report: Report, name: str, call: Callable[[], object]) -> None:
    setup.settle()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if setup.on_gpu else [])]
    with record(activities=activities) as profiled:
        call()
        setup.settle()
    key = "self_device_time_total" if setup.on_gpu else "self_cpu_time_total"
    all_averages = profiled.key_averages()
    table = all_averages.table(sort_by=key, row_limit=ROWS_IN_FILE, max_name_column_width=100)
    report.text("profile.txt", f"{name}\n\n{table}\n\n")
    # A kernel's time is also reported for the operation that launched it, so on a GPU count only kernels.
    averages = [average for average in all_averages if _on_device(average) or not setup.on_gpu]
    total = sum(getattr(average, key) for average in averages) or 1
    largest = sorted(averages, key=lambda average: -getattr(average, key))[:KERNELS_SHOWN]
    for average in largest:
        spent = getattr(average, key)
        report.row("profile", part=name, kernel=average.key[:80], calls=average.count, share=spent / total)
    if setup.on_gpu:
        report.measured(f"card busy, {name}", f"{busy_share(_kernels(profiled)):.0%}", f"aim: >= {BUSY_AIM:.0%}")


def _kernels(profiled: Any) -> list[tuple[float, float]]:
    """(begin, end) of everything that ran on the device."""
    return [(event.time_range.start, event.time_range.end) for event in profiled.events() if _on_device(event)]


def _on_device(event: Any) -> bool:
    return "CUDA" in str(event.device_type)


def busy_share(intervals: Iterable[tuple[float, float]]) -> float:
    """Return the share of the time, from the first begin to the last end, that the intervals cover."""
    covered, first, until = 0.0, None, 0.0
    for begin, end in sorted(intervals):
        if first is None:
            first = until = begin
        covered += max(0.0, end - max(begin, until))
        until = max(until, end)
    return covered / (until - first) if first is not None and until > first else 0.0
