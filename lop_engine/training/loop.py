"""The training loop: task after task, epoch after epoch, a stack of seeds in step.

Dimensions: S seeds, N examples of a task, B batch.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lop_engine.device.background import made_ahead, works_beside
from lop_engine.device.gather import gathered
from lop_engine.device.transfers import pinned
from lop_engine.experiment.spec import Spec
from lop_engine.generators import seed_generators
from lop_engine.metrics import Measurement, MetricInputs, weight_magnitude
from lop_engine.problems import Task
from lop_engine.streams import Stream, order
from lop_engine.training.cuda_graph import Step, fast_step
from lop_engine.training.learner import Learner

Metrics = dict[str, list[float]]
"""One value a seed, by metric name."""


@dataclass(frozen=True, order=True)
class Position:
    """Where training stands: `epoch` epochs of task `task` are done. The end of a task is (task + 1, 0)."""

    task: int = 0
    epoch: int = 0


@dataclass(frozen=True)
class EpochReport:
    """What the loop says after an epoch."""

    task: int
    epoch: int
    facts: list[dict[str, Any]]
    """Of each seed, what is recorded of the task beside its metrics."""
    measurement: Measurement | None
    """None for an epoch that is not recorded (`metrics_every`); omits metrics that are not due (`curvature_every`)."""
    task_seconds: float | None
    """Wall time of the task so far in this process; None before the task's last epoch."""
    position: Position

    @cached_property
    def metrics(self) -> Metrics | None:
        """The metrics of a recorded epoch. The first call waits for the device."""
        return _as_lists(self.measurement) if self.measurement else None


@dataclass
class EpochSteps:
    """What the steps of an epoch leave, of each batch before its update: scores and losses, (S,) each."""

    scores: list[Tensor] = field(default_factory=list)
    """Empty for a problem without a score."""
    losses: list[Tensor] = field(default_factory=list)

    def mean_loss(self) -> Tensor:
        """Mean loss over the steps, (S,)."""
        return torch.stack(self.losses).mean(0)


def train(
    spec: Spec,
    learner: Learner,
    device: torch.device,
    report: Callable[[EpochReport], None],
    start: Position = Position(),
    cuda_graphs: bool = True,
) -> None:
    """Train a stack of seeds from `start` to the end of the spec's last task.

    Args:
        report: called after every epoch; may raise to stop the training there.
        cuda_graphs: on a GPU, launch each step as a CUDA graph.
    Raises:
        CaptureError, ReplayError: the step does not work as a CUDA graph here.
    """
    first_epoch, step, problem = start.epoch, fast_step(learner, device, cuda_graphs), learner.problem
    orders = batch_orders(learner.seeds, problem.num_examples, places(spec, start), device, problem.shuffles)
    tasks = problem.tasks(learner.seeds, device, start.task, learner.dtype)
    for index, task in enumerate(tasks, start=start.task):
        began = time.perf_counter()
        if first_epoch == 0:
            learner.start_task(index, task)
        for epoch in range(first_epoch, spec.num_showings):
            learner.start_epoch(index, epoch)
            order_SN = next(orders)
            steps = train_epoch(step, task, order_SN, spec.mini_batch_size)
            last = epoch + 1 == spec.num_showings
            if last:
                learner.end_task(index)
            measurement = None
            if spec.metrics_after(epoch):
                measurement = start_measuring(spec, learner, task, order_SN, (index, epoch), steps)
            seconds = time.perf_counter() - began if last else None
            position = Position(index + 1, 0) if last else Position(index, epoch + 1)
            report(EpochReport(index, epoch, task.facts, measurement, seconds, position))
        first_epoch = 0


def train_epoch(step: Step, task: Task, order_SN: Tensor, batch_size: int) -> EpochSteps:
    """One pass over the task's training set."""
    steps = EpochSteps()
    for index_SB in order_SN.split(batch_size, dim=1):
        result = step(gathered(task.train_inputs, index_SB), gathered(task.train_targets, index_SB))
        steps.losses.append(result.loss_S)
        if result.score_S is not None:
            steps.scores.append(result.score_S)
    return steps


def start_measuring(
    spec: Spec, learner: Learner, task: Task, order_SN: Tensor, place: tuple[int, int], steps: EpochSteps
) -> Measurement:
    """The metrics that the spec records after epoch `place`, of the current networks; all NaN for a diverged seed.

    Does not wait for a GPU: training may continue meanwhile.
    """
    inputs = metric_inputs(spec, learner, task, order_SN, place, steps)
    sound_S = steps.mean_loss().isfinite() & weight_magnitude(learner.params).isfinite()
    return Measurement(spec.metrics_after(place[1]), inputs, sound_S)


def metric_inputs(
    spec: Spec, learner: Learner, task: Task, order_SN: Tensor, place: tuple[int, int], steps: EpochSteps
) -> MetricInputs:
    """What metrics look at after epoch `place`."""
    return MetricInputs(
        learner.forward,
        learner.problem.loss,
        learner.evaluated(),
        steps.scores,
        steps.losses,
        gathered(task.train_inputs, order_SN),
        gathered(task.train_targets, order_SN),
        task.test_inputs,
        task.test_targets,
        learner.net.by_unit,
        spec.mini_batch_size,
        spec.curvature_images,
        seed_generators(learner.seeds, Stream.CURVATURE, *place, device=order_SN.device),
    )


def measure_epoch(
    spec: Spec, learner: Learner, task: Task, order_SN: Tensor, place: tuple[int, int], steps: EpochSteps
) -> Metrics:
    """Wait for the result of `start_measuring` and return it."""
    return _as_lists(start_measuring(spec, learner, task, order_SN, place, steps))


def _as_lists(measurement: Measurement) -> Metrics:
    return {name: values_S.tolist() for name, values_S in measurement.result().items()}


def places(spec: Spec, start: Position) -> Iterator[tuple[int, int]]:
    """(task, epoch) of every epoch from `start` on."""
    for task in range(start.task, spec.num_tasks):
        for epoch in range(start.epoch if task == start.task else 0, spec.num_showings):
            yield task, epoch


def batch_orders(
    seeds: Sequence[int],
    num_examples: int,
    epochs: Iterable[tuple[int, int]],
    device: torch.device,
    shuffles: bool = True,
) -> Iterator[Tensor]:
    """The order of each of `epochs` (task, epoch) on the device, (S, N) int64. On a GPU a thread makes the next.

    Args:
        shuffles: a fresh permutation for every seed and epoch; else the order in which the examples come.
    """
    make_order = partial(_batch_order if shuffles else _in_order, seeds, num_examples)

    def make(epoch: tuple[int, int]) -> Tensor:
        return pinned(make_order(*epoch), device)

    made = made_ahead(make, epochs, device, "next-order") if works_beside(device) else map(make, epochs)
    return (order_SN.to(device, non_blocking=True) for order_SN in made)


def batch_order(seeds: Sequence[int], num_examples: int, task: int, epoch: int, device: torch.device) -> Tensor:
    """The order of an epoch, a fresh permutation for every seed, (S, N) int64."""
    return _batch_order(seeds, num_examples, task, epoch).to(device)


def _batch_order(seeds: Sequence[int], num_examples: int, task: int, epoch: int) -> Tensor:
    return torch.from_numpy(np.stack([order(num_examples, seed, Stream.BATCH_ORDER, task, epoch) for seed in seeds]))


def _in_order(seeds: Sequence[int], num_examples: int, task: int, epoch: int) -> Tensor:
    return torch.arange(num_examples).repeat(len(seeds), 1)
