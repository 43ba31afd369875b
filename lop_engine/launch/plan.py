"""How the runs are spread: which device, how many workers, which seeds share one."""

import os
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


def decide_resources(device: str, workers: int | None, seeds_per_worker: int | None, use_gpu: bool = True) -> Resources:
    """Choose devices: one worker a GPU with the largest stack that fits, else one worker a core with single seeds.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:<n>``.
        use_gpu: what the experiment file says; it counts for ``auto`` only.
    Raises:
        LaunchError: the device does not exist.
    """
    wants_gpu = device.startswith("cuda") or (device == "auto" and use_gpu)
    memory = gpu_memory_bytes() if wants_gpu else []
    if device.startswith("cuda"):
        number = device.partition(":")[2]
        if not memory or (number and not (number.isdecimal() and int(number) < len(memory))):
            have = ", ".join(f"cuda:{i}" for i in range(len(memory))) or "none"
            raise LaunchError(f"--device {device}: no such GPU here (found: {have}); try --device auto")
        gpus = [int(number)] if number else list(range(len(memory)))
    elif device in ("auto", "cpu"):
        gpus = list(range(len(memory)))
    else:
        raise LaunchError(f'--device "{device}": choose auto, cpu, cuda or cuda:<number>')
    if gpus:
        count = workers or len(gpus)
        fit = max(1, min(MAX_SEEDS_ON_GPU, min(memory[gpu] for gpu in gpus) // SEED_BYTES_ON_GPU))
        return Resources([f"cuda:{gpus[i % len(gpus)]}" for i in range(count)], 2, seeds_per_worker or fit)
    cores = num_cores()
    count = workers or cores
    return Resources(["cpu"] * count, max(1, cores // count), seeds_per_worker or 1)


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
