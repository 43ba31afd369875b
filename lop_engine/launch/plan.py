"""How the runs are spread: which device, how many workers, which seeds share one."""

import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from lop_engine.errors import LaunchError
from lop_engine.launch.devices import gpu_memory_bytes
from lop_engine.rundir import RunDir
from lop_engine.spec import Spec
from lop_engine.streams import steps_drawn_at_once

MAX_SEEDS_ON_GPU = 60
CURVATURE_BATCH = 100
WORKER_BYTES_ON_GPU = 3 * 2**30
"""What a worker takes whatever its seeds: libraries, their workspace, and the curvature's images in flight."""


@dataclass(frozen=True)
class Resources:
    """Where workers run. `devices` has one torch device name a worker."""

    devices: list[str]
    threads: int
    seeds_per_worker: int

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
    """Choose devices: one worker a GPU with the largest stack that fits, else one worker a core with small stacks.

    Args:
        specs: of the runs to train, one a run; if one of them says `use_gpu` false, ``auto`` is the CPU.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:<n>``.
    Raises:
        LaunchError: the device does not exist.
    """
    gpus = _choose_gpus(device, all(spec.use_gpu for spec in specs))
    if gpus:
        names = list(gpus)
        count = workers or len(names)
        free = min(gpus.values()) // -(-count // len(names))  # workers on one GPU share its memory
        fit = (free - WORKER_BYTES_ON_GPU) // max(map(seed_bytes_on_gpu, specs))
        size = max(1, min(MAX_SEEDS_ON_GPU, fit, -(-len(specs) // count)))
        return Resources([names[i % len(names)] for i in range(count)], 2, seeds_per_worker or size)
    cores = num_cores()
    # A stack of two costs hardly more than two single seeds: worth it where all runs can then start at once.
    size = seeds_per_worker or (2 if (workers or cores) < len(specs) <= 2 * (workers or cores) else 1)
    count = workers or max(1, min(cores, -(-len(specs) // size)))
    return Resources(["cpu"] * count, max(1, cores // count), size)


def seed_bytes_on_gpu(spec: Spec) -> int:
    """What one more seed of a stack takes at most, half of it again for what the allocator cannot reuse.

    163 MiB at the paper's protocol. Without that half, and without the random numbers, it is what a CPU takes
    (`tests/engine/test_other_devices.py`). Random numbers: a GPU draws those of an epoch's steps together, as far as
    `streams.DRAWN_AT_ONCE_BYTES` hold. Shrink-and-perturb takes one for each weight: 12 steps x 177,218 x 4 bytes =
    8.5 MB a seed, 255 MB for 30, and one step's beside them. Other methods take fewer.
    """
    image = 3 * 32 * 32 * 4
    # As stored (a byte a value), as seen, and in the epoch's order.
    task = spec.num_classes * (spec.train_images + spec.test_images) * image * 9 // 4
    directions = 25 * min(CURVATURE_BATCH, spec.num_classes * spec.train_images) * image  # ten, and their making
    activations = int(max(spec.mini_batch_size, CURVATURE_BATCH) * spec.width * 350_000)
    numbers = _num_parameters(spec)
    random_numbers = 4 * numbers * (1 + steps_drawn_at_once(spec.steps_per_epoch, numbers))
    return 3 * (task + directions + activations + random_numbers) // 2


def _num_parameters(spec: Spec) -> int:
    """Weights and biases of the convolutional network (`nets.ConvNet`), to the rounding of its widths."""
    return int(174_080 * spec.width**2 + (2_880 + 128 * spec.num_classes) * spec.width) + spec.num_classes


def _choose_gpus(device: str, use_gpu: bool) -> dict[str, int]:
    """The GPUs to train on, by torch's name, and their free bytes; none for the CPU. Raises LaunchError."""
    if device == "cpu" or (device == "auto" and not use_gpu):
        return {}
    if not re.fullmatch(r"auto|cuda(:\d+)?", device):
        raise LaunchError(f'--device "{device}": choose auto, cpu, cuda or cuda:<number>')
    found = {f"cuda:{number}": free for number, free in enumerate(gpu_memory_bytes())}
    chosen = {device: found[device]} if device in found else found if ":" not in device else {}
    if device != "auto" and not chosen:
        raise LaunchError(
            f"--device {device}: no such GPU here (found: {', '.join(found) or 'none'}); try --device auto"
        )
    return chosen


def plan_runs(run_dirs: Sequence[RunDir], resources: Resources, specs: Mapping[RunDir, Spec] | None = None) -> Plan:
    """Cut each setting's seeds into stacks; stacks of different settings take turns, so that all methods advance.

    Args:
        specs: of the runs, where seeds of a setting may have different ones: a worker trains one spec.
    """
    by_setting: dict[tuple[str, str, Spec | None], list[RunDir]] = defaultdict(list)
    for run_dir in run_dirs:
        by_setting[run_dir.experiment, run_dir.setting, specs[run_dir] if specs else None].append(run_dir)
    size = resources.seeds_per_worker
    cut = [[dirs[i : i + size] for i in range(0, len(dirs), size)] for dirs in by_setting.values()]
    return Plan([stack for turn in zip_longest(*cut) for stack in turn if stack], resources)


def num_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
