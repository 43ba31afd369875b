"""The load of the machine, its workers and GPUs, also where it cannot be read."""

import os
import subprocess
import sys
from types import SimpleNamespace

import psutil
import pytest

from lop_engine.machine import usage
from lop_engine.machine.usage import Gpu, Usage, UsageReader
from lop_tui.dashboard.widgets.lines import describe_usage

BUSY = "import time\nuntil = time.monotonic() + 60\nwhile time.monotonic() < until: pass"
PARENT = f"""
import subprocess, sys
print(subprocess.Popen([sys.executable, "-c", {BUSY!r}]).pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def worker():
    """Start a process that waits and its child that computes; return their pids."""
    process = subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    child = int(process.stdout.readline())
    yield process, child
    for pid in (child, process.pid):
        if psutil.pid_exists(pid):
            os.kill(pid, 9)
    process.communicate()


class FakeNvml:
    """A stand-in for NVIDIA's library on a machine with these GPUs.

    Args:
        gpus: uuid by index; None is a GPU that does not answer. GPUs in `slices` are in MIG mode.
    """

    class NVMLError(Exception):
        pass

    def __init__(self, *gpus: str | None, slices: dict[str, list[str]] | None = None) -> None:
        self.gpus, self.slices = list(gpus), slices or {}

    def nvmlInit(self):  # noqa: N802
        pass

    def __getattr__(self, name):
        if not name.startswith("nvmlDevice"):
            raise AttributeError(name)
        return getattr(self, f"_{name.removeprefix('nvmlDevice')}")

    def _refuse_unless(self, known):
        if not known:
            raise self.NVMLError

    def _GetCount(self):  # noqa: N802
        return len(self.gpus)

    def _GetHandleByIndex(self, index):  # noqa: N802
        self._refuse_unless(self.gpus[index] is not None)
        return self.gpus[index]

    def _GetUUID(self, handle):  # noqa: N802
        return handle

    def _GetName(self, handle):  # noqa: N802
        return f"H200 {handle}"

    def _GetMigMode(self, handle):  # noqa: N802
        return [int(handle in self.slices)] * 2

    def _GetMaxMigDeviceCount(self, handle):  # noqa: N802
        return 7

    def _GetMigDeviceHandleByIndex(self, handle, index):  # noqa: N802
        self._refuse_unless(index < len(self.slices[handle]))
        return self.slices[handle][index]

    def _GetGpuInstanceId(self, handle):  # noqa: N802
        return next(slices.index(handle) + 1 for slices in self.slices.values() if handle in slices)

    def _GetComputeInstanceId(self, handle):  # noqa: N802
        return 0

    def _GetUtilizationRates(self, handle):  # noqa: N802
        self._refuse_unless(not handle.startswith("MIG-") and handle not in self.slices)
        return SimpleNamespace(gpu=85, memory=3)

    def _GetMemoryInfo(self, handle):  # noqa: N802
        return SimpleNamespace(used=30, total=140, free=110)

    def _GetComputeRunningProcesses(self, handle):  # noqa: N802
        return [
            SimpleNamespace(pid=os.getpid(), usedGpuMemory=20),
            SimpleNamespace(pid=os.getpid(), usedGpuMemory=None),
            SimpleNamespace(pid=1, usedGpuMemory=7),
        ]


@pytest.fixture
def nvml(monkeypatch):
    """Return a function that gives the machine these GPUs."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def give(*gpus, slices=None) -> FakeNvml:
        fake = FakeNvml(*gpus, slices=slices)
        monkeypatch.setitem(sys.modules, "pynvml", fake)
        return fake

    return give


@pytest.fixture
def no_nvml(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)


def test_the_usage_of_a_machine_without_workers_is_read(no_nvml):
    used = UsageReader().read([])
    assert 0 <= used.cpu <= 1
    assert 0 < used.memory_used_bytes < used.memory_total_bytes
    assert (used.num_workers, used.workers_cpu, used.workers_memory_bytes) == (0, 0, 0)
    assert (used.gpus, used.gpu_memory_of_workers_bytes) == ((), 0)


def test_a_worker_counts_with_its_children_until_it_has_ended(no_nvml, worker):
    process, child = worker
    reader = UsageReader()
    first = reader.read([process.pid])
    assert (first.num_workers, first.workers_cpu) == (1, 0)
    assert first.workers_memory_bytes > psutil.Process(process.pid).memory_info().rss
    before = psutil.Process(child).cpu_times().user
    while psutil.Process(child).cpu_times().user < before + 0.1:
        pass
    assert 0 < reader.read([process.pid]).workers_cpu < 2  # can be little on a busy machine
    for pid in (child, process.pid):
        os.kill(pid, 9)
    process.wait()
    gone = reader.read([process.pid])
    assert gone.num_workers == 0


def test_pids_without_a_process_are_ignored(no_nvml):
    assert UsageReader().read([-1, 2**22 + 1, 2**70]).num_workers == 0


def test_a_worker_that_starts_later_is_counted(no_nvml):
    reader = UsageReader()
    assert reader.read([]).num_workers == 0
    assert reader.read({os.getpid()}).num_workers == 1
    assert reader.read(iter([os.getpid(), os.getppid()])).num_workers == 2


def test_gpus_have_names_utilisation_and_memory(nvml):
    fake = nvml("GPU-a", None)
    reader = UsageReader()
    used = reader.read([os.getpid()])
    assert used.gpus == (Gpu("H200 GPU-a", 0.85, 30, 140),)
    assert used.gpu_memory_of_workers_bytes == 20
    assert reader.read([]).gpu_memory_of_workers_bytes == 0
    fake.gpus = [None, None]  # the driver failed
    assert reader.read([os.getpid()]).gpus == ()
    fake._GetCount = None
    assert reader.read([os.getpid()]).num_workers == 1


def test_a_driver_that_does_not_start_gives_no_gpus(nvml):
    fake = nvml("GPU-a")

    def fail():
        raise fake.NVMLError

    fake.nvmlInit = fail
    assert UsageReader().read([]).gpus == ()


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, ["GPU-ab1", "GPU-ab2", "GPU-c"]),
        ("2,0", ["GPU-c", "GPU-ab1"]),
        (" 1 ", ["GPU-ab2"]),
        ("", []),
        ("-1", []),
        ("0,-1,2", ["GPU-ab1"]),
        ("0,9,2", ["GPU-ab1"]),
        ("0,,2", ["GPU-ab1"]),
        ("1x,2", ["GPU-ab2", "GPU-c"]),
        ("0,0", []),
        ("3,0", []),
        ("GPU-c,GPU-ab1", ["GPU-c", "GPU-ab1"]),
        ("GPU-c,GPU-ab,GPU-ab1", ["GPU-c"]),  # the second is ambiguous
        ("gpu-c", []),
        ("GPU-c,GPU-d,GPU-ab1", ["GPU-c"]),
        ("NoDevFiles", []),
    ],
)
def test_only_gpus_that_cuda_may_use_are_shown_in_its_order(nvml, monkeypatch, visible, expected):
    nvml("GPU-ab1", "GPU-ab2", "GPU-c")
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [gpu.name for gpu in UsageReader().read([]).gpus] == [f"H200 {uuid}" for uuid in expected]


def test_a_gpu_that_does_not_answer_keeps_its_number(nvml, monkeypatch):
    nvml("GPU-a", None, "GPU-c")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,1,0")
    assert [gpu.name for gpu in UsageReader().read([]).gpus] == ["H200 GPU-c", "H200 GPU-a"]


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, ["MIG-x1", "MIG-y2", "GPU-b"]),
        ("0", ["MIG-x1", "MIG-y2"]),
        ("MIG-y2", ["MIG-y2"]),
        ("MIG-y,MIG-x1", ["MIG-y2", "MIG-x1"]),
        ("MIG-,GPU-b", []),
        ("MIG-GPU-a/2/0", ["MIG-y2"]),
        ("MIG-GPU-a/1/0,MIG-GPU-a/9/0", ["MIG-x1"]),
        ("1,MIG-x1", ["GPU-b", "MIG-x1"]),
    ],
)
def test_a_mig_slice_has_memory_and_no_utilisation(nvml, monkeypatch, visible, expected):
    nvml("GPU-a", "GPU-b", slices={"GPU-a": ["MIG-x1", "MIG-y2"]})
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    used = UsageReader().read([os.getpid()])
    assert used.gpus == tuple(
        Gpu(f"H200 {uuid}", None if uuid.startswith("MIG-") else 0.85, 30, 140) for uuid in expected
    )
    assert used.gpu_memory_of_workers_bytes == 20 * len(expected)


def test_unknown_utilisation_is_not_shown_as_a_number():
    usage = Usage(0.5, 1, 2, 0, 0, 0, (Gpu("H200 MIG 1g.18gb", None, 2**30, 2**34), Gpu("H200", 0.0, 2**30, 2**34)))
    assert describe_usage(usage)[:2] == ["H200 MIG 1g.18gb ?, 1.0 GiB of 16 GiB", "H200 0%, 1.0 GiB of 16 GiB"]


def test_a_system_that_denies_access_gives_zeros(no_nvml, monkeypatch):
    def refuse(*_, **__):
        raise psutil.AccessDenied

    reader = UsageReader()
    reader.read([os.getpid()])
    for name in ("cpu_percent", "virtual_memory", "process_iter"):
        monkeypatch.setattr(usage.psutil, name, refuse)
    monkeypatch.setattr(usage.psutil.Process, "is_running", refuse)
    for pids in ([os.getpid()], [os.getppid()]):
        used = reader.read(pids)
        assert (used.cpu, used.memory_total_bytes, used.num_workers) == (0, 0, 0)
