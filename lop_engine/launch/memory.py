"""How much memory the workers of a plan take, roughly: within 30 % of what workers on a CPU were measured to take."""

from collections.abc import Iterable, Mapping, Sequence
from math import prod

from lop_engine.experiment.components import Size
from lop_engine.experiment.spec import Spec
from lop_engine.runs.directory import RunDir
from lop_engine.streams import steps_drawn_at_once

WORKER_BYTES = 280 * 2**20
"""Python, torch and its libraries, whatever is trained."""
WORKER_BYTES_ON_GPU = 3 * 2**30
"""What a worker takes whatever its runs: libraries, their workspace, and the curvature's images in flight."""
CURVATURE_BATCH = 100
COPIES_OF_WEIGHTS = 14
"""Weights, gradients, the state of optimiser and method, and what an update makes on its way."""
WEIGHTS_ON_GPU = 8
"""The same on a GPU, which frees what an update makes weight by weight."""


def described_size(spec: Spec) -> tuple[int, Size] | None:
    """Bytes of an example's input, and the size of the network; None if the descriptions do not say."""
    problem, network = spec.parts.problem, spec.parts.network
    if problem.shapes is None or network.size is None:
        return None
    input_shape, num_outputs = problem.shapes(spec)
    return 4 * prod(input_shape), network.size(spec.own(network.fields), input_shape, num_outputs)


def run_bytes(spec: Spec) -> int:
    """Bytes that one more run takes in a worker on a CPU; 0 if problem and network do not say their sizes."""
    described = described_size(spec)
    if described is None:
        return 0
    example, size = described
    num_train, num_test = spec.parts.problem.num_examples(spec), spec.parts.problem.num_test_examples(spec)
    of_curvature = min(CURVATURE_BATCH, spec.curvature_images or num_train) if "curvature" in spec.metrics else 0
    task = (num_train + num_test) * example * 5 // 4  # and what is stored of the next one
    directions = 25 * of_curvature * example  # ten, and their making
    activations = max(min(spec.mini_batch_size, num_train), of_curvature) * size.example_bytes
    return task + directions + activations + 4 * COPIES_OF_WEIGHTS * size.num_parameters


def run_bytes_on_gpu(spec: Spec) -> int:
    """Upper limit on the bytes of one more run in a stack, including 50 % that the allocator may be unable to reuse.

    171 MiB at the paper's protocol. Without the 50 % and the random numbers, it is what a CPU uses
    (`tests/engine/test_other_devices.py`). A GPU draws the random numbers of an epoch's steps together, up to
    `streams.DRAWN_AT_ONCE_BYTES`. Shrink-and-perturb needs one per weight: 12 steps x 177,218 x 4 bytes = 8.5 MB per
    seed, 255 MB for 30, plus those of the current step. Other methods need fewer.

    0 if the descriptions of problem and network do not say their sizes.
    """
    described = described_size(spec)
    if described is None:
        return 0
    example, size = described
    num_train, num_test = spec.parts.problem.num_examples(spec), spec.parts.problem.num_test_examples(spec)
    # As stored (a byte a value), as seen, and in the epoch's order.
    task = (num_train + num_test) * example * 9 // 4
    directions = 25 * min(CURVATURE_BATCH, num_train) * example  # ten, and their making
    activations = max(spec.mini_batch_size, CURVATURE_BATCH) * size.example_bytes
    numbers = size.num_parameters
    random_numbers = 4 * numbers * (1 + steps_drawn_at_once(spec.steps_per_epoch, numbers))
    weights = 4 * WEIGHTS_ON_GPU * numbers
    return 3 * (task + directions + activations + random_numbers + weights) // 2


def worker_bytes(specs: Iterable[Spec], device: str) -> int | None:
    """Bytes of a worker that trains runs of these specs, one a run, in the memory of its device; None if unknown.

    On a GPU it is the upper limit that the plan counts with.
    """
    specs = list(specs)
    of_each = {spec: run_bytes(spec) if device == "cpu" else run_bytes_on_gpu(spec) for spec in set(specs)}
    if not all(of_each.values()):
        return None
    return (WORKER_BYTES if device == "cpu" else WORKER_BYTES_ON_GPU) + sum(of_each[spec] for spec in specs)


def largest_worker(
    stacks: Sequence[Sequence[RunDir]], device: str, specs: Mapping[RunDir, Spec]
) -> tuple[int, int] | None:
    """Bytes and runs of the worker that takes the most memory, of those that train `stacks`; None if unknown."""
    of_each = [(worker_bytes((specs[run_dir] for run_dir in stack), device), len(stack)) for stack in stacks]
    known = [(num_bytes, num_runs) for num_bytes, num_runs in of_each if num_bytes]
    return max(known) if known and len(known) == len(of_each) else None
