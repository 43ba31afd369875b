"""torch generators of random streams."""

from collections.abc import Sequence

import torch

from lop_engine.streams import Stream, torch_seed


def seed_generators(
    seeds: Sequence[int], stream: Stream, *counters: int, device: torch.device
) -> list[torch.Generator]:
    """Return a generator per seed, which depends only on (seed, stream, counters)."""
    return [torch.Generator(device).manual_seed(torch_seed(seed, stream, *counters)) for seed in seeds]
