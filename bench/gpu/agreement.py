"""Compare what a GPU computes with the reference, with eager steps, with other stacks and with the CPU."""

import math
import re
import warnings
from collections import defaultdict
from collections.abc import Sequence
from itertools import product

import numpy as np
import torch
from torch import Tensor

from bench.gpu import engine
from bench.gpu.engine import Setup, Trained
from bench.gpu.results import Report
from bench.gpu.ways import LAYERS, Grouped, error_of

GOLDEN = {"bp": (20, 2e-5), "l2": (20, 2e-4), "adam": (5, 5e-3)}
"""By golden run: steps compared, and the tolerance of a loss. Rounding errors grow with each step, most with Adam."""

FLOAT32_TOLERANCE = 2e-5
"""Largest relative error of a convolution. Errors in float32 are a tenth of it, in TF32 about twenty times it."""

TOLERANCE = {"fp32": 1e-2, "tf32": 0.1, "bf16": 0.3}
"""Largest distance (`apart`) that rounding explains between two computations of the same steps."""

NUM_STEPS = 6

#: Largest difference of a metric of equal weights on two devices, relative to its largest value over the seeds.
METRIC_TOLERANCE = {
    "curvature": 0.05,  # each device draws other directions
    "rank": 0.03,  # whole numbers
    "stable_rank": 0.03,
    "approximate_rank": 0.03,
    "srank": 0.03,
    "test_accuracy": 0.02,  # an image may lie on the border between two classes
    "gradient_norm": 1e-3,
}
UNITS_TOLERANCE = 0.01
"""Largest difference of a proportion of units, because a few units lie on the threshold."""
DEFAULT_TOLERANCE = 1e-3


def apart(one: Trained, other: Trained, seeds: Sequence[int] | None = None) -> float:
    """Return how far apart two trainings from the same state end: 0 is bitwise equal, 1 as far as one of them moved.

    The norm of the difference between the ends over the norm of the movement, for weights, optimiser state and
    mechanism state separately; the largest is returned. Infinite if one of them is NaN.

    Args:
        seeds: rows to compare; by default all.
    """
    rows = slice(None) if seeds is None else list(seeds)
    differences: dict[str, float] = defaultdict(float)
    movements: dict[str, float] = defaultdict(float)
    for name, end in other.end.items():
        part = name.split(".")[0]
        differences[part] += _squares(one.end[name][rows], end[rows])
        movements[part] += _squares(other.start[name][rows], end[rows])
    ratios = [math.sqrt(differences[part] / max(1e-30, movements[part])) for part in differences]
    return math.inf if any(map(math.isnan, ratios)) else max(ratios)


def _squares(one: Tensor, other: Tensor) -> float:
    return float((one.double() - other.double()).square().sum())


def moved(trained: Trained) -> bool:
    """Return whether the weights of every seed have changed."""
    changed_S: list[Tensor] = [
        (trained.end[name] != start).flatten(1).any(1) for name, start in trained.start.items() if "params" in name
    ]
    return bool(torch.stack(changed_S).any(0).all())


def golden(setup: Setup, report: Report) -> None:
    """Compare losses with the reference's, in both memory layouts, and check that float32 is not rounded."""
    for name, (num_steps, tolerance) in list(GOLDEN.items())[: setup.pick(None, 1)]:
        criterion = f"losses of {num_steps} steps differ by <= {tolerance:g}"
        for layout in ("contiguous", "channels-last"):
            with report.attempt(f"{name}, {layout}", criterion):
                losses, expected = engine.golden_losses(name, setup, layout == "channels-last", num_steps)
                largest = float((losses - expected).abs().max())
                report.check(f"{name}, {layout}", largest <= tolerance, f"{largest:.1e}", criterion)
    for precision in setup.pick(("tf32", "bf16"), ()):
        losses, expected = engine.golden_losses("bp", setup, True, GOLDEN["bp"][0], precision)
        report.measured(f"bp, {precision}", f"{float((losses - expected).abs().max()):.1e}", "losses of 20 steps, fp32")
    criterion = f"relative error of a convolution <= {FLOAT32_TOLERANCE:g}"
    with report.attempt("float32 is not rounded", criterion):
        largest = max(error_of(Grouped, layer, setup) for layer in LAYERS)
        report.check("float32 is not rounded", largest <= FLOAT32_TOLERANCE, f"{largest:.1e}", criterion)


def graphs(setup: Setup, report: Report) -> None:
    """Compare the worker's step with the eager step, from the same state on the same batches, one of them short."""
    for name, precision in product(engine.setting_names(), engine.PRECISIONS):
        check, criterion = f"{name}, {precision}", f"apart <= {TOLERANCE[precision]:g}, every seed moves, no warning"
        if not report.is_done(check):
            with report.attempt(check, criterion):
                _compare_with_eager(setup, report, name, precision, criterion)


def activations(setup: Setup, report: Report) -> None:
    """Compare the step with each activation function with the eager step, and with torch's convolutions."""
    for name, precision in product(setup.pick(engine.ACTIVATIONS, ["tanh"]), engine.PRECISIONS):
        check, criterion = f"bp {name}, {precision}", f"apart <= {TOLERANCE[precision]:g}, every seed moves, no warning"
        with report.attempt(check, criterion):
            _compare_with_eager(setup, report, f"bp {name}", precision, criterion)
        check, criterion = f"{name}, {precision}, by torch", f"apart <= {TOLERANCE[precision]:g}"
        with report.attempt(check, criterion):
            spec, seeds = engine.spec_of(f"bp {name}", setup, precision=precision), [0, 1, 2]
            here = engine.train(spec, seeds, NUM_STEPS, setup, graphs=False)
            with engine.convolutions_of_torch():
                expected = engine.train(spec, seeds, NUM_STEPS, setup, graphs=False)
            difference = apart(here, expected)
            report.check(check, difference <= TOLERANCE[precision], f"{difference:.1e}", criterion)


def _compare_with_eager(setup: Setup, report: Report, name: str, precision: str, criterion: str) -> None:
    spec, seeds = engine.spec_of(name, setup, precision=precision), [0, 1, 2]
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        replayed = engine.train(spec, seeds, NUM_STEPS, setup, graphs=True)
    eager = engine.train(spec, seeds, NUM_STEPS, setup, graphs=False)
    difference, is_moved = apart(replayed, eager), moved(replayed)
    findings = [f"apart {difference:.1e}", *([] if is_moved else ["moved 0"])]
    findings += [str(warning.message)[:80] for warning in warned]
    passed = difference <= TOLERANCE[precision] and is_moved and not warned
    report.check(f"{name}, {precision}", passed, "; ".join(findings), criterion)


def stack(setup: Setup, report: Report) -> None:
    """Check that a seed computes the same alone and in a stack, except for rounding."""
    criterion = f"apart <= {TOLERANCE['fp32']:g}"
    seeds = list(range(setup.pick(8, 3)))
    for name in ("bp", "snp", "cbp"):
        with report.attempt(name, criterion):
            spec = engine.spec_of(name, setup)
            whole = engine.train(spec, seeds, NUM_STEPS, setup, graphs=True)
            alone = engine.train(spec, seeds[-1:], NUM_STEPS, setup, graphs=True)
            difference = apart(alone, whole.of_seed(-1))
            report.check(name, difference <= TOLERANCE["fp32"], f"{difference:.1e}", criterion)


def diverged(setup: Setup, report: Report) -> None:
    """Check that a seed with NaN weights changes no other seed of its stack, and stays NaN itself."""
    criterion = f"others apart <= {TOLERANCE['fp32']:g}; the seed itself NaN"
    for name in ("bp", "cbp"):
        with report.attempt(name, criterion):
            spec = engine.spec_of(name, setup)
            whole = engine.train(spec, [0, 1, 2], NUM_STEPS, setup, graphs=True)
            broken = engine.train(spec, [0, 1, 2], NUM_STEPS, setup, graphs=True, prepare=_break_the_second)
            difference, is_nan = apart(broken, whole, [0, 2]), bool(broken.losses[:, 1].isnan().all())
            passed = difference <= TOLERANCE["fp32"] and is_nan
            report.check(name, passed, f"{difference:.1e}{'' if is_nan else ', not NaN'}", criterion)


def _break_the_second(learner: engine.Learner) -> None:
    with torch.no_grad():
        next(iter(learner.params.values()))[1].fill_(torch.nan)


def metrics(setup: Setup, report: Report) -> None:
    """Compare every metric of equal weights on this device and on the CPU."""
    spec = engine.spec_of("bp", setup, metrics=engine.ALL_METRICS, curvature_images=setup.pick(200, 20))
    here = engine.Stack(setup, spec, 2)
    here.train_epoch()
    measured, expected = here.measure(), here.on_cpu().measure()
    for name in spec.metrics:
        largest = float(np.abs(np.subtract(measured[name], expected[name])).max())
        if "proportion" in name:
            criterion, passed = f"difference <= {UNITS_TOLERANCE:g}", largest <= UNITS_TOLERANCE
        else:
            tolerance = METRIC_TOLERANCE.get(re.sub(r"_\d+$", "", name), DEFAULT_TOLERANCE)  # of any layer
            largest /= max(1e-12, float(np.abs(expected[name]).max()))
            criterion, passed = f"relative difference <= {tolerance:g}", largest <= tolerance
        report.check(name, passed, f"{largest:.1e}", criterion)
