"""Check whether training waits for the GPU, and how much of its memory it takes."""

import warnings
from collections.abc import Callable
from pathlib import Path

import psutil
import torch

from bench.gpu import engine
from bench.gpu.engine import Setup
from bench.gpu.results import Report

MIB = 2**20
MOST_GROWTH_MIB = 1
NUM_EPOCHS = 5


def waiting(setup: Setup, report: Report) -> None:
    """Count synchronising calls, by torch's detector, in an epoch of graph steps and while its metrics are queued."""
    stack = engine.Stack(setup, engine.spec_of("cbp", setup, metrics=engine.ALL_METRICS), setup.pick(4, 2))
    stack.train_epoch()
    stack.measure()
    setup.settle()
    criterion = "0 synchronisations"
    with report.attempt("an epoch", criterion):
        # The first call that waits raises, so that the log shows where it is.
        _synchronisations(setup, stack.train_epoch, "error")
        report.check("an epoch", True, "0", criterion)
    with report.attempt("queueing the metrics", criterion):
        places = _synchronisations(setup, stack.start_measuring, "warn")
        text = f"{len(places)} {', '.join(dict.fromkeys(places))}".strip()
        report.check("queueing the metrics", not places, text, criterion)


def _synchronisations(setup: Setup, call: Callable[[], object], mode: str) -> list[str]:
    """Return the file and line of each wait for the device during a call; with mode "error" the first one raises."""
    if not setup.on_gpu:
        call()
        return []
    torch.cuda.set_sync_debug_mode(mode)
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            call()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    waits = [warning for warning in warned if "called a synchronizing" in str(warning.message)]
    return [f"{Path(warning.filename).name}:{warning.lineno}" for warning in waits]


def memory(setup: Setup, report: Report) -> None:
    """Compare a worker's memory with the launcher's plan, and check that it does not grow from epoch to epoch."""
    spec = engine.spec_of("cbp", setup)
    for num_seeds in (1, min(setup.pick(30, 2), engine.seeds_that_fit(spec, setup))):
        name = engine.in_words(num_seeds)
        criterion = "memory besides the CUDA context <= planned"
        with report.attempt(name, criterion):
            engine.forget_tasks()
            before = _taken(setup)
            _reset_peak(setup)
            stack = engine.Stack(setup, spec, num_seeds)
            for _ in range(2):
                train_and_measure(stack)
            taken, planned = _peak(setup, before), stack.planned_bytes()
            report.check(name, taken <= planned, f"{taken / MIB:.0f} of {planned / MIB:.0f} MiB", criterion)
            _check_growth(setup, report, name, stack)
            del stack


def _check_growth(setup: Setup, report: Report, name: str, stack: engine.Stack) -> None:
    sizes = []
    for _ in range(NUM_EPOCHS):
        train_and_measure(stack)
        sizes.append(_held(setup))
    growth = (sizes[-1] - sizes[0]) / MIB
    # On a CPU the resident memory of a process may change at any time, so the figure proves nothing.
    passed = growth <= MOST_GROWTH_MIB or not setup.on_gpu
    criterion = f"<= {MOST_GROWTH_MIB} MiB over {NUM_EPOCHS} epochs with metrics"
    report.check(f"{name}, growth", passed, f"{growth:.2f} MiB", criterion)


def train_and_measure(stack: engine.Stack) -> None:
    stack.new_order()
    stack.train_epoch()
    stack.measure()
    stack.setup.settle()


def _reset_peak(setup: Setup) -> None:
    if setup.on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(setup.device)


def _taken(setup: Setup) -> int:
    """Bytes in use on the card, or by this process on a CPU."""
    if not setup.on_gpu:
        return int(psutil.Process().memory_info().rss)
    free, total = torch.cuda.mem_get_info(setup.device)
    return int(total - free)


def _peak(setup: Setup, before: int) -> int:
    """Return the peak since `before`: the allocator's, or the card's loss of free memory if that is larger."""
    grown = max(0, _taken(setup) - before)
    return max(grown, torch.cuda.max_memory_reserved(setup.device)) if setup.on_gpu else grown


def _held(setup: Setup) -> int:
    """Bytes of live tensors; on a CPU the resident memory of this process."""
    return torch.cuda.memory_allocated(setup.device) if setup.on_gpu else _taken(setup)
