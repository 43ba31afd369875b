"""``python -m lop_engine.bench.child``: runs jobs on request and reports their times. A line of JSON each way."""

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import torch

from lop_engine.bench.jobs import Call, Jobs, curvature_gflop, matrix_side, step_gflop
from lop_engine.device import prepare_device
from lop_engine.experiment.registry import execute_installed
from lop_engine.experiment.spec import validate
from lop_engine.runs.code import CodeFile, load_components


class Child:
    """Holds prepared jobs, and runs them. A context: it leaves no files behind."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._calls: dict[str, Call] = {}
        self._ends = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *ending: object) -> None:
        self._ends.close()

    def make(
        self, name: str, job: str, spec: dict[str, Any], num_seeds: int, files: Sequence[str] = ()
    ) -> dict[str, Any]:
        """Prepare a job under a name, and do it once; answer with facts about it."""
        load_components([CodeFile(Path(path), "") for path in files])
        validated = validate(spec, "bench")
        self._calls[name] = Jobs(validated, num_seeds, self.device, self._ends).make(job)
        self.run(name, 1)
        gflop = {
            "matrix product": 2 * matrix_side(self.device) ** 3 / 1e9,
            "step": num_seeds * step_gflop(validated),
            "plain step": step_gflop(validated),
            "curvature": curvature_gflop(validated, 100),
        }
        return {"gflop": gflop.get(job), "curvature_gflop": gflop["curvature"]}

    def run(self, name: str, count: int) -> dict[str, Any]:
        """Do a job `count` times; answer with the mean milliseconds."""
        call = self._calls[name]
        self._settle()
        began = time.perf_counter()
        for _ in range(count):
            call()
        self._settle()
        return {"ms": 1000 * (time.perf_counter() - began) / count}

    def memory(self) -> dict[str, Any]:
        """Return the peak memory of this process, on the host and on its GPU."""
        on_gpu = torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else None
        return {"bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, "gpu_bytes": on_gpu}

    def hello(self) -> dict[str, Any]:
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else None
        return {"torch": torch.__version__, "gpu": name}

    def _settle(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m lop_engine.bench.child")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    answers = os.dup(1)
    os.dup2(2, 1)  # components may print; only our answers go to stdout
    execute_installed()
    device = torch.device(args.device)
    torch.set_num_threads(args.threads)
    prepare_device(device)
    with os.fdopen(answers, "w") as file, Child(device) as child:
        for line in sys.stdin:
            request = json.loads(line)
            try:
                answer = getattr(child, request.pop("do"))(**request)
            except (Exception, SystemExit) as error:
                answer = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer), file=file, flush=True)


if __name__ == "__main__":
    main()
