"""Sets up a process and its threads for its device; sets the precision of the training step."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Literal

import torch

from lop_engine.experiment.parts import Precision


def compute_in_full() -> None:
    """Switch off implicit rounding in this process: torch's convolutions on a GPU would otherwise compute in TF32."""
    _allow("ieee")


@contextmanager
def training_precision(precision: Precision, device_type: str) -> Iterator[None]:
    """Context in which a training step computes in `precision`.

    ``fp32``: as everything else. ``tf32``: a GPU's matrix products and convolutions take their inputs with 10 bits of
    fraction; a CPU knows no such thing and computes in float32. ``bf16``: inputs with 7 bits (torch.autocast).
    ``fp64``: all tensors of the step are float64 already.
    """
    if precision == "bf16":
        # No cache of rounded weights, because they change every step.
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
    """Context in which a part of a training step computes in float32 (fp64: float64) in any precision."""
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    try:
        has_autocast = torch.amp.is_autocast_available(device_type)  # the meta device has none
        with torch.autocast(device_type, enabled=False) if has_autocast else nullcontext():
            yield
    finally:
        torch.backends.cuda.matmul.fp32_precision = before


def _allow(precision: Literal["ieee", "tf32"]) -> None:
    torch.backends.cuda.matmul.fp32_precision = precision
    torch.backends.cudnn.conv.fp32_precision = precision  # type: ignore[attr-defined]


def prepare_device(device: torch.device) -> None:
    """Prepare this process to compute on `device`: full float32 precision, and the same bits in every run.

    Call it once, from the main thread, before anything is put on the device; every other thread that calls CUDA
    starts with `use_device`.
    """
    compute_in_full()
    # cuDNN's faster algorithms may sum a convolution's gradients with atomics, in an order that varies between runs.
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    use_device(device)


def use_device(device: torch.device) -> None:
    """Make `device` the current CUDA device of this thread; does nothing for a CPU or for plain ``cuda``.

    The current device is a property of the thread, and GPU 0 until it is set. Streams and CUDA graphs use it
    regardless of where the tensors are: without this, a graph captured for GPU 1 is empty (pytorch#87894).
    """
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
