"""Learners: one algorithm a file, by name in `lop_engine.methods`."""

from collections.abc import Sequence
from importlib import import_module

import torch

from lop_engine.learners.learner import Learner, Mechanism, StepResult, accuracy, cross_entropy
from lop_engine.methods import METHODS
from lop_engine.nets import Params, build_net
from lop_engine.optimizers import build_optimizer
from lop_engine.spec import Spec

__all__ = ["Learner", "Mechanism", "StepResult", "accuracy", "build_learner", "cross_entropy"]


def build_learner(spec: Spec, seeds: Sequence[int], device: torch.device, params: Params | None = None) -> Learner:
    """A learner for a stack of seeds.

    Args:
        params: weights with a leading seed axis, taken as they are (their memory layout, too) in place of the seeds'
            own initialisation.
    """
    net = build_net(spec)
    params = net.init(seeds, device) if params is None else params
    optimizer = build_optimizer(spec, params)
    mechanism: Mechanism = import_module(METHODS[spec.method]).build(spec, net, params, optimizer, seeds)
    return Learner(net, params, optimizer, mechanism, seeds, spec.precision)
