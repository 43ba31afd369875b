"""Rules of the seed axis: a seed is the same experiment alone and in a stack, with any neighbours.

Dimensions: S seeds.
"""

import torch
from torch import Tensor

from lop_engine.problems import Task
from lop_engine.testing.course import State, begin, copied, go_on, learner_of, of_seeds, same, tasks_of
from lop_engine.testing.subject import Subject
from lop_engine.training.learner import Learner

SEED, OTHERS = 7, (4, 9, 5, 8)
ATTEMPTS = (7, 107, 1007)
"""Seeds that are tried alone and in a stack. For a single one, rounding may change a choice of units."""
TOLERANCE = 0.02
"""Tolerance of a tensor's change relative to that in a stack: the order of additions differs."""
ROUNDING = 1e-5
"""Additional tolerance, as a fraction of the tensor."""

ADVICE = "keep the first axis apart (no mean or sum over it), and take each seed's random numbers from its own stream"


def neighbours_have_no_effect(subject: Subject) -> None:
    """Check that a seed has the same bits whichever seeds share its stack, diverged ones included. Raises RuleError."""
    seeds = (SEED, *OTHERS)
    tasks = tasks_of(subject.spec, seeds)
    state, losses = _in_stack(subject, tasks, seeds, (1, 0, 2))
    for row, diverged in (((3, 0, 2), False), ((1, 0, 4), True)):
        other, other_losses = _in_stack(subject, tasks, seeds, row, diverged)
        for name, tensor in ({"the loss": losses} | state).items():
            if not same(tensor[1], ({"the loss": other_losses} | other)[name][1]):
                beside = "that has diverged" if diverged else "that is another"
                raise subject.broken(f'seeds mix: "{_own(name)}" of a seed depends on a neighbour {beside}', ADVICE)


def a_seed_is_the_same_alone(subject: Subject) -> None:
    """Check that a seed alone learns the same as in a stack, up to rounding. Raises RuleError."""
    wrong = None
    for seed in ATTEMPTS:
        seeds = (seed, *OTHERS)
        tasks = tasks_of(subject.spec, seeds)
        wrong = _first_apart(_alone_and_stacked(subject, tasks, seeds))
        if wrong is None:
            return
    raise subject.broken(f'seeds mix: "{_own(wrong or "")}" of a seed differs between a stack and alone', ADVICE)


def _in_stack(
    subject: Subject, tasks: list[Task], seeds: tuple[int, ...], rows: tuple[int, ...], diverged: bool = False
) -> tuple[State, Tensor]:
    """Train some of `seeds` together; return their state, and losses (S, steps).

    Args:
        diverged: the last one's weights are NaN from the start.
    """
    learner = learner_of(subject.spec, [seeds[row] for row in rows])
    if diverged:
        with torch.no_grad():
            for weight in learner.params.values():
                weight[-1].fill_(torch.nan)
    losses = _train(learner, [of_seeds(task, rows) for task in tasks])
    return learner.state(), losses


def _train(learner: Learner, tasks: list[Task]) -> Tensor:
    return torch.cat([begin(learner, tasks), go_on(learner, tasks)]).T


def _alone_and_stacked(subject: Subject, tasks: list[Task], seeds: tuple[int, ...]) -> list[tuple[State, State]]:
    """Return a seed's states at the start and at the end, alone and in a stack."""
    pairs = []
    for rows in ((0,), (1, 0, 2)):
        learner = learner_of(subject.spec, [seeds[row] for row in rows])
        before = copied(learner.state())
        losses = _train(learner, [of_seeds(task, rows) for task in tasks])
        after = learner.state() | {"the loss": losses}
        place = rows.index(0)
        starts = before | {"the loss": torch.zeros_like(losses)}
        pairs.append(({k: v[place] for k, v in starts.items()}, {k: v[place] for k, v in after.items()}))
    return pairs


def _first_apart(pair: list[tuple[State, State]]) -> str | None:
    """Return the first tensor whose change differs, or None."""
    (start, end), (stacked_start, stacked_end) = pair
    for name, tensor in start.items():
        if not same(tensor, stacked_start[name]):
            return name
        change, expected = (one[name].double() - tensor.double() for one in (end, stacked_end))
        if not expected.isfinite().all() and not change.isfinite().all():
            continue
        allowed = TOLERANCE * expected.norm() + ROUNDING * stacked_end[name].double().norm()
        if not (change - expected).norm() <= allowed:
            return name
    return None


def _own(name: str) -> str:
    return name.removeprefix("mechanism.")
