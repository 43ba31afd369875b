"""Shrink and perturb (Ash & Adams 2020): weight decay shrinks, Gaussian noise perturbs.

After every optimiser step N(0, perturb_scale^2) is added to every weight and bias, the head included.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from lop_engine.learners.learner import Mechanism
from lop_engine.nets import Net, Params, seed_generators
from lop_engine.optimizers import Optimizer
from lop_engine.spec import Spec
from lop_engine.streams import Stream, torch_seed


class Perturbation(Mechanism):
    """Noise of standard deviation `scale`, from a stream of each seed's own."""

    def __init__(self, params: Params, seeds: Sequence[int], scale: float) -> None:
        self.scale, self.seeds = scale, list(seeds)
        weight = next(iter(params.values()))
        self._noise_SN = torch.empty(len(seeds), sum(w[0].numel() for w in params.values()), device=weight.device)
        self._generators = seed_generators(seeds, Stream.PERTURBATION, device=weight.device)

    def start_epoch(self, task: int, epoch: int) -> None:
        for seed, generator in zip(self.seeds, self._generators, strict=True):
            generator.manual_seed(torch_seed(seed, Stream.PERTURBATION, task, epoch))

    def draw(self) -> None:
        for noise_N, generator in zip(self._noise_SN, self._generators, strict=True):
            noise_N.normal_(generator=generator)

    def after_update(self, params: Params, hidden: list[Tensor]) -> None:
        start = 0
        for weight in params.values():
            size = weight[0].numel()
            weight.add_(self._noise_SN[:, start : start + size].view(weight.shape), alpha=self.scale)
            start += size


def build(spec: Spec, net: Net, params: Params, optimizer: Optimizer, seeds: Sequence[int]) -> Perturbation:
    return Perturbation(params, seeds, spec.perturb_scale)
