"""THE training loop: task after task, epoch after epoch, a stack of seeds in step.

Dimensions: S seeds, N images of a task, B batch, C channels, H W image sides.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lop_engine import metrics
from lop_engine.datasets import ImageSet, TaskImages, load_task, task_classes
from lop_engine.learners import Learner, accuracy
from lop_engine.metrics.curvature import random_directions
from lop_engine.metrics.ranks import singular_values
from lop_engine.nets import seed_generators
from lop_engine.spec import Spec
from lop_engine.streams import Stream, order

TEST_BATCH = 100

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
    classes: list[list[int]]
    """The task's classes, a list a seed."""
    metrics: Metrics | None
    """None for an epoch that is not recorded (`metrics_every`)."""
    task_seconds: float | None
    """Wall time of the task so far in this process; None before the task's last epoch."""
    position: Position


@dataclass(frozen=True)
class Task:
    """A task of every seed, on the device; images channels-last in memory."""

    classes: list[list[int]]
    train_SNCHW: Tensor
    train_labels_SN: Tensor
    test_SNCHW: Tensor
    test_labels_SN: Tensor


def train(
    spec: Spec,
    learner: Learner,
    images: ImageSet,
    device: torch.device,
    report: Callable[[EpochReport], None],
    start: Position = Position(),
) -> None:
    """Train a stack of seeds from `start` to the end of the spec's last task.

    Args:
        report: called after every epoch; may raise to stop the training there.
    """
    first_epoch = start.epoch
    for index, task in enumerate(tasks(spec, learner.seeds, images, device, start.task), start=start.task):
        began = time.perf_counter()
        if spec.new_heads and first_epoch == 0:
            learner.reset_head()
        for epoch in range(first_epoch, spec.num_showings):
            learner.start_epoch(index, epoch)
            order_SN = batch_order(learner.seeds, task.train_labels_SN.shape[1], index, epoch, device)
            train_accuracy_S, loss_S = train_epoch(spec, learner, task, order_SN)
            last = epoch + 1 == spec.num_showings
            measured = None
            if last or (spec.metrics_every and (epoch + 1) % spec.metrics_every == 0):
                measured = measure(spec, learner, task, order_SN, index, epoch, train_accuracy_S, loss_S)
            seconds = time.perf_counter() - began if last else None
            position = Position(index + 1, 0) if last else Position(index, epoch + 1)
            report(EpochReport(index, epoch, task.classes, measured, seconds, position))
        first_epoch = 0


def train_epoch(spec: Spec, learner: Learner, task: Task, order_SN: Tensor) -> tuple[Tensor, Tensor]:
    """One pass over the task's training set; return mean batch accuracy before each update, and mean loss, (S,)."""
    rows_S1 = torch.arange(order_SN.shape[0], device=order_SN.device).unsqueeze(1)
    accuracies, losses = [], []
    for index_SB in order_SN.split(spec.mini_batch_size, dim=1):
        result = learner.step(task.train_SNCHW[rows_S1, index_SB], task.train_labels_SN[rows_S1, index_SB])
        accuracies.append(result.accuracy_S)
        losses.append(result.loss_S)
    return torch.stack(accuracies).mean(0), torch.stack(losses).mean(0)


def measure(
    spec: Spec,
    learner: Learner,
    task: Task,
    order_SN: Tensor,
    task_index: int,
    epoch: int,
    train_accuracy_S: Tensor,
    loss_S: Tensor,
) -> Metrics:
    """Every metric of the network as it stands after an epoch; all NaN for a seed that has diverged.

    A network without hidden layers has no dormant units and no ranks: those are left out.
    """
    rows_S1 = torch.arange(order_SN.shape[0], device=order_SN.device).unsqueeze(1)
    curved_SN = order_SN[:, : spec.curvature_images or None]
    generators = seed_generators(learner.seeds, Stream.CURVATURE, task_index, epoch, device=order_SN.device)
    curved_SNCHW = task.train_SNCHW[rows_S1, curved_SN]
    values = {
        "train_accuracy": train_accuracy_S,
        "test_accuracy": test_accuracy(learner, task),
        "curvature": metrics.curvature(
            learner.net,
            learner.params,
            curved_SNCHW,
            task.train_labels_SN[rows_S1, curved_SN],
            random_directions(curved_SNCHW, generators),
        ),
        "weight_magnitude": metrics.weight_magnitude(learner.params),
    }
    hidden = learner.evaluate(task.train_SNCHW[rows_S1, order_SN[:, : spec.mini_batch_size]]).hidden
    if hidden:
        spectrum_SF = singular_values(hidden[-1])
        values["dormant_proportion"] = metrics.dormant_proportion(hidden)
        values["effective_rank"] = metrics.effective_rank(spectrum_SF)
        values["stable_rank"] = metrics.stable_rank(spectrum_SF)
    sound_S = loss_S.isfinite() & values["weight_magnitude"].isfinite()
    # One transfer for all metrics: the only place where an epoch waits for the device.
    table = torch.stack([torch.where(sound_S, v, torch.nan) for v in values.values()]).cpu()
    return dict(zip(values, table.tolist(), strict=True))


def test_accuracy(learner: Learner, task: Task) -> Tensor:
    """Mean over test batches of 100 of the batch accuracy, (S,)."""
    images = task.test_SNCHW.split(TEST_BATCH, dim=1)
    labels = task.test_labels_SN.split(TEST_BATCH, dim=1)
    return torch.stack([accuracy(learner.evaluate(x).logits_SBO, y) for x, y in zip(images, labels, strict=True)]).mean(
        0
    )


def batch_order(seeds: Sequence[int], num_images: int, task: int, epoch: int, device: torch.device) -> Tensor:
    """The order of an epoch, a fresh permutation for every seed, (S, N) int64."""
    rows = [order(num_images, seed, Stream.BATCH_ORDER, task, epoch) for seed in seeds]
    return torch.from_numpy(np.stack(rows)).to(device)


def tasks(spec: Spec, seeds: Sequence[int], images: ImageSet, device: torch.device, start: int = 0) -> Iterator[Task]:
    """The tasks from `start` on. The next one is read while the present one trains."""

    def load(index: int) -> list[TaskImages]:
        pairs = [task_classes(seed, index, images.num_classes, spec.num_classes) for seed in seeds]
        return [load_task(images, pair, spec.train_images, spec.test_images) for pair in pairs]

    with ThreadPoolExecutor(1, thread_name_prefix="next-task") as pool:
        coming: Future[list[TaskImages]] = pool.submit(load, start)
        for index in range(start, spec.num_tasks):
            loaded = coming.result()
            if index + 1 < spec.num_tasks:
                coming = pool.submit(load, index + 1)
            yield Task(
                [task.classes for task in loaded],
                _to_device([task.train for task in loaded], device),
                torch.from_numpy(np.stack([task.train_labels for task in loaded])).to(device),
                _to_device([task.test for task in loaded], device),
                torch.from_numpy(np.stack([task.test_labels for task in loaded])).to(device),
            )


def _to_device(images: list[np.ndarray], device: torch.device) -> Tensor:
    """Stack (N, C, H, W) arrays into (S, N, C, H, W) on the device, channels last in memory."""
    stacked = np.stack([np.ascontiguousarray(array.transpose(0, 2, 3, 1)) for array in images])
    return torch.from_numpy(stacked).to(device).permute(0, 1, 4, 2, 3)
