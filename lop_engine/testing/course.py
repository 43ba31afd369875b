"""Runs a few training steps with all hooks, like the loop, on separate examples for each seed.

Dimensions: S seeds, N examples of a task, B batch.
"""

from collections.abc import Hashable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from lop_engine.experiment.code import load
from lop_engine.experiment.registry import PROBLEMS
from lop_engine.experiment.spec import Spec
from lop_engine.methods.method import Method
from lop_engine.problems import Problem, Task, build_problem
from lop_engine.training.learner import Learner

CPU = torch.device("cpu")
FIRST_TASK = 1
"""Not 0, so that values computed from the task's number differ from initial values."""
NUM_STEPS = 3
MAX_BATCH = 4
MAX_KINDS = 8
"""Most kinds of steps that are tried."""
FAR = 10_000
"""The first step of each kind is searched within this many steps."""

State = dict[str, Tensor]


def learner_of(spec: Spec | Sequence[Spec], seeds: Sequence[int]) -> Learner:
    return Learner(spec, seeds, CPU, problem=problem_of(spec if isinstance(spec, Spec) else spec[0]))


def problem_of(spec: Spec) -> Problem:
    """Return the problem of a spec, built once: it may read data."""
    return _problem(spec, load(spec.parts.problem))


@lru_cache(maxsize=8)
def _problem(spec: Spec, code: Any) -> Problem:
    return build_problem(spec)


def tasks_of(spec: Spec, seeds: Sequence[int]) -> list[Task]:
    """Return two tasks: random stand-ins for a problem of lop, which may need images; else the problem's, shortened."""
    if spec.parts.problem.name in PROBLEMS.built_in:
        return [_stand_in(spec, problem_of(spec), seeds, index) for index in range(2)]
    by_seed = [_own_tasks(spec, load(spec.parts.problem), seed) for seed in seeds]
    return [_side_by_side(tasks) for tasks in zip(*by_seed, strict=True)]


@lru_cache(maxsize=32)
def _own_tasks(spec: Spec, code: Any, seed: int) -> tuple[Task, Task]:
    """Return the first tasks of one seed, copied so that the originals can be freed."""
    problem, count = _problem(spec, code), NUM_STEPS * batch_size(spec)
    tasks = []
    for task in islice(problem.tasks([seed], CPU, 0, dtype_of(spec)), 2):
        parts = (task.train_inputs, task.train_targets, task.test_inputs, task.test_targets)
        tasks.append(Task(task.facts, *(None if one is None else one[:, :count].clone() for one in parts)))  # type: ignore[arg-type]
    return tasks[0], tasks[-1]


def _side_by_side(tasks: Sequence[Task]) -> Task:
    """Combine tasks of single seeds to one task."""
    facts = [fact for task in tasks for fact in task.facts]
    inputs, targets = (torch.cat([getattr(one, name) for one in tasks]) for name in ("train_inputs", "train_targets"))
    if any(one.test_inputs is None or one.test_targets is None for one in tasks):
        return Task(facts, inputs, targets)
    test_inputs, test_targets = (
        torch.cat([getattr(one, name) for one in tasks]) for name in ("test_inputs", "test_targets")
    )
    return Task(facts, inputs, targets, test_inputs, test_targets)


def forget_problems() -> None:
    """Free the cached problems and tasks."""
    _problem.cache_clear()
    _own_tasks.cache_clear()


def batch_size(spec: Spec) -> int:
    return min(MAX_BATCH, spec.mini_batch_size)


def dtype_of(spec: Spec) -> torch.dtype:
    return torch.float64 if spec.precision == "fp64" else torch.float32


def _stand_in(spec: Spec, problem: Problem, seeds: Sequence[int], index: int) -> Task:
    """Return random inputs whose mean identifies their class, or random targets."""
    dtype, num_examples = dtype_of(spec), NUM_STEPS * batch_size(spec)
    generators = [torch.Generator().manual_seed(1000 * seed + index) for seed in seeds]
    shape = (num_examples, *problem.input_shape)
    inputs_SN = torch.stack([torch.randn(shape, generator=g) for g in generators])
    if "labels" not in spec.parts.problem.provides:
        targets = torch.stack([torch.randn(num_examples, problem.num_outputs, generator=g) for g in generators])
        return Task([{} for _ in seeds], inputs_SN.to(dtype), targets.to(dtype))
    labels_SN = torch.stack([torch.randint(0, problem.num_outputs, (num_examples,), generator=g) for g in generators])
    signal_SN = labels_SN - (problem.num_outputs - 1) / 2
    inputs_SN[:, :, 0] += 2 * signal_SN.view(*signal_SN.shape, *[1] * (inputs_SN.dim() - 3))
    return Task([{} for _ in seeds], inputs_SN.to(dtype), labels_SN, inputs_SN.to(dtype), labels_SN)


def of_seeds(task: Task, rows: Sequence[int]) -> Task:
    """Return a task of some of its seeds."""
    test_inputs, test_targets = (
        None if one is None else one[list(rows)] for one in (task.test_inputs, task.test_targets)
    )
    facts = [task.facts[row] for row in rows]
    return Task(facts, task.train_inputs[list(rows)], task.train_targets[list(rows)], test_inputs, test_targets)


def batches(spec: Spec, task: Task) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield a task's batches, repeatedly."""
    size = min(batch_size(spec), task.train_inputs.shape[1])
    whole = task.train_inputs.shape[1] // size * size
    parts = (task.train_inputs[:, :whole].split(size, 1), task.train_targets[:, :whole].split(size, 1))
    while True:
        yield from zip(*parts, strict=True)


def step_numbers(method: Method) -> list[int]:
    """Return the coming steps, and the first step of each other kind (`Method.variant`)."""
    start = method.step
    numbers = list(range(start, start + NUM_STEPS))
    if type(method).variant is not Method.variant:
        kinds: dict[Hashable, int] = {}
        for number in range(start, start + FAR):
            method.step = number
            kinds.setdefault(method.variant, number)
            if len(kinds) == MAX_KINDS:
                break
        method.step = start
        numbers += [number for number in kinds.values() if number not in numbers]
    return numbers


def first_step(learner: Learner, tasks: Sequence[Task]) -> Tensor:
    """Train the first step of a task; return its loss."""
    learner.start_task(FIRST_TASK, tasks[0])
    learner.start_epoch(FIRST_TASK, 0)
    return learner.step(*next(batches(learner.spec, tasks[0]))).loss_S


def begin(learner: Learner, tasks: Sequence[Task]) -> Tensor:
    """Train the first epoch of a task; return the losses, (steps, S)."""
    learner.start_task(FIRST_TASK, tasks[0])
    return epoch(learner, tasks[0], FIRST_TASK, 0)


def go_on(learner: Learner, tasks: Sequence[Task]) -> Tensor:
    """Train another epoch, and the first of the next task; return the losses, (steps, S)."""
    return torch.cat([epoch(learner, tasks[0], FIRST_TASK, 1), next_task(learner, tasks)])


def next_task(learner: Learner, tasks: Sequence[Task]) -> Tensor:
    """End the task, and train the first epoch of the next; return the losses, (steps, S)."""
    learner.end_task(FIRST_TASK)
    learner.start_task(FIRST_TASK + 1, tasks[1])
    return epoch(learner, tasks[1], FIRST_TASK + 1, 0)


def epoch(learner: Learner, task: Task, index: int, number: int) -> Tensor:
    """Train the steps of an epoch; return the losses, (steps, S)."""
    learner.start_epoch(index, number)
    losses = []
    for step, batch in zip(step_numbers(learner.method), batches(learner.spec, task), strict=False):
        learner.method.step = step
        losses.append(learner.step(*batch).loss_S)
    return torch.stack(losses)


def copied(state: State) -> State:
    return {name: tensor.clone() for name, tensor in state.items()}


def same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same bits; NaNs are equal."""
    return one.shape == other.shape and bool(((one == other) | (one.isnan() & other.isnan())).all())


def first_difference(one: State, other: State) -> str | None:
    """Return the name of the first tensor that differs; None if all are equal."""
    return next((name for name, tensor in one.items() if not same(tensor, other[name])), None)
