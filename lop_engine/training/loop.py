"""The training loop over tasks and epochs, for a stack of seeds.

Dimensions: S seeds, N examples of a task, B batch.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import repeat
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lop_engine.device.background import made_ahead, works_beside
from lop_engine.device.transfers import gathered, pinned
from lop_engine.experiment.components import count_of
from lop_engine.experiment.spec import Spec
from lop_engine.generators import seed_generators
from lop_engine.metrics import Measurement, MetricInputs, measure, weight_magnitude
from lop_engine.problems import Task
from lop_engine.streams import Stream, order
from lop_engine.training import fused
from lop_engine.training.cuda_graph import Step, fast_step
from lop_engine.training.learner import Learner
from lop_engine.training.record import EpochSteps

Metrics = dict[str, list[float]]
"""One value per seed, by metric name."""


@dataclass(frozen=True, order=True)
class Position:
    """Position of the training: `epoch` epochs of task `task` are done, or parts of a task in parts.

    The end of a task is (task + 1, 0).
    """

    task: int = 0
    epoch: int = 0


@dataclass(frozen=True)
class EpochReport:
    """Report of the loop after an epoch, or a part of a task in parts."""

    task: int
    epoch: int
    """0 for every part: the parts together are the task's only epoch."""
    facts: list[dict[str, Any]]
    """Facts of the task that are recorded for each seed besides metrics."""
    measurement: Measurement | None
    """None for an epoch that is not recorded (`metrics_every`); omits metrics that are not due (`curvature_every`)."""
    task_seconds: float | None
    """Wall time of the task so far in this process; None before the task's last epoch."""
    position: Position

    @cached_property
    def metrics(self) -> Metrics | None:
        """Return the metrics of a recorded epoch. The first call waits for the device."""
        return _as_lists(self.measurement) if self.measurement else None


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
        report: called after every epoch; may raise an exception to stop the training.
        cuda_graphs: on a GPU, launch each step as a CUDA graph.
    Raises:
        CaptureError, ReplayError: CUDA graphs fail on this GPU.
    """
    first_part, train_part, problem = start.epoch, part_trainer(learner, device, cuda_graphs), learner.problem
    orders: Iterator[Tensor | None] = repeat(None)
    if problem.shuffles and not spec.examples_per_part:
        orders = batch_orders(learner.seeds, problem.num_examples, places(spec, start), device)
    tasks = problem.tasks(learner.seeds, device, start.task, learner.dtype)
    for index, task in enumerate(tasks, start=start.task):
        began = time.perf_counter()
        if first_part == 0:
            learner.start_task(index, task)
            learner.record.start(measure_start(spec, learner, task, index))
        for part in range(first_part, spec.num_parts):
            learner.start_epoch(index, part)
            task, order_SN = task.part(part), next(orders)
            steps = train_part(task, order_SN)
            last = part + 1 == spec.num_parts
            if last:
                learner.end_task(index)
            epoch = 0 if spec.examples_per_part else part
            measurement = None
            if spec.metrics_after(part):
                measurement = start_measuring(spec, learner, task, order_SN, (index, part), steps)
            seconds = time.perf_counter() - began if last else None
            position = Position(index + 1, 0) if last else Position(index, part + 1)
            report(EpochReport(index, epoch, task.facts, measurement, seconds, position))
        first_part = 0


def part_trainer(
    learner: Learner, device: torch.device, cuda_graphs: bool = True
) -> Callable[[Task, Tensor | None], EpochSteps]:
    """Return a function that trains an epoch, or a part of a task in parts, as fast as the device allows.

    It takes the task and the order of its examples, and returns the results of the steps; for a task in parts the means
    over the task so far.
    """
    if (kernel := fused.kernel_for(learner, device)) and fused.has_numba():
        train_part = kernel(learner)
        return lambda task, order_SN: learner.record.add_sums(*train_part(task))
    step, batch_size = fast_step(learner, device, cuda_graphs), learner.spec.mini_batch_size
    return lambda task, order_SN: learner.record.add(train_epoch(step, task, order_SN, batch_size))


def train_epoch(step: Step, task: Task, order_SN: Tensor | None, batch_size: int) -> EpochSteps:
    """Train one pass over the task's training set, in each run's order or, without one, in the examples' order."""
    steps = EpochSteps()
    for batch in _batches(task, order_SN, batch_size):
        result = step(*batch)
        steps.losses.append(result.loss_S)
        if result.score_S is not None:
            steps.scores.append(result.score_S)
    return steps


def _batches(task: Task, order_SN: Tensor | None, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    if order_SN is None:
        yield from zip(task.train_inputs.split(batch_size, 1), task.train_targets.split(batch_size, 1), strict=True)
        return
    for index_SB in order_SN.split(batch_size, dim=1):
        yield gathered(task.train_inputs, index_SB), gathered(task.train_targets, index_SB)


def measure_start(spec: Spec, learner: Learner, task: Task, index: int) -> dict[str, Tensor]:
    """Return the metrics that the spec measures at a task's start, (S,) on the host; waits for the device."""
    if not spec.start_metrics:
        return {}
    count = count_of(spec.parts.problem.start_examples, spec)
    inputs = metric_inputs(spec, learner, task, None, (index, 0), EpochSteps())
    return measure(
        spec.start_metrics, replace(inputs, batch_size=count, first_batch=_first_examples(spec, task, count))
    )


def _first_examples(spec: Spec, task: Task, count: int) -> Iterator[Tensor]:
    """Return the inputs of a task's first `count` examples, or of all if it has fewer, reading part by part."""
    for part in range(spec.num_parts if spec.examples_per_part else 1):
        inputs = task.part(part).train_inputs[:, :count]
        yield inputs
        count -= inputs.shape[1]
        if count <= 0:
            return


def start_measuring(
    spec: Spec, learner: Learner, task: Task, order_SN: Tensor | None, place: tuple[int, int], steps: EpochSteps
) -> Measurement:
    """Start measuring the metrics after epoch `place`, of the current networks; all NaN for a diverged seed.

    Does not wait for a GPU: training may continue in the meantime.
    """
    inputs = metric_inputs(spec, learner, task, order_SN, place, steps)
    sound_S = steps.mean_loss().isfinite() & weight_magnitude(learner.params).isfinite()
    return Measurement(spec.metrics_after(place[1]), inputs, sound_S, learner.record.measured)


def metric_inputs(
    spec: Spec, learner: Learner, task: Task, order_SN: Tensor | None, place: tuple[int, int], steps: EpochSteps
) -> MetricInputs:
    """Return the input of the metrics after epoch `place`."""
    return MetricInputs(
        learner.forward,
        learner.problem.loss,
        learner.evaluated(),
        steps.scores,
        steps.losses,
        task.train_inputs if order_SN is None else gathered(task.train_inputs, order_SN),
        task.train_targets if order_SN is None else gathered(task.train_targets, order_SN),
        task.test_inputs,
        task.test_targets,
        learner.net.by_unit,
        spec.mini_batch_size,
        spec.curvature_images,
        seed_generators(learner.seeds, Stream.CURVATURE, *place, device=task.train_targets.device),
    )


def measure_epoch(
    spec: Spec, learner: Learner, task: Task, order_SN: Tensor | None, place: tuple[int, int], steps: EpochSteps
) -> Metrics:
    """Wait for the result of `start_measuring` and return it."""
    return _as_lists(start_measuring(spec, learner, task, order_SN, place, steps))


def _as_lists(measurement: Measurement) -> Metrics:
    return {name: values_S.tolist() for name, values_S in measurement.result().items()}


def places(spec: Spec, start: Position) -> Iterator[tuple[int, int]]:
    """Yield (task, epoch) of every epoch from `start` on."""
    for task in range(start.task, spec.num_tasks):
        for epoch in range(start.epoch if task == start.task else 0, spec.num_parts):
            yield task, epoch


def batch_orders(
    seeds: Sequence[int],
    num_examples: int,
    epochs: Iterable[tuple[int, int]],
    device: torch.device,
) -> Iterator[Tensor]:
    """Yield the order of each of `epochs` (task, epoch) on the device, (S, N) int64; with a GPU, made by a thread."""
    make_order = partial(host_batch_order, seeds, num_examples)

    def make(epoch: tuple[int, int]) -> Tensor:
        return pinned(make_order(*epoch), device)

    made = made_ahead(make, epochs, device, "next-order") if works_beside(device) else map(make, epochs)
    return (order_SN.to(device, non_blocking=True) for order_SN in made)


def batch_order(seeds: Sequence[int], num_examples: int, task: int, epoch: int, device: torch.device) -> Tensor:
    """Return the order of an epoch, a new permutation for every seed, (S, N) int64."""
    return host_batch_order(seeds, num_examples, task, epoch).to(device)


def host_batch_order(seeds: Sequence[int], num_examples: int, task: int, epoch: int) -> Tensor:
    """Return `batch_order` in host memory."""
    return torch.from_numpy(np.stack([order(num_examples, seed, Stream.BATCH_ORDER, task, epoch) for seed in seeds]))
