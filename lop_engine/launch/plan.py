"""Plans the training of runs: devices, number of workers, and which runs share a stack."""

import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import chain, zip_longest
from math import gcd

import psutil

from lop_engine.errors import LaunchError
from lop_engine.experiment.spec import Spec, stack_key
from lop_engine.launch.stack_sizes import (
    MOST_RUNS,
    WORKER_BYTES,
    WORKER_BYTES_ON_GPU,
    run_bytes,
    run_bytes_on_gpu,
    runs_that_pay,
)
from lop_engine.machine.devices import find_gpus, num_cores
from lop_engine.runs.code import begun_with, files_of
from lop_engine.runs.directory import RunDir
from lop_engine.text import plural

MAX_WORKERS_ON_GPU = 8
"""Processes take turns on a GPU. Further stacks wait for a worker."""
EFFICIENT_STACK = 10
"""A smaller stack leaves a GPU partly idle, so the plan uses fewer workers rather than smaller stacks."""


@dataclass(frozen=True)
class Resources:
    """Where workers run. `devices` has a torch device name per worker."""

    devices: list[str]
    threads: int
    runs_per_worker: int
    """Most runs in a stack."""
    note: str = ""
    """Why a GPU of this machine is not used, or why memory may not suffice; otherwise ""."""
    sizes: Mapping[Hashable, int] = field(default_factory=dict)
    """By `stack_key`, the most runs in a stack of that kind, where fewer are efficient."""

    @property
    def workers(self) -> int:
        return len(self.devices)

    def size_of(self, spec: Spec) -> int:
        """Return the most runs in a stack of this kind."""
        return self.sizes.get(stack_key(spec), self.runs_per_worker)


@dataclass(frozen=True)
class Plan:
    """Stacks of run directories, in the order in which workers take them."""

    stacks: list[list[RunDir]]
    resources: Resources


def decide_resources(specs: Sequence[Spec], device: str, workers: int | None, runs_per_worker: int | None) -> Resources:
    """Choose devices, workers and stack sizes.

    Runs that only differ in numbers of each run (`spec.stack_key`) can share a stack. On a GPU a stack contains all of
    them, if memory allows; stacks share a GPU with one worker each, so that all methods advance. On a CPU there is one
    worker per core, and stacks have the most efficient size (`stack_sizes`).

    Args:
        specs: one per run to train; if one of them has `use_gpu` false, ``auto`` is the CPU.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:<n>``.
    Raises:
        LaunchError: torch cannot use the device; says why.
    """
    gpus, note = _choose_gpus(device, all(spec.use_gpu for spec in dict.fromkeys(specs)))
    kinds = _kinds(specs)
    if gpus:
        return _share_gpus(gpus, kinds, workers, runs_per_worker, note)
    return _share_cores(kinds, workers, runs_per_worker, note)


@dataclass(frozen=True)
class _Kind:
    """Runs that can share a stack."""

    spec: Spec
    """The spec of one of them."""
    runs: int


def _kinds(specs: Sequence[Spec]) -> dict[Hashable, _Kind]:
    kinds: dict[Hashable, _Kind] = {}
    for spec, runs in Counter(specs).items():
        key = stack_key(spec)
        kinds[key] = _Kind(spec, runs + (kinds[key].runs if key in kinds else 0))
    return kinds


def _share_cores(
    kinds: Mapping[Hashable, _Kind], workers: int | None, runs_per_worker: int | None, note: str
) -> Resources:
    """Use one worker per core; each kind of run is divided among the cores,
    into stacks of an efficient size that fit into half of the free memory.
    """
    cores, runs = num_cores(), sum(kind.runs for kind in kinds.values())
    count = workers or cores
    # A stack of two takes little longer than one run: worthwhile if all runs can then start at once.
    least = 2 if count < runs <= 2 * count else 1
    # All runs of a kind in one stack if there are enough kinds to keep the cores busy.
    parts = count // gcd(count, len(kinds))
    free = psutil.virtual_memory().available // (count * 2)
    sizes = {
        key: runs_per_worker or max(least, min(runs_that_pay(kind.spec), _fit(kind.spec, free), -(-kind.runs // parts)))
        for key, kind in kinds.items()
    }
    stacks = sum(-(-kind.runs // sizes[key]) for key, kind in kinds.items())
    count = workers or max(1, min(cores, stacks))
    return Resources(["cpu"] * count, max(1, cores // count), max(sizes.values()), note, sizes)


def _fit(spec: Spec, free_bytes: int) -> int:
    """Return the number of runs that fit into a CPU worker's memory, as far as their size is known."""
    of_run = run_bytes(spec)
    return max(1, (free_bytes - WORKER_BYTES) // of_run) if of_run else MOST_RUNS


def _share_gpus(
    gpus: Mapping[str, int],
    kinds: Mapping[Hashable, _Kind],
    workers: int | None,
    runs_per_worker: int | None,
    note: str,
) -> Resources:
    """Give each kind of run a worker, as far as memory and cores allow; workers are spread over the GPUs in turn.

    The runs of a kind are split into stacks if there are more GPUs than kinds, or if that loads all GPUs equally.
    Runs of unknown size do not limit a stack: if it runs out of memory, two workers share its runs (`retries`).
    """
    names = list(gpus)
    most = max(kind.runs for kind in kinds.values())
    least = -(-len(names) // len(kinds))
    even = (n for n in range(least, most // EFFICIENT_STACK + 1) if len(kinds) * n % len(names) == 0)
    num_stacks = len(kinds) * next(even, least)
    size = runs_per_worker or -(-most * len(kinds) // (workers or num_stacks))
    of_run = {kind.spec: run_bytes_on_gpu(kind.spec) for kind in kinds.values()}
    largest, unknown = max(of_run.values()), [spec for spec, num_bytes in of_run.items() if not num_bytes]
    if unknown:
        problem, network = unknown[0].problem, unknown[0].network
        note = note or f"the memory of a run is unknown (problem {problem}, network {network}); set --runs-per-worker"

    def fit(count: int) -> int:
        """Return the number of runs that fit into each of `count` workers."""
        free = min(gpus.values()) // -(-count // len(names))
        return (free - WORKER_BYTES_ON_GPU) // largest if largest else MOST_RUNS

    preferred = min(size, MOST_RUNS, runs_per_worker or EFFICIENT_STACK)
    limit = max(len(names), min(num_stacks, num_cores(), MAX_WORKERS_ON_GPU * len(names)))
    count = workers or next((n for n in range(limit, len(names), -1) if fit(n) >= preferred), len(names))
    size = runs_per_worker or max(1, min(MOST_RUNS, fit(count), size))
    threads = max(1, min(2, num_cores() // count))
    return Resources([names[i % len(names)] for i in range(count)], threads, size, note)


def _choose_gpus(device: str, use_gpu: bool) -> tuple[Mapping[str, int], str]:
    """Return the free bytes of the GPUs to train on (empty for the CPU), and why a GPU is left out.

    Raises:
        LaunchError: torch cannot use the device.
    """
    if device == "cpu" or (device == "auto" and not use_gpu):
        return {}, ""
    if not re.fullmatch(r"auto|cuda(:\d+)?", device):
        raise LaunchError(f'--device "{device}": choose auto, cpu, cuda or cuda:<number>')
    gpus = find_gpus()
    free_bytes = gpus.free_bytes
    if device == "auto" and gpus.problem and not free_bytes:
        return {}, f"training on the CPU because torch cannot use the GPU: {gpus.problem}"
    if device in ("auto", "cuda") and (free_bytes or device == "auto"):
        return free_bytes, f"left out a GPU that torch cannot use: {gpus.problem}" if gpus.problem else ""
    if device in free_bytes:
        return {device: free_bytes[device]}, ""
    why = f"torch cannot use the GPU: {gpus.problem}" if gpus.problem else "no such GPU here"
    raise LaunchError(f"--device {device}: {why} (found: {', '.join(free_bytes) or 'none'}); try --device auto")


def describe_workers(resources: Resources) -> str:
    """Return ``2 workers (cpu, 1 thread each)``, ``4 workers (4 sharing cuda:0, 2 threads each)``."""
    devices = Counter(resources.devices)
    where = [
        f"{count} sharing {name}" if count > 1 and name != "cpu" else name  # cores are not shared
        for name, count in devices.items()
    ]
    return f"{plural(devices.total(), 'worker')} ({', '.join(where)}, {plural(resources.threads, 'thread')} each)"


def plan_runs(run_dirs: Sequence[RunDir], resources: Resources, specs: Mapping[RunDir, Spec] | None = None) -> Plan:
    """Divide runs into stacks, ordered so that all methods and settings advance.

    A stack has runs of one experiment that can share one and execute the same code; runs of one setting, if it has
    enough for a stack.

    Args:
        specs: by run; without them settings are kept apart.
    """
    by_kind: dict[Hashable, dict[str, list[RunDir]]] = defaultdict(lambda: defaultdict(list))
    size_of: dict[Hashable, int] = {}
    of_spec = cache(lambda spec: (stack_key(spec), resources.size_of(spec), bool(files_of(spec))))
    numbers: dict[Hashable, int] = {}
    for run_dir in run_dirs:
        kind: Hashable = run_dir.setting
        if specs:
            key, size, has_files = of_spec(specs[run_dir])
            kind = numbers.setdefault((key, begun_with(run_dir) if has_files else None), len(numbers))
            size_of[run_dir.experiment, kind] = size
        by_kind[run_dir.experiment, kind][run_dir.setting].append(run_dir)
    turns: list[list[list[RunDir]]] = []
    for kind, by_setting in by_kind.items():
        size = size_of.get(kind, resources.runs_per_worker)
        if all(len(runs) >= size for runs in by_setting.values()):
            turns += [cut(runs, size) for runs in by_setting.values()]
        else:
            turns.append(cut(list(chain(*by_setting.values())), size))
    return Plan([stack for turn in zip_longest(*turns) for stack in turn if stack], resources)


def cut(run_dirs: Sequence[RunDir], size: int) -> list[list[RunDir]]:
    """Return stacks of at most `size` runs."""
    return [list(run_dirs[i : i + size]) for i in range(0, len(run_dirs), size)]
