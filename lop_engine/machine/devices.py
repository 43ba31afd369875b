"""Finds the GPUs that torch can use, or why it cannot, without importing torch in this process."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

_PATIENCE_S = 120

#: Prints the free bytes of each GPU that ran a kernel, by name, and the problems of the others.
_PROBE = """
import json, os, warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import torch
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
free, problems, visible = {}, [], os.environ.get("CUDA_VISIBLE_DEVICES")
said = [str(one.message).partition("CUDA initialization: ")[2] for one in caught]
if not (torch.version.cuda or torch.version.hip):
    problems.append(f"torch {torch.__version__} is a CPU build; install a CUDA build")
elif not count and any(said):
    problems.append(next(filter(None, said)).partition(" (Triggered")[0].partition(". ")[0])
elif not count and visible is not None:
    problems.append(f"CUDA_VISIBLE_DEVICES={visible!r} names no GPU")
elif not count:
    problems.append("CUDA finds no GPU")
for number in range(count):
    try:
        torch.ones(2, device=f"cuda:{number}").add_(1).sum().item()
        free[f"cuda:{number}"] = torch.cuda.mem_get_info(number)[0]
    except Exception as error:
        problem = (str(error).strip() or type(error).__name__).splitlines()[0]
        if "no kernel image" in problem:
            major, minor = torch.cuda.get_device_capability(number)
            problem = f"torch {torch.__version__} has no kernels for its compute capability {major}.{minor}"
        problems.append(f"cuda:{number}: {problem}")
print(json.dumps([free, problems]))
"""


@dataclass(frozen=True)
class Gpus:
    """The GPUs of this machine that torch can use."""

    free_bytes: Mapping[str, int] = field(default_factory=dict)
    """Free memory by torch's name (``cuda:0``), in CUDA's order."""
    problem: str = ""
    """Why a GPU cannot be used; empty if all can, or if the machine has none."""


@cache
def find_gpus() -> Gpus:
    """Query torch in a child process, which takes seconds; only if an NVIDIA driver is installed."""
    if not has_driver():
        return Gpus()
    slices = _mig_slices()
    if len(slices) < 2:
        return _probe({})
    by_slice = [_probe({"CUDA_VISIBLE_DEVICES": name}) for name in slices]
    free = {f"cuda:{n}": b for n, one in enumerate(by_slice) for b in one.free_bytes.values()}
    problems = [f"{name}: {one.problem}" for name, one in zip(slices, by_slice, strict=True) if one.problem]
    return Gpus(free, "; ".join(problems))


def place(device: str) -> tuple[str, dict[str, str]]:
    """Return the torch device, and environment variables to add, for a process that trains on `device`.

    CUDA gives a process only the first MIG slice of CUDA_VISIBLE_DEVICES, so the process for ``cuda:1`` sees only the
    second slice.
    """
    slices, number = _mig_slices(), device.removeprefix("cuda:")
    if len(slices) < 2 or not number.isdecimal() or int(number) >= len(slices):
        return device, {}
    return "cuda:0", {"CUDA_VISIBLE_DEVICES": slices[int(number)]}


def _mig_slices() -> list[str]:
    """Return the MIG slices at the beginning of CUDA_VISIBLE_DEVICES."""
    names = []
    for name in map(str.strip, os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")):
        if not name.startswith("MIG-"):
            break
        names.append(name)
    return names


def has_driver() -> bool:
    return any(Path(path).exists() for path in ("/proc/driver/nvidia", "/dev/nvidiactl", "/dev/dxg"))


def _probe(environment: Mapping[str, str]) -> Gpus:
    command = [sys.executable, "-P", "-c", _PROBE]
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, timeout=_PATIENCE_S, check=False, env=os.environ | environment
        )
        if answer.returncode:
            raise OSError((answer.stderr.strip().splitlines() or [f"it ended with status {answer.returncode}"])[-1])
        free, problems = json.loads(answer.stdout)
        return Gpus(free, "; ".join(problems))
    except subprocess.TimeoutExpired:
        return Gpus(problem=f"torch did not answer within {_PATIENCE_S} seconds")
    except (OSError, ValueError) as error:
        return Gpus(problem=f"cannot query torch: {error}")


def num_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(cores())


def cores() -> list[int]:
    """Return the numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
