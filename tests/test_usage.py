"""What the machine and the workers use, and that nothing there is in the way of a dashboard."""

import os
import subprocess
import sys
from types import SimpleNamespace

import psutil
import pytest

from lop_engine import usage
from lop_engine.usage import Gpu, UsageReader

BUSY = "import time\nuntil = time.monotonic() + 60\nwhile time.monotonic() < until: pass"
PARENT = f"""
import subprocess, sys
print(subprocess.Popen([sys.executable, "-c", {BUSY!r}]).pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def worker():
    """A process that waits, and its child that computes: their pids."""
    process = subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    child = int(process.stdout.readline())
    yield process, child
    for pid in (child, process.pid):
        if psutil.pid_exists(pid):
            os.kill(pid, 9)
    process.communicate()


@pytest.fixture
def nvml(monkeypatch):
    """A machine with two GPUs, of which the second gives no information."""

    class NVMLError(Exception):
        pass

    def handle(index):
        if fake.count != 2 or index:
            raise NVMLError
        return "handle"

    fake = SimpleNamespace(
        count=2,
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: fake.count,
        nvmlDeviceGetHandleByIndex=handle,
        nvmlDeviceGetName=lambda handle: "H200",
        nvmlDeviceGetUtilizationRates=lambda handle: SimpleNamespace(gpu=85, memory=3),
        nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(used=30, total=140, free=110),
        nvmlDeviceGetComputeRunningProcesses=lambda handle: [
            SimpleNamespace(pid=os.getpid(), usedGpuMemory=20),
            SimpleNamespace(pid=os.getpid(), usedGpuMemory=None),
            SimpleNamespace(pid=1, usedGpuMemory=7),
        ],
    )
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    return fake


@pytest.fixture
def no_nvml(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)


def test_the_machine_without_workers(no_nvml):
    used = UsageReader().read([])
    assert 0 <= used.cpu <= 1
    assert 0 < used.memory_used_bytes < used.memory_total_bytes
    assert (used.num_workers, used.workers_cpu, used.workers_memory_bytes) == (0, 0, 0)
    assert (used.gpus, used.gpu_memory_of_workers_bytes) == ((), 0)


def test_a_worker_counts_with_its_children_and_until_it_is_gone(no_nvml, worker):
    process, child = worker
    reader = UsageReader()
    first = reader.read([process.pid])
    assert (first.num_workers, first.workers_cpu) == (1, 0)
    assert first.workers_memory_bytes > psutil.Process(process.pid).memory_info().rss
    before = psutil.Process(child).cpu_times().user
    while psutil.Process(child).cpu_times().user < before + 0.1:
        pass
    assert 0.1 < reader.read([process.pid]).workers_cpu < 2
    for pid in (child, process.pid):
        os.kill(pid, 9)
    process.wait()
    gone = reader.read([process.pid])
    assert gone.num_workers == 0


def test_pids_of_nobody(no_nvml):
    assert UsageReader().read([-1, 2**22 + 1, 2**70]).num_workers == 0


def test_a_worker_that_comes_later(no_nvml):
    reader = UsageReader()
    assert reader.read([]).num_workers == 0
    assert reader.read({os.getpid()}).num_workers == 1
    assert reader.read(iter([os.getpid(), os.getppid()])).num_workers == 2


def test_gpus(nvml):
    reader = UsageReader()
    used = reader.read([os.getpid()])
    assert used.gpus == (Gpu("H200", 0.85, 30, 140),)
    assert used.gpu_memory_of_workers_bytes == 20
    assert reader.read([]).gpu_memory_of_workers_bytes == 0
    nvml.count = 1  # the driver has gone
    assert reader.read([os.getpid()]).gpus == ()
    nvml.nvmlDeviceGetCount = None
    assert reader.read([os.getpid()]).num_workers == 1


def test_a_driver_that_does_not_begin(nvml):
    def fail():
        raise nvml.NVMLError

    nvml.nvmlInit = fail
    assert UsageReader().read([]).gpus == ()


def test_a_system_that_says_nothing(no_nvml, monkeypatch):
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
