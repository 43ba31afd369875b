"""A method, network or problem can be trained: the loss falls on a task that is shown again and again."""

import torch

from lop_engine.testing.course import FIRST_TASK, batches, learner_of, tasks_of
from lop_engine.testing.subject import Subject

SEEDS = (4, 7)
NUM_STEPS = 60


def lowers_the_loss(subject: Subject) -> None:
    """On a few batches, shown over and over, the mean loss of the last steps is below that of the first.

    Raises RuleError.
    """
    learner = learner_of(subject.spec, SEEDS)
    task = tasks_of(subject.spec, SEEDS, learner.problem)[0]
    learner.start_task(FIRST_TASK, task)
    losses = []
    for step, batch in zip(range(NUM_STEPS), batches(subject.spec, task), strict=False):
        if step % 10 == 0:
            learner.start_epoch(FIRST_TASK, step // 10)
        losses.append(learner.step(*batch).loss_S)
    tenth = NUM_STEPS // 6
    first_S, last_S = (torch.stack(part).mean(0) for part in (losses[:tenth], losses[-tenth:]))
    if not bool((last_S < first_S).all()):
        raise subject.broken(
            f"the loss does not fall on an easy task: from {_shown(first_S)} to {_shown(last_S)} in {NUM_STEPS} steps",
            "look at the signs of the changes, and try another step_size",
        )


def _shown(values_S: torch.Tensor) -> str:
    return ", ".join(f"{value:.3g}" for value in values_S.tolist())
