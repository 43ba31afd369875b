"""Rule of trainability: the loss of a method, network or problem falls on a task that is repeated."""

import torch
from torch import Tensor

from lop_engine.testing.course import FIRST_TASK, learner_of, tasks_of
from lop_engine.testing.subject import Subject
from lop_engine.training.learner import Learner

SEEDS = (4, 7)
EPOCH = 10
"""Number of steps whose mean loss is compared."""
MOST_EPOCHS = 40
FACTORS = (1, 10)
SHARE = 0.05
"""Share of the first loss by which it must fall."""


def lowers_the_loss(subject: Subject) -> None:
    """Check that the loss on one repeated batch falls by a twentieth within 400 steps. Raises RuleError.

    Tries the experiment's step size, then ten times as much: a small convolutional network begins on a plateau.
    """
    for factor in FACTORS:
        spec = subject.spec.with_changes(step_size=factor * subject.spec.step_size)
        first_S, last_S = _losses(learner_of(spec, SEEDS))
        if _has_fallen(first_S, last_S):
            return
    raise subject.broken(
        f"the loss does not fall on an easy task: from {_shown(first_S)} to {_shown(last_S)} in "
        f"{MOST_EPOCHS * EPOCH} steps of two seeds",
        "look at the signs of the changes, and try another step_size",
    )


def _losses(learner: Learner) -> tuple[Tensor, Tensor]:
    """Return mean losses of the first and the last steps, (S,) each; stops when they have fallen enough."""
    task = tasks_of(learner.spec, SEEDS)[0]
    learner.start_task(FIRST_TASK, task)
    means: list[Tensor] = []
    for epoch in range(MOST_EPOCHS):
        learner.start_epoch(FIRST_TASK, epoch)
        losses = [learner.step(task.train_inputs, task.train_targets).loss_S for _ in range(EPOCH)]
        means.append(torch.stack(losses).mean(0))
        if _has_fallen(means[0], means[-1]):
            break
    return means[0], means[-1]


def _has_fallen(first_S: Tensor, last_S: Tensor) -> bool:
    return bool((last_S < first_S - SHARE * first_S.abs()).all())


def _shown(values_S: Tensor) -> str:
    return " and ".join(f"{value:.3g}" for value in values_S.tolist())
