"""A part of a task as one call of a compiled kernel, for online problems with small networks on a CPU.

A step of batch 1 takes PyTorch longer to launch, or to move through memory, than to compute. The kernels compute what
`Learner.step` does, to rounding. Where none applies, or Numba is missing, training takes the general way.
"""

from importlib.util import find_spec

import torch

from lop_engine.training.fused.classifier import ClassifierPart
from lop_engine.training.fused.part import FusedPart
from lop_engine.training.fused.regression import RegressionPart
from lop_engine.training.learner import Learner


def has_numba() -> bool:
    return find_spec("numba") is not None


def kernel_for(learner: Learner, device: torch.device) -> type[FusedPart] | None:
    """The kernel that computes what these runs do, if there is one; it needs Numba besides."""
    kinds: tuple[type[FusedPart], ...] = (RegressionPart, ClassifierPart)
    return next((kind for kind in kinds if device.type == "cpu" and kind.applies(learner)), None)
