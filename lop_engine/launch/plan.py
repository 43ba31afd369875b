"""How the runs are spread: which device, how many workers, which seeds share one."""

import os
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from lop_engine.errors import LaunchError
from lop_engine.launch.devices import gpu_memory_bytes
from lop_engine.rundir import RunDir

MAX_SEEDS_ON_GPU = 60
SEED_BYTES_ON_GPU = 200 * 2**20
"""Generous for one seed at the paper's protocol: its task's images take 17 MiB, its activations some 50."""


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
    num_runs: int, device: str, workers: int | None, seeds_per_worker: int | None, use_gpu: bool = True
) -> Resources:
    """Choose devices: one worker a GPU with the largest stack that fits, else one worker a core with small stacks.

    Args:
        num_runs: how many there are to train.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:<n>``.
        use_gpu: what the experiment file says; it counts for ``auto`` only.
    Raises:
        LaunchError: the device does not exist.
    """
    gpus = _choose_gpus(device, use_gpu)
    if gpus:
        names = list(gpus)
        count = workers or len(names)
        free = min(gpus.values()) // -(-count // len(names))  # workers on one GPU share its memory
        fit = max(1, min(MAX_SEEDS_ON_GPU, free // SEED_BYTES_ON_GPU, -(-num_runs // count)))
        return Resources([names[i % len(names)] for i in range(count)], 2, seeds_per_worker or fit)
    cores = num_cores()
    # A stack of two costs hardly more than two single seeds: worth it where all runs can then start at once.
    size = seeds_per_worker or (2 if (workers or cores) < num_runs <= 2 * (workers or cores) else 1)
    count = workers or max(1, min(cores, -(-num_runs // size)))
    return Resources(["cpu"] * count, max(1, cores // count), size)


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


def plan_runs(run_dirs: Sequence[RunDir], resources: Resources) -> Plan:
    """Cut each setting's seeds into stacks; stacks of different settings take turns, so that all methods advance."""
    by_setting: dict[tuple[str, str], list[RunDir]] = defaultdict(list)
    for run_dir in run_dirs:
        by_setting[run_dir.experiment, run_dir.setting].append(run_dir)
    size = resources.seeds_per_worker
    cut = [[dirs[i : i + size] for i in range(0, len(dirs), size)] for dirs in by_setting.values()]
    return Plan([stack for turn in zip_longest(*cut) for stack in turn if stack], resources)


def num_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
