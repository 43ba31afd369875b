"""All random streams of the project, each a function only of (seed, stream, counters).

So a seed's numbers do not depend on which seeds share its worker, and a run that is resumed at an
epoch needs no saved generator state. Built on PCG64's raw output (a fixed algorithm), so orders are the
same on every machine and numpy version.
"""

import hashlib
from enum import IntEnum

import numpy as np

DRAWN_AT_ONCE_BYTES = 32 * 2**20
"""Most bytes that a seed's random numbers for several steps use on a GPU; an epoch of the paper's snp needs 8.5 MB."""


class Stream(IntEnum):
    """Purpose of a stream. The numbers are part of every result: never change one."""

    CLASS_ORDER = 1
    INITIALISATION = 2
    BATCH_ORDER = 3
    PERTURBATION = 4
    REPLACEMENT = 5
    CURVATURE = 6
    DATASET = 7
    CLASS_IMAGES = 8
    SHARED_TEXTURES = 9
    COMPONENT = 10
    """For methods and problems without their own stream: counted by `name_counter`, task and epoch."""


def name_counter(name: str) -> int:
    """Return a counter for the streams of a component of that name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")


def bits(num_words: int, seed: int, stream: Stream, *counters: int) -> np.ndarray:
    """Return `num_words` random 64-bit words, shape (num_words,), uint64."""
    generator = np.random.PCG64(np.random.SeedSequence([seed, int(stream), *counters]))
    return np.asarray(generator.random_raw(num_words))


def order(length: int, seed: int, stream: Stream, *counters: int) -> np.ndarray:
    """Return a uniform random permutation of 0 .. length - 1, shape (length,), int64."""
    return np.argsort(bits(length, seed, stream, *counters), kind="stable")


def torch_seed(seed: int, stream: Stream, *counters: int) -> int:
    """Return a 63-bit seed for a torch generator."""
    return int(bits(1, seed, stream, *counters)[0]) >> 1  # numpy 1 refuses uint64 >> int


DRAWN_AT_ONCE_ON_CPU_BYTES = 2**18
"""The same limit on a CPU, where a thousand runs may train in one stack."""


def steps_drawn_at_once(steps_per_epoch: int, numbers_per_step: int, most_bytes: int = DRAWN_AT_ONCE_BYTES) -> int:
    """Return the number of steps whose random numbers are drawn together: up to an epoch, and `most_bytes` per seed."""
    return max(1, min(steps_per_epoch, most_bytes // (4 * numbers_per_step)))
