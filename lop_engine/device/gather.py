"""Take each run's own examples out of a stack's."""

import torch
from torch import Tensor


def gathered(examples: Tensor, places_SB: Tensor) -> Tensor:
    """The examples (S, N, ...) at each run's places, (S, B, ...)."""
    if examples.device.type == "cpu" or examples.dim() == 2:
        rows_S1 = torch.arange(len(places_SB), device=places_SB.device).unsqueeze(1)
        return examples[rows_S1, places_SB]
    # For a GPU: whole examples are copied, as they lie in memory.
    strides = examples.stride()
    order = sorted(range(2, examples.dim()), key=lambda axis: -strides[axis])
    laid_out = examples.permute(0, 1, *order)
    num_runs, num_examples = laid_out.shape[:2]
    first_S1 = torch.arange(0, num_runs * num_examples, num_examples, device=places_SB.device).unsqueeze(1)
    taken = laid_out.flatten(0, 1).index_select(0, (places_SB + first_S1).flatten())
    back = [order.index(axis) + 2 for axis in range(2, examples.dim())]
    return taken.unflatten(0, places_SB.shape).permute(0, 1, *back)
