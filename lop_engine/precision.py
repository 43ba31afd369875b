"""How exactly the training step computes: float32 throughout, or faster and rounded.

Only forward and backward pass of a training step are ever rounded. Weights, optimiser and what a method remembers stay
float32, and so do all metrics: the curvature is a difference of nearly equal gradients and means nothing rounded.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from lop_engine.experiment.spec import Precision


def compute_in_full() -> None:
    """Let this process round nothing on its own: torch's convolutions on a GPU would otherwise compute in TF32."""
    _allow("ieee")


@contextmanager
def training_precision(precision: Precision, device_type: str) -> Iterator[None]:
    """Within it a training step computes in `precision`.

    ``fp32``: as everything else. ``tf32``: a GPU's matrix products and convolutions take their inputs with 10 bits of
    fraction; a CPU knows no such thing and computes in float32. ``bf16``: inputs with 7 bits (torch.autocast).
    ``fp64``: all tensors of the step are float64 already.
    """
    if precision == "bf16":
        # No cache of rounded weights: they change every step.
        with torch.autocast(device_type, torch.bfloat16, cache_enabled=False):
            yield
    elif precision == "tf32":
        _allow("tf32")
        try:
            yield
        finally:
            _allow("ieee")
    else:
        yield


@contextmanager
def unrounded(device_type: str) -> Iterator[None]:
    """Within it a part of a training step computes in float32 (fp64: float64) whatever the precision of the step."""
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    try:
        with torch.autocast(device_type, enabled=False):
            yield
    finally:
        torch.backends.cuda.matmul.fp32_precision = before


def _allow(precision: Literal["ieee", "tf32"]) -> None:
    torch.backends.cuda.matmul.fp32_precision = precision
    torch.backends.cudnn.conv.fp32_precision = precision  # type: ignore[attr-defined]
