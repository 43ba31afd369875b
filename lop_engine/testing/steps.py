"""Rules of a training step: seed axis, static shapes, in-place changes, no waiting, and replaying as a graph.

`Recorder` records the operations of a step and runs them again, as a CUDA graph does.

Dimensions: S seeds, B batch.
"""

from collections.abc import Hashable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lop_engine.testing.course import (
    FIRST_TASK,
    State,
    batches,
    begin,
    copied,
    first_difference,
    first_step,
    go_on,
    learner_of,
    step_numbers,
    tasks_of,
)
from lop_engine.testing.subject import Subject
from lop_engine.training.learner import Learner

Call = tuple[Any, tuple[Any, ...], dict[str, Any], Any]
"""An operation, its arguments and what it returned."""


class OperationMode(TorchDispatchMode):
    """Base of modes that intercept operations. torch's own would import its compiler, which takes seconds."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


class Recorder(OperationMode):
    """Records each operation, its arguments and the tensors it returned."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[Call] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        returned = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, returned))
        return returned


@torch.no_grad()
def replay(calls: Iterable[Call]) -> None:
    """Run operations again on the same tensors, without the Python code between them."""
    for func, args, kwargs, returned in calls:
        again = func(*args, **kwargs)
        for tensor, new in zip(tree_leaves(returned), tree_leaves(again), strict=True):
            if isinstance(tensor, Tensor) and tensor.data_ptr() != new.data_ptr():
                tensor.copy_(new)


SEEDS = (4, 7, 9)

_TO_HOST = {"tolist", "numpy", "cpu", "__array__", "__repr__", "__format__"}
"""Functions of a tensor that need its values on the host, but are not operations."""


def has_seed_axis(subject: Subject) -> None:
    """Check that every tensor of the state, and the loss, has the seed as its first axis. Raises RuleError."""
    one, three = (learner_of(subject.spec, seeds).state() for seeds in (SEEDS[:1], SEEDS))
    for name, value in three.items():
        if not isinstance(value, Tensor) or not isinstance(one.get(name), Tensor):
            raise subject.broken(
                f'state without a seed axis: "{_own(name)}" is {type(value).__name__}',
                "keep it as a tensor with a number for each seed, (S,)",
            )
        expected, actual = (len(SEEDS), *one[name].shape[1:]), tuple(value.shape)
        if one[name].shape[:1] != (1,) or actual != expected:
            raise subject.broken(
                f'state without a seed axis: "{_own(name)}" has shape {actual} with {len(SEEDS)} seeds and '
                f"{tuple(one[name].shape)} with one",
                "make the seed its first axis, (S, ...)",
            )
    learner = learner_of(subject.spec, SEEDS)
    loss_S = first_step(learner, tasks_of(subject.spec, SEEDS))
    penalty_S = learner.method.penalty(learner.params)
    shapes = {"the loss of a step": loss_S.shape} | ({} if penalty_S is None else {"penalty": penalty_S.shape})
    for name, shape in shapes.items():
        if shape != (len(SEEDS),):
            raise subject.broken(
                f"{name} has shape {tuple(shape)} with {len(SEEDS)} seeds", "make it a number for each seed, (S,)"
            )


def changes_in_place(subject: Subject) -> None:
    """Check that a step keeps the tensors of the state, and their shapes. Raises RuleError."""
    learner = learner_of(subject.spec, SEEDS)
    before = learner.state()
    for name, tensor in learner.state().items():
        if tensor.data_ptr() != before[name].data_ptr():
            raise subject.broken(f'state() copies "{_own(name)}"', "return the tensor itself")
    tasks = tasks_of(subject.spec, SEEDS)
    for part in (first_step, begin, go_on):
        part(learner, tasks)
        _compare(subject, before, learner.state())


def _compare(subject: Subject, before: State, after: State) -> None:
    for name in sorted(before.keys() ^ after.keys()):
        raise subject.broken(
            f'the state has "{_own(name)}" only {"before" if name in before else "after"} a step',
            "make every tensor of the state in __init__ or init",
        )
    for name, tensor in before.items():
        if tensor.shape != after[name].shape:
            raise subject.broken(
                f'a step changes the shape of "{_own(name)}" from {tuple(tensor.shape)} to {tuple(after[name].shape)}',
                "keep shapes, and choose with masks",
            )
        if tensor.data_ptr() != after[name].data_ptr():
            raise subject.broken(
                f'a step puts a new tensor in place of "{_own(name)}"',
                "change the tensor itself: copy_, mul_, add_, lerp_",
            )


class _WaitingError(Exception):
    """A step needs a value on the host."""


class _ShapeError(Exception):
    """The shape of a result depends on values."""


class _NoValues(TorchFunctionMode):
    """Refuses functions of tensors that read values on the host without an operation."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        to_cpu = func is Tensor.to and "cpu" in map(str, (*args[1:], *(kwargs or {}).values()))
        if to_cpu or (getattr(func, "__name__", "") in _TO_HOST and args and isinstance(args[0], Tensor)):
            raise _WaitingError
        return func(*args, **(kwargs or {}))


class _NoWaiting(OperationMode):
    """Refuses operations that make the host wait for a GPU."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.Tag.data_dependent_output in func.tags:
            raise _WaitingError
        name = func.overloadpacket.__name__
        varies = torch.Tag.dynamic_output_shape in func.tags and name != "index"  # only with a mask
        if varies or _selects_by_mask(name, args):
            raise _ShapeError
        return func(*args, **(kwargs or {}))


def _selects_by_mask(name: str, args: Any) -> bool:
    """Whether an operation is x[mask], or x[mask] = values; a GPU can fill with a single value without waiting."""
    if name not in ("index", "index_put", "index_put_", "_index_put_impl_"):
        return False
    is_masked = any(one is not None and one.dtype in (torch.bool, torch.uint8) for one in args[1])
    return is_masked and (name == "index" or args[2].numel() != 1)


def never_waits(subject: Subject) -> None:
    """Check that a step needs no value of a tensor on the host, and no shape depends on one. Raises RuleError."""
    learner = learner_of(subject.spec, SEEDS)
    tasks = tasks_of(subject.spec, SEEDS)
    learner.start_task(FIRST_TASK, tasks[0])
    learner.start_epoch(FIRST_TASK, 0)
    for number, batch in zip(step_numbers(learner.method), batches(learner.spec, tasks[0]), strict=False):
        learner.method.step = number
        learner.method.draw()  # outside of the step, which a graph repeats
        try:
            with _NoWaiting(), _NoValues():  # type: ignore[no-untyped-call]
                learner.learn(*batch)
        except _WaitingError as error:
            raise subject.broken(
                "a step asks for a tensor's value, for which a GPU has to wait",
                "compute with the tensor, and choose with masks (torch.where)",
                error,
            ) from error
        except _ShapeError as error:
            raise subject.broken(
                "in a step a shape depends on the values of a tensor",
                "keep shapes, and choose with masks (torch.where, masked_fill_)",
                error,
            ) from error


def can_be_replayed(subject: Subject) -> None:
    """Check that repeating the operations of a step has the same effect, as a CUDA graph requires. Raises RuleError."""
    eager, replayed = learner_of(subject.spec, SEEDS), learner_of(subject.spec, SEEDS)
    task = tasks_of(subject.spec, SEEDS)[0]
    for learner in (eager, replayed):
        learner.start_task(FIRST_TASK, task)
        learner.start_epoch(FIRST_TASK, 0)
    recorded: dict[Hashable, tuple[Recorder, Tensor, Tensor]] = {}
    for number in step_numbers(eager.method) * 2:
        inputs, targets = next(batches(eager.spec, task))
        eager.method.step = replayed.method.step = number
        kind = replayed.method.variant
        if kind not in recorded:
            for learner in (eager, replayed):
                learner.method.draw()
            recorded[kind] = _record(replayed, inputs.clone(), targets.clone())
        replayed.method.draw()
        recorder, own_inputs, own_targets = recorded[kind]
        own_inputs.copy_(inputs)
        own_targets.copy_(targets)
        replay(recorder.calls)
        eager.step(inputs, targets)
        name = first_difference(eager.state(), replayed.state())
        if name:
            raise subject.broken(
                f'a step changes "{_own(name)}" otherwise when its operations are repeated, as a CUDA graph does',
                "numbers that change from step to step are tensors that change in place, or follow from `variant`",
            )


def _record(learner: Learner, inputs: Tensor, targets: Tensor) -> tuple[Recorder, Tensor, Tensor]:
    """Return the operations of a step on these tensors; the state is restored."""
    before = copied(learner.state())
    with Recorder() as recorder:
        learner.learn(inputs, targets)
    learner.load_state(before)
    return recorder, inputs, targets


def _own(name: str) -> str:
    """Return the name that `Method.state` gives a tensor of a learner's state."""
    return name.removeprefix("mechanism.")
