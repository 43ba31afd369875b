"""How much memory the workers of a plan take, roughly: within 30 % of what workers on a CPU were measured to take."""

from collections.abc import Iterable, Mapping
from math import prod

from lop_engine.experiment.spec import Spec
from lop_engine.launch.plan import CURVATURE_BATCH, WORKER_BYTES_ON_GPU, Plan, run_bytes_on_gpu
from lop_engine.rundir import RunDir

WORKER_BYTES = 280 * 2**20
"""Python, torch and its libraries, whatever is trained."""
COPIES_OF_WEIGHTS = 14
"""Weights, gradients, the state of optimiser and method, and what an update makes on its way."""


def run_bytes(spec: Spec) -> int:
    """Bytes that one more run takes in a worker on a CPU; 0 if problem and network do not say their sizes."""
    problem, network = spec.parts.problem, spec.parts.network
    if problem.shapes is None or network.size is None:
        return 0
    input_shape, num_outputs = problem.shapes(spec)
    size = network.size(spec.own(network.fields), input_shape, num_outputs)
    example, num_train = 4 * prod(input_shape), problem.num_examples(spec)
    of_curvature = min(CURVATURE_BATCH, spec.curvature_images or num_train) if "curvature" in spec.metrics else 0
    task = (num_train + problem.num_test_examples(spec)) * example * 5 // 4  # and what is stored of the next one
    directions = 25 * of_curvature * example  # ten, and their making
    activations = max(min(spec.mini_batch_size, num_train), of_curvature) * size.example_bytes
    return task + directions + activations + 4 * COPIES_OF_WEIGHTS * size.num_parameters


def worker_bytes(specs: Iterable[Spec], device: str) -> int | None:
    """Bytes of a worker that trains runs of these specs, one a run, in the memory of its device; None if unknown.

    On a GPU it is the upper limit that the plan counts with.
    """
    specs = list(specs)
    of_each = {spec: run_bytes(spec) if device == "cpu" else run_bytes_on_gpu(spec) for spec in set(specs)}
    if not all(of_each.values()):
        return None
    return (WORKER_BYTES if device == "cpu" else WORKER_BYTES_ON_GPU) + sum(of_each[spec] for spec in specs)


def largest_worker(plan: Plan, specs: Mapping[RunDir, Spec]) -> tuple[int, int] | None:
    """Bytes and runs of the worker of a plan that takes the most memory; None if unknown."""
    device = plan.resources.devices[0]
    of_each = [(worker_bytes((specs[run_dir] for run_dir in stack), device), len(stack)) for stack in plan.stacks]
    known = [(num_bytes, num_runs) for num_bytes, num_runs in of_each if num_bytes]
    return max(known) if known and len(known) == len(of_each) else None
