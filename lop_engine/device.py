"""Set up a process, and each thread that calls CUDA, for the device it computes on."""

import torch

from lop_engine.precision import compute_in_full


def prepare_device(device: torch.device) -> None:
    """Set this process up to compute on `device`: full float32 precision, and the same bits in every run.

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
