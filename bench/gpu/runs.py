"""Train with real workers: kill and resume them, read the dashboard, and watch how busy the card is."""

import statistics
import time
from typing import Any

import numpy as np

from bench.gpu.engine import METRICS, Setup
from bench.gpu.lop_run import LopRun, lop_runs, wait_until
from bench.gpu.results import Report
from lop_engine.machine.usage import Usage, UsageReader

NUM_SEEDS = 4
BETWEEN_LOOKS_S = 1.0
NOISE = 3
"""A resumed run may differ from an uninterrupted one by this many times the difference of two uninterrupted runs."""

BUSY_SEEDS = 30
WARM_UP_EPOCHS = 20
BUSY_S, LOOK_EVERY_S = 8.0, 0.25
BUSY_AIM = 0.9
FIGURE_EPOCHS = 4 * 5000 * 250
"""Epochs of 30 seeds in the paper's figure: methods x tasks x epochs."""

_SETTINGS = {
    "num_tasks": 6,
    "num_showings": 40,
    "train_images": 600,
    "test_images": 100,
    "curvature_images": 100,
    "curvature_every": 4,
    "maturity_threshold": 20,
    "replacement_rate": 0.003,
    "checkpoint_every_s": 0.3,
}
_PROTOCOL = {"num_tasks": 5000, "num_showings": 250, "train_images": 600, "test_images": 100}
_SMALL = {
    "num_tasks": 4,
    "num_showings": 4,
    "width": 0.125,
    "train_images": 40,
    "test_images": 20,
    "mini_batch_size": 20,
    "curvature_images": 20,
}

#: In the log or the status of a worker that could not capture its step.
_FALLBACK = "without CUDA graphs"


def runs(setup: Setup, report: Report) -> None:
    """Compare a run that is killed and resumed with two uninterrupted runs, all started together."""
    settings = _SETTINGS | setup.pick({}, _SMALL)
    with lop_runs(setup, ("whole", "again", "killed"), NUM_SEEDS, settings) as (whole, again, killed):
        was_killed = killed.kill_worker()
        _show_usage(setup, report, whole)
        resumed = killed.resume()
        statuses = whole.wait(), again.wait()
        expected = "exit status 0 of each"
        report.check("lop run, 4 seeds", statuses == (0, 0), f"exit status {statuses[0]}, {statuses[1]}", expected)
        expected = "the killed run fails; lop resume ends with exit status 0"
        text = f"{'killed' if was_killed else 'not killed'}; lop resume: exit status {resumed}"
        report.check("SIGKILL, then lop resume", was_killed and resumed == 0, text, expected)
        compare(report, whole, again, killed)
        fallbacks = sum(_FALLBACK in run.log() for run in (whole, again, killed))
        report.check("CUDA graphs in the worker", fallbacks == 0, f"{fallbacks} fallbacks", "no worker falls back")


def compare(report: Report, whole: LopRun, again: LopRun, killed: LopRun) -> None:
    expected, repeated, resumed = (run.documents() for run in (whole, again, killed))
    num_records = sum(map(len, expected))
    same_places = _places(resumed) == _places(expected) and num_records > 0
    text = f"{sum(map(len, resumed))} of {num_records}"
    report.check("records after resume", same_places, text, "the same tasks and epochs, each once")
    if not same_places:
        return
    difference, noise = mean_difference(resumed, expected), mean_difference(repeated, expected)
    criterion = f"mean relative difference <= {NOISE} x that of two uninterrupted runs"
    text = f"{difference:.1e} (uninterrupted {noise:.1e}; 0 is to the last digit)"
    report.check("values after resume", difference <= NOISE * noise, text, criterion)


def _places(tables: list[list[dict[str, Any]]]) -> list[list[tuple[Any, ...]]]:
    return [[(record["task"], record.get("epoch"), record.get("classes")) for record in table] for table in tables]


def mean_difference(one: list[list[dict[str, Any]]], other: list[list[dict[str, Any]]]) -> float:
    """Return the mean of |a - b| over all records, relative to the metric's mean magnitude; infinite if keys differ."""
    differences: dict[str, list[float]] = {}
    sizes: dict[str, list[float]] = {}
    for mine, theirs in zip(one, other, strict=True):
        for record, expected in zip(mine, theirs, strict=True):
            if record.keys() != expected.keys():
                return float("inf")
            for name in record.keys() - {"task", "epoch", "classes"}:
                a, b = (np.nan if each[name] is None else float(each[name]) for each in (record, expected))
                same = a == b or (np.isnan(a) and np.isnan(b))
                differences.setdefault(name, []).append(0.0 if same else abs(a - b))
                sizes.setdefault(name, []).append(abs(b))
    relative = [np.mean(values) / max(1e-12, float(np.nanmean(sizes[name]))) for name, values in differences.items()]
    return float(np.nan_to_num(np.mean(relative), nan=np.inf))


def _show_usage(setup: Setup, report: Report, run: LopRun) -> None:
    """Read the dashboard's GPU line while a run trains, and a frame as text."""
    from lop_tui.dashboard.widgets.lines import describe_usage

    criterion = "names the GPU, its use and its memory (pip install 'lop-lab[gpu]')"
    with report.attempt("the dashboard's GPU line", criterion):
        usage = _read_usage(run)
        parts = describe_usage(usage)
        shown = bool(usage.gpus) or not setup.on_gpu
        report.check("the dashboard's GPU line", shown, "; ".join(parts[:-1]) or "no GPU", criterion)
    criterion = "shows the run"
    with report.attempt("lop watch --once", criterion):
        frame = run.watch()
        report.check("lop watch --once", "cbp" in frame, f"{len(frame.splitlines())} lines", criterion)


def _read_usage(run: LopRun) -> Usage:
    reader = UsageReader()
    wait_until(lambda: bool(run.pids()) or run.has_ended)
    reader.read(run.pids())
    time.sleep(BETWEEN_LOOKS_S)
    return reader.read(run.pids())


def busy(setup: Setup, report: Report) -> None:
    """Train the paper's protocol for some seconds, records and checkpoints included, and watch the card."""
    others = [name for name in METRICS if name != "curvature"]
    settings = _PROTOCOL | {"metrics": others} | setup.pick({}, _SMALL | {"num_tasks": 1000})
    num_seeds, warm_up = setup.pick((BUSY_SEEDS, WARM_UP_EPOCHS), (2, 1))
    for precision in setup.pick(("fp32", "bf16"), ("fp32",)):
        with lop_runs(setup, [precision], num_seeds, settings | {"precision": precision}) as (run,):
            run.train_until(warm_up)
            first, began = run.num_epochs(), time.monotonic()
            shares = _watch(setup.pick(BUSY_S, 0.5))
            rate = (run.num_epochs() - first) / (time.monotonic() - began)
        hours = FIGURE_EPOCHS * BUSY_SEEDS / num_seeds / rate / 3600 if rate else None
        report.row("loop", method="cbp", precision=precision, seeds=num_seeds, epochs_per_s=rate, hours=hours)
        text = f"{statistics.mean(shares):.0%}" if shares else "the card gave no figure"
        report.measured(f"card busy while lop run trains, {precision}", text, f"aim: >= {BUSY_AIM:.0%}")


def _watch(seconds: float) -> list[float]:
    """Sample the busiest GPU's utilisation, 0 .. 1."""
    reader, shares = UsageReader(), []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        gpus = [gpu.utilisation for gpu in reader.read([]).gpus if gpu.utilisation is not None]
        shares += [max(gpus)] if gpus else []
        time.sleep(LOOK_EVERY_S)
    return shares
