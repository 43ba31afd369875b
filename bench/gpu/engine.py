"""All calls of the checks into `lop_engine`'s training.

If the engine's entry points change, only this module changes with them.

Dimensions: S seeds, N images, B batch.
"""

import dataclasses
import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from lop_engine.bench.jobs import PlainStep
from lop_engine.bench.measure import METHODS as BENCH_METHODS
from lop_engine.bench.measure import paper_spec
from lop_engine.device import prepare_device, training_precision
from lop_engine.experiment import registry
from lop_engine.experiment.parts import Precision
from lop_engine.experiment.problems import CONTINUAL_IMAGENET
from lop_engine.experiment.spec import Spec
from lop_engine.launch.stack_sizes import WORKER_BYTES_ON_GPU, run_bytes_on_gpu
from lop_engine.networks import activations, channels_last, convolution
from lop_engine.networks.fused_convolution import FusedLayer
from lop_engine.networks.fused_convolution import error as fused_error
from lop_engine.problems import Task, build_problem
from lop_engine.training import loop
from lop_engine.training.cuda_graph import Step, fast_step
from lop_engine.training.learner import Learner
from lop_engine.training.record import EpochSteps
from tests.engine import golden
from tests.methods import settings_of

ACTIVATIONS = tuple(activations.ACTIVATIONS)
METRICS = CONTINUAL_IMAGENET.metrics
ALL_METRICS = tuple(name for name, metric in registry.METRICS.items() if "squared error" not in metric.needs)
"""Every metric of a classifier."""
METHODS = registry.METHODS

__all__ = [
    "ALL_METRICS",
    "METRICS",
    "FusedLayer",
    "Learner",
    "PlainStep",
    "Precision",
    "fused_error",
    "prepare_device",
    "training_precision",
]

Batch = tuple[Tensor, Tensor]
PRECISIONS: tuple[Precision, ...] = ("fp32", "tf32", "bf16")
FIGURE_METHODS = ("bp", "l2", "snp", "cbp")
"""The methods of the paper's figure."""

#: In place of `tests.methods.ACTING`, which is for networks an eighth as wide.
_EAGER_REPLACEMENT = {"replacement_rate": 0.01, "maturity_threshold": 3}
_SMALL = {"width": 0.25, "train_images": 40, "test_images": 20, "mini_batch_size": 20, "curvature_images": 20}


@dataclass(frozen=True)
class Setup:
    """The device, and whether to run the small form, which tests the check itself."""

    device: torch.device
    small: bool = False

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    def pick(self, whole: Any, small: Any) -> Any:
        """`small` in the small form, else `whole`."""
        return small if self.small else whole

    def settle(self) -> None:
        """Wait until the device has done all queued work."""
        if self.on_gpu:
            torch.cuda.synchronize(self.device)

    def free(self) -> None:
        """Give unused memory back to the device."""
        gc.collect()
        if self.on_gpu:
            torch.cuda.empty_cache()


def device_problem(name: str) -> str:
    """Return why a device cannot be used and what to do; empty if it can be used."""
    try:
        device = torch.device(name)
    except RuntimeError:
        return f"--device {name}: no such device; name cuda:0, cuda:1 ... or cpu"
    if device.type == "cpu":
        return ""
    if device.type != "cuda" or not torch.cuda.is_available():
        return f"--device {name}: torch {torch.__version__} finds no GPU; --device cpu --small tests the check itself"
    count = torch.cuda.device_count()
    return f"--device {name}: there are {count} GPUs, from cuda:0 on" if (device.index or 0) >= count else ""


@contextmanager
def cudnn_choice(deterministic: bool, benchmark: bool = False) -> Iterator[None]:
    """Set how cuDNN chooses its algorithms in this context. A worker uses deterministic ones, without a benchmark."""
    flags = torch.backends.cudnn
    before = flags.deterministic, flags.benchmark
    flags.deterministic, flags.benchmark = deterministic, benchmark
    try:
        yield
    finally:
        flags.deterministic, flags.benchmark = before


@contextmanager
def convolutions_of_torch() -> Iterator[None]:
    """Compute convolutional layers without lop's kernels in this context."""
    before = convolution.way_of
    convolution.way_of = lambda device: convolution.WAYS["cudnn"]
    try:
        yield
    finally:
        convolution.way_of = before


def in_words(num_seeds: int) -> str:
    """``1 seed``, ``30 seeds``."""
    return "1 seed" if num_seeds == 1 else f"{num_seeds} seeds"


def setting_names() -> list[str]:
    """All methods in the registry, and variants with another optimiser."""
    return [*METHODS, "bp adam", "cbp adam"]


def spec_of(name: str, setup: Setup, **changes: Any) -> Spec:
    """Return settings of a method that make all its parts act within a few steps.

    Args:
        name: a method, which an optimiser or an activation function may follow: ``cbp adam``, ``bp tanh``.
    """
    method, _, other = name.partition(" ")
    fields = METHODS[method].fields.model_fields
    eager = {key: value for key, value in _EAGER_REPLACEMENT.items() if key in fields}
    others = {"activation": other} if other in ACTIVATIONS else {"opt": other, "step_size": 1e-3} if other else {}
    return _paper(method, setup, **(settings_of(method) | eager | others | changes))


def timed_spec(name: str, setup: Setup, **changes: Any) -> Spec:
    """Return the paper's protocol of a method."""
    return _paper(name, setup, **changes)


def _paper(name: str, setup: Setup, **changes: Any) -> Spec:
    base = name if name in BENCH_METHODS else "bp"
    agent = {"agent": name} if name in METHODS and base != name else {}
    return paper_spec(base, **(agent | (_SMALL if setup.small else {}) | changes))


def batches(seeds: Sequence[int], num: int, spec: Spec, device: torch.device) -> Iterator[Batch]:
    """Yield random batches, each seed's own: images (S, B, C, H, W) and labels (S, B). The last but one is short."""
    for number in range(num):
        size = spec.mini_batch_size * 3 // 8 if number == num - 2 else spec.mini_batch_size
        generators = [torch.Generator().manual_seed(1000 * seed + number) for seed in seeds]
        images = torch.stack([torch.randn(size, 32, 32, 3, generator=g) for g in generators])
        labels = torch.stack([torch.randint(0, spec.num_classes, (size,), generator=g) for g in generators])
        yield images.permute(0, 1, 4, 2, 3).to(device), labels.to(device)


@dataclass(frozen=True)
class Trained:
    """The state of a stack before and after some steps, and each step's losses (steps, S)."""

    start: dict[str, Tensor]
    end: dict[str, Tensor]
    losses: Tensor

    def of_seed(self, row: int) -> "Trained":
        """One seed of the stack."""
        start, end = ({name: tensor[row][None] for name, tensor in state.items()} for state in (self.start, self.end))
        return Trained(start, end, self.losses[:, row][:, None])


def train(
    spec: Spec,
    seeds: Sequence[int],
    num: int,
    setup: Setup,
    graphs: bool,
    prepare: Callable[[Learner], None] | None = None,
) -> Trained:
    """Train new seeds for `num` steps on random batches.

    Args:
        graphs: train with the step that a worker uses (CUDA graphs on a GPU); else with the eager step.
        prepare: changes the learner before the first step.
    """
    learner = Learner(spec, seeds, setup.device)
    if prepare:
        prepare(learner)
    start = copy_of(learner.state())
    learner.start_epoch(0, 0)
    step: Step = fast_step(learner, setup.device) if graphs else learner.step
    losses = [step(*batch).loss_S.clone() for batch in batches(seeds, num, spec, setup.device)]
    setup.settle()
    return Trained(start, copy_of(learner.state()), torch.stack(losses))


def golden_losses(
    name: str, setup: Setup, weights_channels_last: bool, num_steps: int, precision: Precision = "fp32"
) -> tuple[Tensor, Tensor]:
    """Return the losses of the first golden steps of two seeds, (steps, 2), and the reference's, (steps, 1)."""
    start = golden.params("init", 2)
    if weights_channels_last:
        start = {key: channels_last(weight) for key, weight in start.items()}
    spec = Spec(agent="bp", num_tasks=1, num_showings=1, precision=precision, **golden.EXPECTED[name])
    start = {key: weight.to(setup.device) for key, weight in start.items()}
    step = fast_step(Learner(spec, [0, 1], setup.device, start), setup.device)
    losses = []
    for images, labels in islice(zip(*golden.training_batches(), strict=True), num_steps):
        batch = (torch.from_numpy(part)[None].repeat(2, *[1] * part.ndim).to(setup.device) for part in (images, labels))
        losses.append(step(*batch).loss_S.cpu())
    return torch.stack(losses), torch.from_numpy(golden.load(f"{name}_20_steps")["losses"])[:num_steps, None]


@dataclass
class Stack:
    """Seeds with a task on their device, as a worker holds them, trained epoch after epoch."""

    setup: Setup
    spec: Spec
    num_seeds: int
    learner: Learner = field(init=False)
    step: Step = field(init=False)
    task: Task = field(init=False)
    epochs: int = 0

    def __post_init__(self) -> None:
        seeds = list(range(self.num_seeds))
        self.learner = Learner(self.spec, seeds, self.setup.device)
        self.step = fast_step(self.learner, self.setup.device)
        self.task = _task(self.spec, self.num_seeds, self.setup.device)
        self.new_order()

    def new_order(self) -> None:
        """Draw the order of the next epoch's images."""
        size = self.task.train_targets.shape[1]
        self._order_SN = loop.batch_order(self.learner.seeds, size, 0, self.epochs, self.setup.device)
        self.learner.start_epoch(0, self.epochs)
        self.epochs += 1

    def train_epoch(self) -> None:
        """Train on every batch of the current order, without waiting for the device."""
        self._last = loop.train_epoch(self.step, self.task, self._order_SN, self.spec.mini_batch_size)

    def measure(self, *names: str) -> dict[str, list[float]]:
        """Measure the spec's metrics, or those named, after `train_epoch`; return one value a seed."""
        place = (0, 0)
        return loop.measure_epoch(self._measuring(names), self.learner, self.task, self._order_SN, place, self._last)

    def start_measuring(self, *names: str) -> object:
        """Queue the same measurement on the device without waiting for it, as a worker does."""
        place = (0, 0)
        return loop.start_measuring(self._measuring(names), self.learner, self.task, self._order_SN, place, self._last)

    def _measuring(self, names: tuple[str, ...]) -> Spec:
        return self.spec.with_changes(**{"metrics": names}) if names else self.spec

    def batch(self) -> Batch:
        """One training batch."""
        size = self.spec.mini_batch_size
        return self.task.train_inputs[:, :size].contiguous(), self.task.train_targets[:, :size].contiguous()

    def on_cpu(self) -> "Stack":
        """Copy the stack, as it is after its epoch, to the CPU."""
        copy = Stack(Setup(torch.device("cpu"), self.setup.small), self.spec, self.num_seeds)
        copy.learner.load_state({name: tensor.cpu() for name, tensor in self.learner.state().items()})
        copy._order_SN = self._order_SN.cpu()
        copy._last = EpochSteps(*([one.cpu() for one in ones] for ones in (self._last.scores, self._last.losses)))
        return copy

    def planned_bytes(self) -> int:
        """Memory that the launcher plans for a worker of this stack."""
        return WORKER_BYTES_ON_GPU + self.num_seeds * run_bytes_on_gpu(self.spec)


LARGEST_STACK = 60
"""Seeds that are tried at most."""


def seeds_that_fit(spec: Spec, setup: Setup) -> int:
    """Return the largest stack that fits the card's free memory by the launcher's plan, at least 1."""
    if not setup.on_gpu:
        return LARGEST_STACK
    free = torch.cuda.mem_get_info(setup.device)[0]
    return max(1, min(LARGEST_STACK, (free - WORKER_BYTES_ON_GPU) // run_bytes_on_gpu(spec)))


_largest: dict[str, Task] = {}


def _task(spec: Spec, num_seeds: int, device: torch.device) -> Task:
    """Return a task of the first seeds. The largest is cached, because making images of many seeds takes seconds."""
    key = f"{device} {spec.train_images} {spec.test_images}"
    task = _largest.get(key)
    if task is None or len(task.facts) < num_seeds:
        _largest.clear()
        one_task = spec.with_changes(**{"num_tasks": 1})  # a second task would be read ahead
        task = next(build_problem(one_task).tasks(list(range(num_seeds)), device))
        _largest[key] = task
    of_seeds = {name: values[:num_seeds] for name, values in vars(task).items() if values is not None}
    return dataclasses.replace(task, **of_seeds)


def forget_tasks() -> None:
    """Free the cached images."""
    _largest.clear()


def copy_of(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in state.items()}
