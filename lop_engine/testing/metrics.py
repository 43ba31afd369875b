"""Rules of a metric: it returns one number for each seed, which depends only on that seed, and changes nothing.

Dimensions: S seeds.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lop_engine.metrics import compute
from lop_engine.problems import Task
from lop_engine.testing.course import (
    CPU,
    FIRST_TASK,
    batch_size,
    copied,
    first_difference,
    learner_of,
    of_seeds,
    same,
    tasks_of,
)
from lop_engine.testing.seeds import ADVICE, ATTEMPTS, OTHERS, SEED
from lop_engine.testing.subject import Subject
from lop_engine.training.learner import Learner
from lop_engine.training.loop import batch_order, metric_inputs, train_epoch
from lop_engine.training.record import EpochSteps

TOLERANCE = 1e-3
"""Tolerance of a value relative to its value in a stack: the order of additions differs."""


def is_a_number_for_each_seed(subject: Subject) -> None:
    """Check that the metric returns a tensor (S,), the same if it is measured again. Raises RuleError."""
    trained = _Trained(subject, (SEED, *OTHERS), (1, 0, 2))
    value, again = trained.measure(), trained.measure()
    if not isinstance(value, Tensor) or value.shape != (3,):
        returned = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise subject.broken(f"it returns {returned} with 3 seeds", "return a tensor with a number for each seed, (S,)")
    if not same(value, again):
        raise subject.broken(
            "measuring the same networks twice gives different numbers", "draw from inputs.generators, one a seed"
        )


def changes_nothing(subject: Subject) -> None:
    """Check that measuring changes no weights or state. Raises RuleError."""
    trained = _Trained(subject, (SEED, *OTHERS), (1, 0, 2))
    before = copied(trained.learner.state())
    trained.measure()
    name = first_difference(before, trained.learner.state())
    if name:
        raise subject.broken(f'measuring changes "{name}"', "change no argument in place")


def depends_on_one_seed(subject: Subject) -> None:
    """Check that a seed's value is the same with any neighbours, even diverged ones, and alone. Raises RuleError."""
    seeds = (SEED, *OTHERS)
    value = _Trained(subject, seeds, (1, 0, 2)).measure()[1]
    for rows, diverged in (((3, 0, 2), False), ((1, 0, 4), True)):
        if not same(value, _Trained(subject, seeds, rows, diverged).measure()[1]):
            beside = "that has diverged" if diverged else "that is another"
            raise subject.broken(f"seeds mix: the value of a seed depends on a neighbour {beside}", ADVICE)
    if not any(_is_the_same_alone(subject, (seed, *OTHERS)) for seed in ATTEMPTS):
        raise subject.broken("seeds mix: the value of a seed differs between a stack and alone", ADVICE)


def _is_the_same_alone(subject: Subject, seeds: tuple[int, ...]) -> bool:
    alone, stacked = (_Trained(subject, seeds, rows).measure()[rows.index(0)] for rows in ((0,), (1, 0, 2)))
    return torch.isclose(alone.double(), stacked.double(), rtol=TOLERANCE, atol=1e-6, equal_nan=True).item() is True


class _Trained:
    """Networks of some of `seeds` after an epoch.

    Args:
        diverged: the last one's weights are NaN.
    """

    def __init__(self, subject: Subject, seeds: tuple[int, ...], rows: Sequence[int], diverged: bool = False) -> None:
        self.subject, spec = subject, subject.spec
        self.learner: Learner = learner_of(spec, [seeds[row] for row in rows])
        self.task: Task = of_seeds(tasks_of(spec, seeds)[0], rows)
        self.order_SN = batch_order(self.learner.seeds, self.task.train_inputs.shape[1], FIRST_TASK, 0, CPU)
        self.learner.start_task(FIRST_TASK, self.task)
        self.learner.start_epoch(FIRST_TASK, 0)
        if diverged:
            with torch.no_grad():
                for weight in self.learner.params.values():
                    weight[-1].fill_(torch.nan)
        self.steps: EpochSteps = train_epoch(self.learner.step, self.task, self.order_SN, batch_size(spec))

    def measure(self) -> Any:
        component: Any = self.subject.component
        place = FIRST_TASK, 0
        return compute(
            component, metric_inputs(self.subject.spec, self.learner, self.task, self.order_SN, place, self.steps)
        )
