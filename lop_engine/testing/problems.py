"""Rules of a problem's tasks and loss.

Dimensions: S seeds, N examples of a task.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

import torch
from torch import Tensor

from lop_engine.experiment.spec import Spec
from lop_engine.problems import Problem, Task
from lop_engine.testing.course import CPU, dtype_of, of_seeds, problem_of, same
from lop_engine.testing.subject import Subject

SEEDS = (4, 7)
SHARE = 1e-3
"""Share of a task's numbers that may differ in a stack: rounding may change a label."""
_TRAINED = ("train_inputs", "train_targets")
ADVICE = "make every number a function of seed and task: one generator for each, as seed_generators makes them"


def tasks_have_their_shapes(subject: Subject) -> None:
    """Check that tasks have the seeds, examples and shapes of the problem, and the loss a number for each seed.

    Raises RuleError.
    """
    problem = problem_of(subject.spec)
    if next(_tasks(subject, SEEDS[:1]), None) is None:
        raise subject.broken("there are no tasks", "yield those of range(start, self.spec.num_tasks)")
    for index, task in enumerate(_tasks(subject, SEEDS)):
        expected = (len(SEEDS), _num_examples(subject.spec, problem), *problem.input_shape)
        if tuple(task.train_inputs.shape) != expected:
            raise subject.broken(
                f"the inputs of task {index} have shape {tuple(task.train_inputs.shape)}, not {expected}",
                "make them (seeds, examples_per_task, *input_shape), the same in every task",
            )
        if tuple(task.train_targets.shape[:2]) != expected[:2] or len(task.facts) != len(SEEDS):
            raise subject.broken(
                f"task {index} has targets of shape {tuple(task.train_targets.shape)} and facts of {len(task.facts)} "
                f"seeds, with {len(SEEDS)} seeds and {expected[1]} examples",
                "make targets (seeds, examples) or (seeds, examples, outputs), and facts a dict for each seed",
            )
        if "test set" in subject.spec.parts.problem.provides and task.test_inputs is None:
            raise subject.broken(f"task {index} has no test examples", 'give Task some, or do not provide "test set"')
        _check_loss(subject, problem, task)


def _check_loss(subject: Subject, problem: Problem, task: Task) -> None:
    targets = task.train_targets[:, :4]
    outputs = torch.zeros(*targets.shape[:2], problem.num_outputs, dtype=task.train_inputs.dtype)
    for what, value_S in (("loss", problem.loss(outputs, targets)), ("score", problem.score(outputs, targets))):
        if value_S is None and what == "score":
            continue
        if not isinstance(value_S, Tensor) or value_S.shape != (len(SEEDS),):
            shape = tuple(value_S.shape) if isinstance(value_S, Tensor) else type(value_S).__name__
            raise subject.broken(
                f"{what} returns {shape} with {len(SEEDS)} seeds", "return the batch's mean for each seed, (S,)"
            )


def tasks_are_functions_of_seed_and_task(subject: Subject) -> None:
    """Check that a task is the same in a run that begins at it, and alone and in a stack. Raises RuleError."""
    later = _tasks(subject, SEEDS, start=1)
    for index, (task, alone) in enumerate(zip(_tasks(subject, SEEDS), _tasks(subject, SEEDS[1:2]), strict=False)):
        if not _alike(of_seeds(task, [1]), alone, SHARE):
            if not _alike(task, next(islice(_tasks(subject, SEEDS), index, None))):
                raise subject.broken(f"task {index} has other numbers when it is made again", ADVICE)
            raise subject.broken(f"seeds mix: task {index} of a seed differs between a stack and alone", ADVICE)
        if index == 1 and not _alike(task, next(later)):
            raise subject.broken("task 1 differs in a run that begins at it", ADVICE)


def there_are_as_many_tasks_as_asked_for(subject: Subject) -> None:
    """Check that there are exactly `num_tasks` tasks. Raises RuleError."""
    num_tasks = subject.spec.num_tasks
    yielded = sum(1 for _ in islice(problem_of(subject.spec).tasks(SEEDS, CPU), num_tasks + 1))
    if yielded != num_tasks:
        raise subject.broken(
            f"there are {'more' if yielded > num_tasks else 'fewer'} tasks than num_tasks ({num_tasks})",
            "yield those of range(start, self.spec.num_tasks)",
        )


def _tasks(subject: Subject, seeds: Sequence[int], start: int = 0) -> Iterator[Task]:
    """Return the first two tasks from `start` on; for a task in parts the first and last part, joined."""
    spec, problem = subject.spec, problem_of(subject.spec)
    for task in islice(problem.tasks(seeds, CPU, start, dtype_of(spec)), 2 - start):
        if spec.examples_per_part and task.make_part is None:
            raise subject.broken("a task has no parts", "give Task a make_part, as examples_per_part says there is")
        parts = [task.part(part) for part in _parts(spec)]
        inputs, targets = (torch.cat([getattr(one, name) for one in parts], 1) for name in _TRAINED)
        yield replace(task, train_inputs=inputs, train_targets=targets)


def _num_examples(spec: Spec, problem: Problem) -> int:
    """Return the examples of a task that `_tasks` yields."""
    size = spec.examples_per_part or problem.num_examples
    return sum(min(size, problem.num_examples - part * size) for part in _parts(spec))


def _parts(spec: Spec) -> list[int]:
    """Return the first part of a task and the last."""
    return sorted({0, spec.num_parts - 1 if spec.examples_per_part else 0})


def _alike(one: Task, other: Task, share: float = 0) -> bool:
    """Whether tasks are equal, except for a share of their numbers."""
    if one.facts != other.facts:
        return False
    for field in ("train_inputs", "train_targets", "test_inputs", "test_targets"):
        ours, theirs = getattr(one, field), getattr(other, field)
        if (ours is None) != (theirs is None):
            return False
        if ours is None or same(ours, theirs):
            continue
        if ours.shape != theirs.shape or not share:
            return False
        far = ~torch.isclose(ours.double(), theirs.double(), rtol=1e-4, atol=1e-6, equal_nan=True)
        if far.double().mean() > share:
            return False
    return True
