"""A method, network or problem can be trained: the loss falls on a task that is shown again and again."""

import torch
from torch import Tensor

from lop_engine.testing.course import FIRST_TASK, learner_of, tasks_of
from lop_engine.testing.subject import Subject

SEEDS = (4, 7)
EPOCH = 10
"""Steps whose mean loss is compared."""
MOST_EPOCHS = 40
SHARE = 0.05
"""Of the first loss, by which it has to fall."""


def lowers_the_loss(subject: Subject) -> None:
    """On one batch, shown over and over, the loss falls by a twentieth within 400 steps. Raises RuleError."""
    learner = learner_of(subject.spec, SEEDS)
    task = tasks_of(subject.spec, SEEDS, learner.problem)[0]
    learner.start_task(FIRST_TASK, task)
    means: list[Tensor] = []
    for epoch in range(MOST_EPOCHS):
        learner.start_epoch(FIRST_TASK, epoch)
        losses = [learner.step(task.train_inputs, task.train_targets).loss_S for _ in range(EPOCH)]
        means.append(torch.stack(losses).mean(0))
        if bool((means[-1] < means[0] - SHARE * means[0].abs()).all()):
            return
    raise subject.broken(
        f"the loss does not fall on an easy task: from {_shown(means[0])} to {_shown(means[-1])} in "
        f"{MOST_EPOCHS * EPOCH} steps of two seeds",
        "look at the signs of the changes, and try another step_size",
    )


def _shown(values_S: Tensor) -> str:
    return " and ".join(f"{value:.3g}" for value in values_S.tolist())
