"""Stack sizes: how much memory runs need, and how many are worth training together on a CPU core.

Memory is an estimate: within 30 % of measurements of workers on a CPU.

A step takes Python and torch a fixed time, however many runs the stack has, and time for each run's arithmetic. With a
small network nearly all of it is the fixed time, so hundreds of runs train almost as fast as one. With the ConvNet
nearly all of it is arithmetic, so a larger stack gains nothing. `lop bench --only stacks` measures the best size,
and saves it for each problem, network and host. Other sizes are looked up in a table that ships with
lop, or estimated.
"""

import json
import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from lop_engine.experiment.components import Size, count_of
from lop_engine.experiment.spec import Spec
from lop_engine.files import read_small, replacing
from lop_engine.runs.directory import RunDir
from lop_engine.streams import steps_drawn_at_once

WORKER_BYTES = 280 * 2**20
"""Python, torch and its libraries, independent of what is trained."""
WORKER_BYTES_ON_GPU = 3 * 2**30
"""Memory of a GPU worker independent of its runs: libraries, workspace, and images for the curvature."""
CURVATURE_BATCH = 100
COPIES_OF_WEIGHTS = 14
"""Weights, gradients, the state of optimiser and method, and temporaries of an update."""
COPIES_OF_ACTIVATIONS = 8
"""Those of an example in training (`Size.example_bytes`), for its gradient and its curvature."""
WEIGHTS_ON_GPU = 8
"""The same on a GPU, which frees an update's temporaries weight by weight."""


def described_size(spec: Spec) -> tuple[int, Size] | None:
    """Return bytes of an example's input, and the size of the network; None if the descriptions lack them."""
    problem, network = spec.parts.problem, spec.parts.network
    if problem.shapes is None or network.size is None:
        return None
    input_shape, num_outputs = problem.shapes(spec)
    return 4 * prod(input_shape), network.size(spec.own(network.fields), input_shape, num_outputs)


def run_bytes(spec: Spec) -> int:
    """Return the bytes of one more run in a worker on a CPU; 0 if the descriptions lack sizes."""
    described = described_size(spec)
    if described is None:
        return 0
    example, size = described
    num_train, num_test = _examples(spec)
    of_curvature = min(CURVATURE_BATCH, spec.curvature_images or num_train) if "curvature" in spec.metrics else 0
    task = (num_train + num_test) * example * 5 // 4  # including stored examples of the next task
    directions = 25 * of_curvature * example  # ten, and temporaries
    batch = max(min(spec.mini_batch_size, num_train), of_curvature)
    activations = batch * size.example_bytes + _start_bytes(spec, size)
    return task + directions + activations + 4 * COPIES_OF_WEIGHTS * size.num_parameters


def run_bytes_on_gpu(spec: Spec) -> int:
    """Return an upper limit of the bytes of one more run in a stack, with 50 % for fragmentation of the allocator.

    171 MiB at the paper's protocol. Without the 50 % and the random numbers, it is what a CPU uses
    (`tests/engine/test_other_devices.py`). A GPU draws the random numbers of an epoch's steps together, up to
    `streams.DRAWN_AT_ONCE_BYTES`. Shrink-and-perturb needs one per weight: 12 steps x 177,218 x 4 bytes = 8.5 MB per
    seed, 255 MB for 30, plus those of the current step. Other methods need fewer.

    0 if the descriptions of problem and network lack sizes.
    """
    described = described_size(spec)
    if described is None:
        return 0
    example, size = described
    num_train, num_test = _examples(spec)
    # As stored (a byte per value), as converted, and in the epoch's order.
    task = (num_train + num_test) * example * 9 // 4
    directions = 25 * min(CURVATURE_BATCH, num_train) * example  # ten, and temporaries
    activations = max(spec.mini_batch_size, CURVATURE_BATCH) * size.example_bytes + _start_bytes(spec, size)
    numbers = size.num_parameters
    random_numbers = 4 * numbers * (1 + steps_drawn_at_once(spec.steps_per_part, numbers))
    weights = 4 * WEIGHTS_ON_GPU * numbers
    return 3 * (task + directions + activations + random_numbers + weights) // 2


def _examples(spec: Spec) -> tuple[int, int]:
    """Return the training examples that are in memory together, those of a part or a task, and the test examples."""
    problem = spec.parts.problem
    return spec.examples_per_part or problem.num_examples(spec), problem.num_test_examples(spec)


def _start_bytes(spec: Spec, size: Size) -> int:
    """Return the bytes of the activations that the metrics at a task's start look at, without gradients."""
    if not spec.start_metrics:
        return 0
    return count_of(spec.parts.problem.start_examples, spec) * size.example_bytes // COPIES_OF_ACTIVATIONS


def worker_bytes(specs: Iterable[Spec], device: str) -> int | None:
    """Return the bytes of a worker that trains runs of these specs, in the memory of its device; None if unknown.

    For a GPU it is the upper limit that the plan uses.
    """
    specs = list(specs)
    return _sum_of_worker(specs, _by_spec(specs, device), device)


def _by_spec(specs: Iterable[Spec], device: str) -> dict[Spec, int]:
    """Return the bytes of one more run by spec."""
    return {spec: run_bytes(spec) if device == "cpu" else run_bytes_on_gpu(spec) for spec in set(specs)}


def _sum_of_worker(specs: Sequence[Spec], by_spec: Mapping[Spec, int], device: str) -> int | None:
    of_each = [by_spec[spec] for spec in specs]
    return (WORKER_BYTES if device == "cpu" else WORKER_BYTES_ON_GPU) + sum(of_each) if all(of_each) else None


def largest_worker(
    stacks: Sequence[Sequence[RunDir]], device: str, specs: Mapping[RunDir, Spec]
) -> tuple[int, int] | None:
    """Return bytes and runs of the largest of the workers that train `stacks`; None if unknown."""
    by_spec = _by_spec((specs[run_dir] for stack in stacks for run_dir in stack), device)
    of_each = [(_sum_of_worker([specs[run_dir] for run_dir in stack], by_spec, device), len(stack)) for stack in stacks]
    known = [(num_bytes, num_runs) for num_bytes, num_runs in of_each if num_bytes]
    return max(known) if known and len(known) == len(of_each) else None


MOST_RUNS = 1000
"""Most runs in a stack."""
TOLERANCE = 0.1
"""A stack is large enough if a run costs at most this share more than in the best size."""
FIXED_NS = 2.5e5
"""Fixed time of a step, for estimates; a weight takes `_NS_A_WEIGHT`, more for each example."""
_NS_A_WEIGHT, _NS_AN_EXAMPLE = 2.0, 0.1

_FILE_BYTES = 4 * 2**20
_SHIPPED = Path(__file__).with_name("stack_sizes.json")


def runs_that_pay(spec: Spec, directory: Path | None = None) -> int:
    """Return the number of runs in a stack beyond which a CPU core gains nothing, at least 1.

    Args:
        directory: where measured sizes are kept; by default the user's cache.
    """
    what = describe(spec)
    for table in (_read(_cache_file(directory)).get(_host(), {}), _shipped()):
        if what in table:
            return int(min(max(1, table[what]), MOST_RUNS))
    return _estimate(spec)


def best_size(ms_by_size: Mapping[int, float]) -> int:
    """Return the smallest stack in which a run costs about as little as in the best one.

    Args:
        ms_by_size: milliseconds of a step, by the number of runs in the stack.
    """
    of_run = {size: ms / size for size, ms in ms_by_size.items()}
    least = min(of_run.values())
    return min(size for size, ms in of_run.items() if ms <= (1 + TOLERANCE) * least)


def keep(spec: Spec, size: int, directory: Path | None = None) -> None:
    """Save a measured size for this host; ignore a cache that cannot be written."""
    path = _cache_file(directory)
    tables = _read(path)
    tables.setdefault(_host(), {})[describe(spec)] = size
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(json.dumps(tables, indent=1).encode())


def describe(spec: Spec) -> str:
    """Return what determines the size, in one line: problem, network with its keys, and batch size."""
    network = spec.parts.network
    keys = {key: getattr(spec, key) for key in sorted(network.fields.model_fields)}
    words = [f"{key}={json.dumps(value)}" for key, value in keys.items()]
    return " ".join([spec.problem, network.name, *words, f"mini_batch_size={spec.mini_batch_size}"])


def _estimate(spec: Spec) -> int:
    """Estimate from weights and batch size; 1 for convolutional networks, or unknown sizes."""
    described = described_size(spec)
    if described is None or "images" in spec.parts.network.needs:
        return 1
    _, size = described
    of_run_ns = size.num_parameters * (_NS_A_WEIGHT + _NS_AN_EXAMPLE * spec.mini_batch_size)
    return int(min(max(1, FIXED_NS / (TOLERANCE * of_run_ns)), MOST_RUNS))


def _host() -> str:
    return f"{socket.gethostname()}, {os.cpu_count()} cores"


def _cache_file(directory: Path | None) -> Path:
    return (directory or user_cache_path("lop")) / "stack_sizes.json"


@cache
def _shipped() -> dict[str, int]:
    shipped: dict[str, int] = json.loads(_SHIPPED.read_bytes())
    return shipped


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """Return the saved sizes; empty if the file cannot be read."""
    with suppress(OSError, ValueError, AttributeError, TypeError):
        return {
            str(host): {what: size for what, size in table.items() if type(size) is int}
            for host, table in json.loads(read_small(path, _FILE_BYTES)).items()
        }
    return {}
