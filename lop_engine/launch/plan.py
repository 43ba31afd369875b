"""How the runs are spread: which device, how many workers, which seeds share one."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from math import prod

from lop_engine.errors import LaunchError
from lop_engine.experiment.spec import Spec
from lop_engine.launch.devices import find_gpus
from lop_engine.run_code import begun_with, files_of
from lop_engine.rundir import RunDir
from lop_engine.streams import steps_drawn_at_once

MAX_SEEDS_ON_GPU = 60
MAX_WORKERS_ON_GPU = 8
"""Processes take turns on a GPU. Further settings wait for a worker."""
EFFICIENT_STACK = 10
"""With fewer seeds a stack leaves a GPU partly idle, so the plan has fewer workers rather than smaller stacks."""
CURVATURE_BATCH = 100
WORKER_BYTES_ON_GPU = 3 * 2**30
"""What a worker takes whatever its seeds: libraries, their workspace, and the curvature's images in flight."""


@dataclass(frozen=True)
class Resources:
    """Where workers run. `devices` has one torch device name a worker."""

    devices: list[str]
    threads: int
    seeds_per_worker: int
    note: str = ""
    """Why a GPU that is present is not used, or why the plan may need more memory than there is; empty otherwise."""

    @property
    def workers(self) -> int:
        return len(self.devices)


@dataclass(frozen=True)
class Plan:
    """Stacks of run directories, in the order in which workers take them."""

    stacks: list[list[RunDir]]
    resources: Resources


def decide_resources(
    specs: Sequence[Spec], device: str, workers: int | None, seeds_per_worker: int | None
) -> Resources:
    """Choose devices, workers and the size of stacks.

    On a GPU a stack holds all seeds of a setting, if memory allows; settings share a GPU with one worker each, so that
    all of them advance. On a CPU there is one worker per core, with small stacks.

    Args:
        specs: of the runs to train, one a run; if one of them says `use_gpu` false, ``auto`` is the CPU.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:<n>``.
    Raises:
        LaunchError: torch cannot use the device; says why.
    """
    gpus, note = _choose_gpus(device, all(spec.use_gpu for spec in specs))
    if gpus:
        return _share_gpus(gpus, specs, workers, seeds_per_worker, note)
    cores = num_cores()
    # A stack of two takes little longer than one seed: worth it if all runs can then start at once.
    size = seeds_per_worker or (2 if (workers or cores) < len(specs) <= 2 * (workers or cores) else 1)
    count = workers or max(1, min(cores, -(-len(specs) // size)))
    return Resources(["cpu"] * count, max(1, cores // count), size, note)


def _share_gpus(
    gpus: Mapping[str, int], specs: Sequence[Spec], workers: int | None, seeds_per_worker: int | None, note: str
) -> Resources:
    """Give each setting a worker, as far as memory and cores allow; workers are spread over the GPUs in turn.

    A setting's seeds are split into stacks if there are more GPUs than settings, or if that loads all GPUs equally.
    Seeds of unknown size do not limit a stack: if it runs out of memory, two workers share its seeds (`retries`).
    """
    names, seeds = list(gpus), Counter(specs)
    most = max(seeds.values())
    least = -(-len(names) // len(seeds))
    even = (n for n in range(least, most // EFFICIENT_STACK + 1) if len(seeds) * n % len(names) == 0)
    num_stacks = len(seeds) * next(even, least)
    size = seeds_per_worker or -(-most * len(seeds) // (workers or num_stacks))
    by_spec = {spec: seed_bytes_on_gpu(spec) for spec in seeds}
    largest, unknown = max(by_spec.values()), [spec for spec, num_bytes in by_spec.items() if not num_bytes]
    if unknown:
        problem, network = unknown[0].problem, unknown[0].network
        note = note or f"the memory of a seed is unknown (problem {problem}, network {network}); set --seeds-per-worker"

    def fit(count: int) -> int:
        """Seeds that each of `count` workers has memory for."""
        free = min(gpus.values()) // -(-count // len(names))
        return (free - WORKER_BYTES_ON_GPU) // largest if largest else MAX_SEEDS_ON_GPU

    wanted = min(size, MAX_SEEDS_ON_GPU, seeds_per_worker or EFFICIENT_STACK)
    limit = max(len(names), min(num_stacks, num_cores(), MAX_WORKERS_ON_GPU * len(names)))
    count = workers or next((n for n in range(limit, len(names), -1) if fit(n) >= wanted), len(names))
    size = seeds_per_worker or max(1, min(MAX_SEEDS_ON_GPU, fit(count), size))
    threads = max(1, min(2, num_cores() // count))
    return Resources([names[i % len(names)] for i in range(count)], threads, size, note)


def seed_bytes_on_gpu(spec: Spec) -> int:
    """Upper limit on the bytes of one more seed in a stack, including 50 % that the allocator may be unable to reuse.

    163 MiB at the paper's protocol. Without the 50 % and the random numbers, it is what a CPU uses
    (`tests/engine/test_other_devices.py`). A GPU draws the random numbers of an epoch's steps together, up to
    `streams.DRAWN_AT_ONCE_BYTES`. Shrink-and-perturb needs one per weight: 12 steps x 177,218 x 4 bytes = 8.5 MB per
    seed, 255 MB for 30, plus those of the current step. Other methods need fewer.

    0 if the descriptions of problem and network do not say their sizes.
    """
    problem, network = spec.parts.problem, spec.parts.network
    if problem.shapes is None or network.size is None:
        return 0
    input_shape, num_outputs = problem.shapes(spec)
    size = network.size(spec.own(network.fields), input_shape, num_outputs)
    example, num_train = 4 * prod(input_shape), problem.num_examples(spec)
    # As stored (a byte a value), as seen, and in the epoch's order.
    task = (num_train + problem.num_test_examples(spec)) * example * 9 // 4
    directions = 25 * min(CURVATURE_BATCH, num_train) * example  # ten, and their making
    activations = max(spec.mini_batch_size, CURVATURE_BATCH) * size.example_bytes
    numbers = size.num_parameters
    random_numbers = 4 * numbers * (1 + steps_drawn_at_once(spec.steps_per_epoch, numbers))
    return 3 * (task + directions + activations + random_numbers) // 2


def _choose_gpus(device: str, use_gpu: bool) -> tuple[Mapping[str, int], str]:
    """Free bytes by torch's name of the GPUs to train on (empty for the CPU), and why a GPU is left out.

    Raises:
        LaunchError: torch cannot use the device.
    """
    if device == "cpu" or (device == "auto" and not use_gpu):
        return {}, ""
    if not re.fullmatch(r"auto|cuda(:\d+)?", device):
        raise LaunchError(f'--device "{device}": choose auto, cpu, cuda or cuda:<number>')
    gpus = find_gpus()
    found = gpus.free_bytes
    if device == "auto" and gpus.problem and not found:
        return {}, f"training on the CPU because torch cannot use the GPU: {gpus.problem}"
    if device in ("auto", "cuda") and (found or device == "auto"):
        return found, f"left out a GPU that torch cannot use: {gpus.problem}" if gpus.problem else ""
    if device in found:
        return {device: found[device]}, ""
    why = f"torch cannot use the GPU: {gpus.problem}" if gpus.problem else "no such GPU here"
    raise LaunchError(f"--device {device}: {why} (found: {', '.join(found) or 'none'}); try --device auto")


def plan_runs(run_dirs: Sequence[RunDir], resources: Resources, specs: Mapping[RunDir, Spec] | None = None) -> Plan:
    """Cut each setting's seeds into stacks; stacks of different settings take turns, so that all methods advance.

    Args:
        specs: by run. Seeds of a setting may have different specs, and begun ones different versions of their own
            components; a worker trains one spec with one version.
    """
    by_setting: dict[tuple[str, str, Spec | None, object], list[RunDir]] = defaultdict(list)
    for run_dir in run_dirs:
        experiment, setting = run_dir.path.parts[-3:-1]
        spec = specs[run_dir] if specs else None
        version = begun_with(run_dir) if spec and files_of(spec) else None
        by_setting[experiment, setting, spec, version].append(run_dir)
    size = resources.seeds_per_worker
    cut = [[dirs[i : i + size] for i in range(0, len(dirs), size)] for dirs in by_setting.values()]
    return Plan([stack for turn in zip_longest(*cut) for stack in turn if stack], resources)


def num_cores() -> int:
    """How many cores this process may use."""
    return len(cores())


def cores() -> list[int]:
    """The numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
