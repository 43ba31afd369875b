"""``python -m bench.gpu.child --device DEVICE STAGE...``: run stages in this process and print one event per line."""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

import lop_engine
from bench.gpu import engine
from bench.gpu.engine import Setup
from bench.gpu.results import BrokenProcessError, Emit, Event, Report, breaks_the_process, describe
from bench.gpu.stages import Stage, choose


def run_stages(stages: Sequence[Stage], setup: Setup, emit: Emit, done: Sequence[str] = ()) -> None:
    """Run stages in this process. Return early after a stage that leaves CUDA unusable; the rest needs a new process.

    Args:
        done: checks of the first stage that an earlier process has already reported.
    """
    for stage in stages:
        emit({"event": "begin", "stage": stage.name})
        began, broken, unfinished = time.perf_counter(), False, False
        report = Report(stage.name, setup.on_gpu, emit, done if stage is stages[0] else ())
        try:
            getattr(import_module(f"bench.gpu.{stage.module}"), stage.function)(setup, report)
        except BrokenProcessError:
            broken = unfinished = True
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            report.check(stage.description, False, describe(error), "runs to its end")
            broken = breaks_the_process(error)
        seconds = time.perf_counter() - began
        ending = {"seconds": seconds, "broken": broken, "unfinished": unfinished}
        emit({"event": "end", "stage": stage.name, **ending})
        if broken:
            return
        engine.forget_tasks()
        setup.free()


def about(device: torch.device) -> dict[str, Any]:
    """Return the machine and the versions that figures depend on."""
    facts: dict[str, Any] = {
        "device": "CPU",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "lop": lop_engine.__version__,
        "commit": _commit(),
    }
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device)
        facts |= {
            "device": f"{card.name}, {card.total_memory / 2**30:.0f} GiB",
            "multiprocessors": card.multi_processor_count,
            "driver": _driver(),
            "cudnn": torch.backends.cudnn.version(),
        }
    return facts


def _driver() -> str:
    """The version of NVIDIA's driver."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.split("\n")[0]
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _commit() -> str:
    """The commit of this checkout, with a + if it has changes; empty without git."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu.child")
    parser.add_argument("--device", required=True)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--done", action="append", default=[], help="a check of the first stage to leave out")
    parser.add_argument("stages", nargs="+")
    args = parser.parse_args()
    # Standard output is for events only; anything else that is printed goes to the log.
    events = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))

    def emit(event: Event) -> None:
        print(json.dumps(event), file=events, flush=True)

    if problem := engine.device_problem(args.device):
        emit({"event": "refused", "why": problem})
        return 2
    setup = Setup(torch.device(args.device), args.small)
    engine.prepare_device(setup.device)
    emit({"event": "about", "about": about(setup.device)})
    run_stages(choose(args.stages), setup, emit, args.done)
    return 0


if __name__ == "__main__":
    sys.exit(main())
