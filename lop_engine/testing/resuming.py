"""Rules of resuming: repeatable numbers, a complete state, and a run that resumes with the same bits."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from lop_engine.methods.method import Setup
from lop_engine.networks import Network
from lop_engine.runs.files import StopRequested
from lop_engine.testing.course import (
    CPU,
    FIRST_TASK,
    begin,
    copied,
    epoch,
    first_difference,
    go_on,
    learner_of,
    next_task,
    same,
    tasks_of,
)
from lop_engine.testing.subject import Subject
from lop_engine.training.learner import Learner
from lop_engine.training.loop import EpochReport, Position, train

SEEDS = (4, 7)
START = Position()
MAX_DEPTH = 4
"""Depth to which attributes of attributes are compared."""


def is_repeatable(subject: Subject) -> frozenset[str]:
    """Check that training again from the start computes the same numbers. Raises RuleError.

    Returns:
        Attributes that differ nevertheless, such as times.
    """
    one, other = (learner_of(subject.spec, SEEDS) for _ in range(2))
    for learner in (one, other):
        tasks = tasks_of(subject.spec, SEEDS)
        begin(learner, tasks)
        go_on(learner, tasks)
    name = first_difference(one.state(), other.state())
    if name:
        raise subject.broken(
            f'training twice from the same seeds gives different numbers ("{name}")',
            "draw random numbers with setup.step_numbers, or from seed_generators (lop_engine.generators)",
        )
    return frozenset(_different(one, other))


def state_is_whole(subject: Subject) -> None:
    """Check that a learner that loads a state continues like the original. Raises RuleError.

    It must also have the same tensors and numbers: anything stored only in an attribute is lost when a run resumes.
    """
    by_clock = is_repeatable(subject)
    first, second = (learner_of(subject.spec, SEEDS) for _ in range(2))
    tasks = tasks_of(subject.spec, SEEDS)
    begin(first, tasks)
    second.load_state(copied(first.state()))
    for learner in (first, second):
        epoch(learner, tasks[0], FIRST_TASK, 1)
    _compare(subject, first, second, by_clock)
    for learner in (first, second):
        next_task(learner, tasks)
    _compare(subject, first, second, by_clock)


def _compare(subject: Subject, first: Learner, second: Learner, by_clock: frozenset[str]) -> None:
    lost = sorted(_different(first, second) - by_clock)
    name = first_difference(first.state(), second.state())
    if lost or name:
        what = f"self.{lost[0]}" if lost else f'"{name}"'
        raise subject.broken(
            f"the state is incomplete: {what} differs after a resume",
            "return every tensor that outlives a step in state() (of a network: in buffers()); a counter is such a "
            "tensor, or follows from self.step",
        )


def _different(one: Learner, other: Learner) -> set[str]:
    """Return the attributes of the learners' methods and networks that differ, or that one of them lacks."""
    ours, theirs = _held(one), _held(other)
    return {
        name
        for name in ours.keys() | theirs.keys()
        if name not in ours or name not in theirs or not _alike(ours[name], theirs[name])
    }


def _alike(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Generator):
        return torch.equal(one.get_state(), other.get_state())
    return same(one, other) if isinstance(one, Tensor) else bool(one == other or one != one)


def _held(learner: Learner) -> dict[str, Any]:
    """Return tensors, generators and numbers in attributes, by name."""
    state: dict[str, Any] = {}
    seen = {id(one) for one in (learner.optimizer, learner.net, learner.method)}
    for owner in (learner.method, learner.net):
        for name, value in vars(owner).items():
            if isinstance(value, bool | int | float):
                state[name] = value
            else:
                state.update(_tensors(value, name, seen, MAX_DEPTH))
    return state


def _tensors(value: Any, name: str, seen: set[int], depth: int) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Tensor | torch.Generator):
        yield name, value
        return
    if depth == 0 or id(value) in seen or isinstance(value, Setup | Network | type):
        return
    seen.add(id(value))
    if isinstance(value, Mapping):
        parts = [(f"{name}[{key!r}]", one) for key, one in value.items()]
    elif isinstance(value, list | tuple):
        parts = [(f"{name}[{index}]", one) for index, one in enumerate(value)]
    elif hasattr(value, "__dict__") and not callable(value):
        parts = [(f"{name}.{key}", one) for key, one in vars(value).items()]
    else:
        return
    for path, one in parts:
        yield from _tensors(one, path, seen, depth - 1)


def resumes(subject: Subject) -> None:
    """Check that a run that is stopped after an epoch or part and resumed has the same records and final bits.

    The whole run is trained, with its problem's tasks. Raises RuleError.
    """
    spec = subject.spec
    whole, first = _run(subject)
    for stop in (Position(0, 1), Position(1, 0)):
        if stop.epoch >= spec.num_parts or stop.task >= spec.num_tasks:
            continue
        begun, stopped = _run(subject, stop_at=stop)
        resumed = learner_of(spec, SEEDS)
        resumed.load_state(copied(stopped.state()))
        rest, second = _run(subject, resumed, stop)
        name = first_difference(first.state(), second.state())
        if name or not _same_records(whole, begun + rest):
            what = f'"{name}" differs' if name else "the metrics differ"
            raise subject.broken(
                f"a resume after task {stop.task}, epoch {stop.epoch} changes the run: {what}",
                "return every tensor that outlives a step in state(); tasks and random numbers are functions of seed, "
                "task and epoch",
            )


def _run(
    subject: Subject, learner: Learner | None = None, start: Position = START, stop_at: Position | None = None
) -> tuple[list[EpochReport], Learner]:
    """Train with the loop, until the end of an epoch."""
    learner, reports = learner or learner_of(subject.spec, SEEDS), []

    def report(one: EpochReport) -> None:
        reports.append(one)
        if one.position == stop_at:
            raise StopRequested

    with suppress(StopRequested):
        train(subject.spec, learner, CPU, report, start)
    return reports, learner


def _same_records(one: list[EpochReport], other: list[EpochReport]) -> bool:
    """Whether all metrics are equal; NaNs are equal."""
    return [repr((a.task, a.epoch, a.metrics)) for a in one] == [repr((a.task, a.epoch, a.metrics)) for a in other]
