"""Profile the kernels of an epoch and of its metrics."""

from collections.abc import Callable, Iterable
from typing import Any

from torch.profiler import ProfilerActivity
from torch.profiler import profile as record

from bench.gpu import engine
from bench.gpu.engine import Setup
from bench.gpu.results import Report

CASES = (("cbp", "fp32"), ("bp", "tf32"), ("bp", "bf16"))
KERNELS_SHOWN = 8
ROWS_IN_FILE = 40
BUSY_AIM = 0.9


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
