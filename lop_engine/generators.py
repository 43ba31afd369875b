"""torch generators of the random streams."""

from collections.abc import Sequence

import torch

from lop_engine.streams import Stream, torch_seed


def seed_generators(
    seeds: Sequence[int], stream: Stream, *counters: int, device: torch.device
) -> list[torch.Generator]:
    """One generator a seed, which depends on (seed, stream, counters) alone."""
    return [torch.Generator(device).manual_seed(torch_seed(seed, stream, *counters)) for seed in seeds]
