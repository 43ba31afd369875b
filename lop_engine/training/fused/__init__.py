"""Trains a part of a task in one call of a compiled kernel, for online problems with small networks on a CPU.

For a step of batch 1, PyTorch takes longer to launch operations or move memory than to compute. The kernels compute
what `Learner.step` does, up to rounding. Otherwise, or without Numba, the general training loop is used.
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
    """Return the kernel that computes what these runs do, or None; it also needs Numba."""
    kinds: tuple[type[FusedPart], ...] = (RegressionPart, ClassifierPart)
    return next((kind for kind in kinds if device.type == "cpu" and kind.applies(learner)), None)
