"""The methods. One algorithm a file; `MECHANISMS` is the registry."""

from collections.abc import Callable, Sequence

import torch

from lop_engine.learners.generate_and_test import GenerateAndTest
from lop_engine.learners.learner import Learner, Mechanism, Plain, StepResult, accuracy, cross_entropy
from lop_engine.learners.perturbation import Perturbation
from lop_engine.nets import Net, Params, build_net, channels_last
from lop_engine.optimizers import Optimizer, build_optimizer
from lop_engine.spec import Spec

__all__ = ["Learner", "Mechanism", "StepResult", "accuracy", "build_learner", "cross_entropy"]

Build = Callable[[Spec, Net, Params, Optimizer, Sequence[int]], Mechanism]

MECHANISMS: dict[str, Build] = {
    "bp": lambda spec, net, params, optimizer, seeds: Plain(),
    "l2": lambda spec, net, params, optimizer, seeds: Plain(),
    "linear": lambda spec, net, params, optimizer, seeds: Plain(),
    "snp": lambda spec, net, params, optimizer, seeds: Perturbation(params, seeds, spec.perturb_scale),
    "cbp": GenerateAndTest,  # type: ignore[dict-item]
}


def build_learner(spec: Spec, seeds: Sequence[int], device: torch.device, params: Params | None = None) -> Learner:
    """A learner for a stack of seeds; `params` (with the seed axis) replaces the seeds' own initialisation."""
    net = build_net(spec)
    if params is None:
        params = net.init(seeds, device)
    else:
        params = {name: channels_last(weight.detach().clone().to(device)) for name, weight in params.items()}
    optimizer = build_optimizer(spec, params)
    return Learner(net, params, optimizer, MECHANISMS[spec.method](spec, net, params, optimizer, seeds), seeds)
