"""The random numbers of each training step, from a separate stream for each seed.

Dimensions: S seeds, K steps whose numbers are drawn together, N numbers a step.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lop_engine.experiment.spec import Spec
from lop_engine.generators import seed_generators
from lop_engine.methods.runs import Runs
from lop_engine.networks import Params
from lop_engine.streams import DRAWN_AT_ONCE_ON_CPU_BYTES, Stream, steps_drawn_at_once, torch_seed


class StepNumbers:
    """Draws a step's random numbers into `of_step_SN`, the same tensor every time, as a CUDA graph requires.

    A GPU draws the numbers of an epoch's steps together: one launch per seed and epoch, and one copy per step. On a GPU
    torch's numbers depend on the size of the draw, and for large draws on the GPU's number of multiprocessors
    (pytorch#196613). On a CPU normal numbers also depend on the size of the draw (torch makes them in groups of 16),
    so a CPU draws them step by step and existing runs keep their numbers. It draws uniform numbers, which are the same
    one by one, and all numbers of tasks in parts, for many steps together.

    Args:
        count: numbers a step, N.
        fill: fills a tensor from a generator in place, as `Tensor.normal_` does.
        counters: of the stream, ahead of task and epoch.
        every: one step in `every` draws; a GPU then draws for fewer steps at a time.
    """

    def __init__(
        self,
        spec: Spec,
        seeds: Sequence[int],
        stream: Stream,
        count: int,
        fill: Callable[..., Tensor],
        device: torch.device,
        counters: tuple[int, ...] = (),
        every: int = 1,
    ) -> None:
        self.seeds, self.stream, self.counters, self.fill = list(seeds), stream, counters, fill
        self._generators = seed_generators(seeds, stream, device=device)
        self.of_step_SN = torch.empty(len(seeds), count, device=device)
        at_once = steps_at_once(spec, count, device, every, is_uniform=fill is Tensor.uniform_)
        drawn_one_by_one = self.of_step_SN.unsqueeze(1)
        self._drawn_SKN = drawn_one_by_one if at_once == 1 else torch.empty(len(seeds), at_once, count, device=device)
        self._next = at_once

    def start_epoch(self, task: int, epoch: int) -> None:
        """Set every seed's stream to the start of an epoch."""
        for seed, generator in zip(self.seeds, self._generators, strict=True):
            generator.manual_seed(torch_seed(seed, self.stream, *self.counters, task, epoch))
        self._next = self._drawn_SKN.shape[1]

    def draw(self) -> None:
        """Put the next step's numbers into `of_step_SN`."""
        num_drawn = self._drawn_SKN.shape[1]
        if self._next == num_drawn:
            self.draw_block()
            self._next = 0
        if num_drawn > 1:
            self.of_step_SN.copy_(self._drawn_SKN[:, self._next])
        self._next += 1

    def draw_block(self) -> Tensor:
        """Draw the numbers of the next K steps and return them, (S, K, N): the same as K calls of `draw`."""
        for of_seed_KN, generator in zip(self._drawn_SKN, self._generators, strict=True):
            self.fill(of_seed_KN, generator=generator)
        return self._drawn_SKN


class UnequalNumbers:
    """Random numbers of runs that draw different numbers per step, each as many as it would alone.

    Args:
        counts: numbers a step of each run.
        stream, fill: as of `StepNumbers`.
    """

    def __init__(self, runs: Runs, stream: Stream, counts: Sequence[int], fill: Callable[..., Tensor]) -> None:
        self.groups: list[StepNumbers] = []
        """One for each group of runs that draw the same number."""
        self._rows: list[Tensor] = []
        """The runs of each group."""
        for count in dict.fromkeys(counts):
            rows = [run for run, of_run in enumerate(counts) if of_run == count]
            seeds = [runs.seeds[run] for run in rows]
            self.groups.append(StepNumbers(runs.spec, seeds, stream, count, fill, runs.device))
            self._rows.append(torch.tensor(rows, device=runs.device))
        if len(self.groups) == 1:
            self.of_step_SN = self.groups[0].of_step_SN
        else:
            self.of_step_SN = torch.zeros(len(counts), max(counts), device=runs.device)

    def start_epoch(self, task: int, epoch: int) -> None:
        """Set every run's stream to the start of an epoch."""
        for numbers in self.groups:
            numbers.start_epoch(task, epoch)

    def draw(self) -> None:
        """Put the next step's numbers into `of_step_SN`, each run's at the start of its row."""
        for rows, numbers in zip(self._rows, self.groups, strict=True):
            numbers.draw()
            drawn = numbers.of_step_SN
            if len(self.groups) > 1:
                self.of_step_SN[:, : drawn.shape[1]].index_copy_(0, rows, drawn)


def like_weights(numbers_SN: Tensor, params: Params) -> dict[str, Tensor]:
    """Return views of one number per weight, N in all, by name and in the shape of each weight."""
    sizes = [weight[0].numel() for weight in params.values()]
    parts = numbers_SN.split(sizes, dim=1)
    return {name: part.view(weight.shape) for (name, weight), part in zip(params.items(), parts, strict=True)}


def steps_at_once(spec: Spec, count: int, device: torch.device, every: int = 1, is_uniform: bool = False) -> int:
    """Return K, the steps whose numbers are drawn together on a device, if one step in `every` draws."""
    steps = -(-spec.steps_per_part // every)
    if device.type != "cpu":
        return steps_drawn_at_once(steps, count)
    if not is_uniform and not spec.examples_per_part:
        return 1
    return steps_drawn_at_once(steps, count, DRAWN_AT_ONCE_ON_CPU_BYTES)
