"""Train every method on every problem over two tasks: with CUDA graphs, step by step, and stopped and resumed.

`agreement` compares single steps. Here methods act at the boundaries of tasks, the parts of a task are made on the
device, and metrics are measured at a task's start and end, by the loop that a worker uses, without its files.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch

from bench.gpu.agreement import TOLERANCE, apart, moved
from bench.gpu.engine import METHODS, Setup, Trained, copy_of
from bench.gpu.results import Report
from lop_engine.experiment.registry import PROBLEMS
from lop_engine.experiment.spec import Spec, validate
from lop_engine.testing.subject import SMALL
from lop_engine.training.learner import Learner
from lop_engine.training.loop import EpochReport, Metrics, Position, train
from tests.methods import settings_of

SEEDS = (0, 1, 2)
NUM_TASKS = 2

#: Sizes of a task by problem, besides those of SMALL. Digits come in parts of 200.
_SIZES: dict[str, dict[str, Any]] = {
    "slowly_changing_regression": {"flip_after": 60},
    "permuted_mnist": {"change_after": 240, "num_features": 20},
}


@dataclass(frozen=True)
class Course:
    """A training over all tasks, and the metrics after each epoch or part."""

    trained: Trained
    metrics: list[Metrics | None]


def problems(setup: Setup, report: Report) -> None:
    """Compare the three trainings of every method on every problem."""
    for problem in PROBLEMS:
        for method in setup.pick(METHODS, ("cbp",)):
            _compare(setup, report, f"{problem}, {method}", small_spec(problem, method))
        setup.free()


def small_spec(problem: str, method: str) -> Spec:
    """Return settings of two short tasks in which all parts of the method act."""
    values = {name: value for name, value in SMALL.items() if name not in PROBLEMS[problem].defaults}
    values |= {"problem": problem, "num_tasks": NUM_TASKS} | _SIZES.get(problem, {}) | settings_of(method)
    return validate(values, f"{problem}, {method}")


def _compare(setup: Setup, report: Report, name: str, spec: Spec) -> None:
    tolerance = TOLERANCE[spec.precision]
    criterion = f"apart <= {tolerance:g}; resumed: the same bits and metrics; every seed moves"
    if report.is_done(name):
        return
    with report.attempt(name, criterion):
        whole = course(spec, setup, graphs=True)
        eager = course(spec, setup, graphs=False)
        resumed = course(spec, setup, graphs=True, stop_at=Position(NUM_TASKS - 1, spec.num_parts // 2))
        difference, after_stop = apart(whole.trained, eager.trained), apart(resumed.trained, whole.trained)
        faults = [
            *([] if moved(whole.trained) else ["moved 0"]),
            *([] if after_stop == 0 else [f"resumed apart {after_stop:.1e}"]),
            *([] if _same(resumed.metrics, whole.metrics) else ["resumed: other metrics"]),
        ]
        text = "; ".join([f"apart {difference:.1e}", *faults])
        report.check(name, difference <= tolerance and not faults, text, criterion)


def course(spec: Spec, setup: Setup, graphs: bool, stop_at: Position | None = None) -> Course:
    """Train seeds over all tasks.

    Args:
        graphs: with CUDA graphs if on a GPU.
        stop_at: stop there, and continue with a new learner that gets the state by way of the host.
    """
    learner = Learner(spec, SEEDS, setup.device)
    start, metrics = copy_of(learner.state()), []
    if stop_at:
        metrics += _train(learner, setup, graphs, Position(), stop_at)
        states = [{name: tensor.cpu() for name, tensor in learner.state_of(run).items()} for run in range(len(SEEDS))]
        learner = Learner(spec, SEEDS, setup.device)
        learner.load_states(states)
    metrics += _train(learner, setup, graphs, stop_at or Position())
    setup.settle()
    return Course(Trained(start, copy_of(learner.state()), torch.empty(0, len(SEEDS))), metrics)


class _StopError(Exception):
    """Ends the loop."""


def _train(
    learner: Learner, setup: Setup, graphs: bool, start: Position, stop_at: Position | None = None
) -> list[Metrics | None]:
    """Train from `start` to the end or to `stop_at`; return the metrics after each epoch."""
    metrics = []

    def report(epoch: EpochReport) -> None:
        metrics.append(epoch.metrics)
        if epoch.position == stop_at:
            raise _StopError

    with suppress(_StopError):
        train(learner.spec, learner, setup.device, report, start, graphs)
    return metrics


def _same(one: Sequence[Metrics | None], other: Sequence[Metrics | None]) -> bool:
    """Whether metrics are the same to the last digit; NaN equals NaN."""
    return repr(one) == repr(other)
