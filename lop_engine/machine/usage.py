"""Current usage of the machine and its workers: processors, memory, GPUs.

Figures for people: unknown values are 0 or left out, and nothing raises an exception. GPUs are those
that CUDA_VISIBLE_DEVICES leaves visible, by CUDA's rules: the list ends at its first invalid entry, and naming a device
twice leaves none visible.
"""

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Set
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import psutil


def visible_devices(nvml: Any, visible: str | None) -> list[Any]:
    """Return NVML's handles of the devices that CUDA may use.

    A GPU in MIG mode means all its slices, unless they are named one by one.

    Args:
        nvml: the module `pynvml`, initialised.
        visible: the value of CUDA_VISIBLE_DEVICES, None if it is not set: indices (in the order of the PCI bus, as
            for CUDA_DEVICE_ORDER=PCI_BUS_ID), ``GPU-<uuid>``, ``MIG-<uuid>`` and ``MIG-GPU-<uuid>/<instance>/<compute
            instance>``; a uuid may be shortened as long as it is unique.
    """
    gpus = [_Device(nvml, index) for index in range(nvml.nvmlDeviceGetCount())]
    if visible is None:
        chosen = gpus
    else:
        chosen = []
        for word in visible.split(","):
            device_of_word = _named(word.strip(), gpus)
            if device_of_word is None:
                break
            if device_of_word in chosen:
                return []
            chosen.append(device_of_word)
    return [handle for device in chosen for handle in device.handles()]


class _Device:
    """A GPU, or a MIG slice of one; a GPU that does not respond has no handles but keeps its index."""

    def __init__(self, nvml: Any, index: int, parent: "_Device | None" = None) -> None:
        self._nvml, self._handle, self.uuid, self.names = nvml, None, "", list[str]()
        with suppress(Exception):
            self._handle = (
                nvml.nvmlDeviceGetMigDeviceHandleByIndex(parent._handle, index)
                if parent
                else nvml.nvmlDeviceGetHandleByIndex(index)
            )
            self.uuid = text(nvml.nvmlDeviceGetUUID(self._handle))
            self.names.append(self.uuid)
        if parent:
            with suppress(Exception):
                place = (nvml.nvmlDeviceGetGpuInstanceId, nvml.nvmlDeviceGetComputeInstanceId)
                numbers = "/".join(str(ask(self._handle)) for ask in place)
                self.names.append(f"MIG-{parent.uuid}/{numbers}")

    def handles(self) -> Iterator[Any]:
        """Return NVML's handles: of the device, or of its slices."""
        slices = self.slices()
        if slices:
            yield from (one._handle for one in slices)
        elif self._handle is not None:
            yield self._handle

    def slices(self) -> "list[_Device]":
        """Return the MIG slices; empty if MIG mode is off or NVML does not support MIG."""
        nvml = self._nvml
        with suppress(Exception):
            if nvml.nvmlDeviceGetMigMode(self._handle)[0]:
                places = range(nvml.nvmlDeviceGetMaxMigDeviceCount(self._handle))
                return [one for place in places if (one := _Device(nvml, place, self))._handle is not None]
        return []


def _named(word: str, gpus: list[_Device]) -> _Device | None:
    """Return the device that an entry means; None if it is invalid."""
    if number := re.match(r"\+?\d+", word):  # CUDA reads the leading digits: "1x" is 1
        index = int(number[0])
        return gpus[index] if index < len(gpus) else None
    if word.startswith("GPU-"):
        matches = [gpu for gpu in gpus if gpu.uuid.startswith(word)]
    elif word.startswith("MIG-"):
        slices = [one for gpu in gpus for one in gpu.slices()]
        matches = [one for one in slices if any(_is_short_for(word, name) for name in one.names)]
    else:
        matches = []
    return matches[0] if len(matches) == 1 else None


def _is_short_for(word: str, name: str) -> bool:
    """Whether an entry means the MIG slice of a name: its uuid may be shortened, its instances may not."""
    uuid, slash, place = word.partition("/")
    whole, _, its_place = name.partition("/")
    return whole.startswith(uuid) and (not slash or place == its_place)


def text(value: str | bytes) -> str:
    """Convert NVML's text: older versions of its module return bytes."""
    return value.decode() if isinstance(value, bytes) else value


#: Seconds between searches for children of workers, which read every process of the machine.
_LOOK_FOR_CHILDREN_EVERY_S = 10.0
_LOOKING_SHARE = 0.001
"""Share of a core for this: on a machine with thousands of processes it happens less often."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class Gpu:
    """Usage of one GPU or MIG slice, by all processes."""

    name: str
    utilisation: float | None
    """Fraction of the last sampling period in which it computed, 0 .. 1; None if unknown, as for a MIG slice."""
    memory_used_bytes: int
    memory_total_bytes: int


@dataclass(frozen=True)
class Usage:
    """Usage of the whole machine, and of workers and their children."""

    cpu: float
    """Share of all cores, 0 .. 1."""
    memory_used_bytes: int
    memory_total_bytes: int
    num_workers: int
    workers_cpu: float
    """Cores that workers use: 1.0 is one core."""
    workers_memory_bytes: int
    gpus: tuple[Gpu, ...] = ()
    gpu_memory_of_workers_bytes: int = 0


class UsageReader:
    """Measures repeatedly; processor time is that since the previous call, and 0 the first time."""

    def __init__(self) -> None:
        self._workers: frozenset[int] = frozenset()
        self._processes: dict[int, psutil.Process] = {}
        self._look_again_at = 0.0
        self._gpus = _Gpus()

    def read(self, pids: Iterable[int]) -> Usage:
        """Return the current usage.

        Args:
            pids: the workers on this host; missing ones are ignored.
        """
        self._follow(frozenset(pids))
        used = {pid: _ask(None, _used_by, process) for pid, process in self._processes.items()}
        alive = {pid: one for pid, one in used.items() if one}
        self._processes = {pid: self._processes[pid] for pid in alive}
        machine = _ask(None, psutil.virtual_memory)
        nothing: tuple[tuple[Gpu, ...], int] = (), 0
        gpus, gpu_memory_bytes = _ask(nothing, self._gpus.read, alive.keys())
        return Usage(
            cpu=_ask(0.0, psutil.cpu_percent) / 100,
            memory_used_bytes=machine.total - machine.available if machine else 0,
            memory_total_bytes=machine.total if machine else 0,
            num_workers=len(alive.keys() & self._workers),
            workers_cpu=sum(percent for percent, _ in alive.values()) / 100,
            workers_memory_bytes=sum(num_bytes for _, num_bytes in alive.values()),
            gpus=gpus,
            gpu_memory_of_workers_bytes=gpu_memory_bytes,
        )

    def _follow(self, workers: frozenset[int]) -> None:
        """Update `_processes`: the workers, their children, and grandchildren."""
        if workers == self._workers and time.monotonic() < self._look_again_at:
            return
        began = time.thread_time()
        family: dict[int, psutil.Process] = _ask({}, _with_children, workers) if workers else {}
        # Known processes keep their object, which remembers the processor time of the previous call.
        self._processes = {pid: self._processes.get(pid, process) for pid, process in family.items()}
        pause_s = max(_LOOK_FOR_CHILDREN_EVERY_S, (time.thread_time() - began) / _LOOKING_SHARE)
        self._workers, self._look_again_at = workers, time.monotonic() + pause_s


def _with_children(workers: frozenset[int]) -> dict[int, psutil.Process]:
    """Return the workers and all their descendants, by pid."""
    everyone = list(psutil.process_iter(["ppid"]))
    family = {process.pid: process for process in everyone if process.pid in workers}
    size = -1
    while len(family) > size:
        size = len(family)
        family |= {process.pid: process for process in everyone if process.info["ppid"] in family}
    return family


def _used_by(process: psutil.Process) -> tuple[float, int]:
    """Return percent of a core since the previous call, and bytes. Raises psutil.NoSuchProcess."""
    if not process.is_running():  # also if another process has got its number
        raise psutil.NoSuchProcess(process.pid)
    with process.oneshot():
        if process.status() == psutil.STATUS_ZOMBIE:
            raise psutil.ZombieProcess(process.pid)
        return process.cpu_percent(), process.memory_info().rss


class _Gpus:
    """NVIDIA's GPUs, if its library (the extra ``gpu``) and its driver are installed."""

    def __init__(self) -> None:
        self._nvml = _ask(None, _begin_nvml)

    def read(self, pids: Set[int]) -> tuple[tuple[Gpu, ...], int]:
        """Return the GPUs that CUDA may use, in its order, and their bytes that belong to `pids`."""
        if self._nvml is None:
            return (), 0
        gpus, bytes_of_pids = [], 0
        for handle in visible_devices(self._nvml, os.environ.get("CUDA_VISIBLE_DEVICES")):
            if figures := _ask(None, self._look_at, handle, pids):
                gpus.append(figures[0])
                bytes_of_pids += figures[1]
        return tuple(gpus), bytes_of_pids

    def _look_at(self, handle: Any, pids: Set[int]) -> tuple[Gpu, int]:
        nvml = self._nvml
        assert nvml
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        # NVML reports neither for a MIG slice, and lacks one of them for some cards.
        rates = _ask(None, nvml.nvmlDeviceGetUtilizationRates, handle)
        users: list[Any] = _ask([], nvml.nvmlDeviceGetComputeRunningProcesses, handle)
        utilisation = rates.gpu / 100 if rates else None
        gpu = Gpu(text(nvml.nvmlDeviceGetName(handle)), utilisation, int(memory.used), int(memory.total))
        return gpu, sum(int(user.usedGpuMemory or 0) for user in users if user.pid in pids)


def _begin_nvml() -> Any:
    import pynvml

    pynvml.nvmlInit()
    return pynvml


def _ask(otherwise: _T, what: Callable[..., _T], *arguments: object) -> _T:
    """Return the answer, or `otherwise` after an error: processes end, files may be unreadable, drivers may fail."""
    try:
        return what(*arguments)
    except Exception:
        return otherwise
