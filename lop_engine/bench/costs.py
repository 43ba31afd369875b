"""Estimates how long runs will take here, from the costs of an epoch, its metrics and a new task with all workers busy.

Child processes time the jobs; this module needs no torch. Costs are cached for a day, so a plan is estimated
immediately the second time, and after `lop bench`.
"""

import heapq
import json
import math
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from platformdirs import user_cache_path

from lop_engine import __version__
from lop_engine.errors import LaunchError
from lop_engine.experiment.parts import BOOKKEEPING_KEYS, Precision
from lop_engine.experiment.registry import METRICS
from lop_engine.experiment.spec import Spec, per_run_keys
from lop_engine.files import read_small, replacing
from lop_engine.launch import Plan, Resources, worker_environment
from lop_engine.machine.devices import place
from lop_engine.runs.code import files_of
from lop_engine.runs.directory import RunDir

GRACE_S = 10


class Children:
    """Child processes that do the same at the same time. A context that ends them.

    Args:
        as_typed: without a worker's environment (its allocator settings), like an ordinary script.
    """

    def __init__(self, devices: Sequence[str], threads: int, as_typed: bool = False) -> None:
        self.devices = list(devices)
        environment = dict(os.environ) if as_typed else worker_environment(threads)
        self._files = ExitStack()
        self._said = [self._log() for _ in self.devices]
        self.processes = [
            self._start(device, threads, environment, errors)
            for device, errors in zip(self.devices, self._said, strict=True)
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self.processes:
            assert process.stdin
            with suppress(OSError):  # input that a child no longer read
                process.stdin.close()  # end-of-file ends it
        for process in self.processes:
            assert process.stdout
            try:
                process.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()
        self._files.close()

    def hello(self) -> dict[str, Any]:
        """Wait until they are ready; return torch's version and the GPU's name."""
        return self._ask(do="hello")[0]

    def make(self, name: str, job: str, spec: Spec, num_seeds: int = 1) -> dict[str, Any]:
        """Prepare a job (`jobs.Jobs`) under a name. Raises LaunchError if it cannot be done."""
        files = [group[0]["path"] for group in files_of(spec)]
        return self._ask(do="make", name=name, job=job, spec=spec.to_dict(), num_seeds=num_seeds, files=files)[0]

    def run(self, name: str, count: int = 1) -> float:
        """Return mean milliseconds of a job, done `count` times by each child at the same time."""
        answers = self._ask(do="run", name=name, count=count)
        return sum(answer["ms"] for answer in answers) / len(answers)

    def memory(self) -> dict[str, Any]:
        """Return the peak memory of the largest one, in bytes."""
        return self._ask(do="memory")[0]

    def _start(self, device: str, threads: int, environment: dict[str, str], errors: IO[str]) -> subprocess.Popen[str]:
        device, more = place(device)
        command = [sys.executable, "-P", "-m", "lop_engine.bench.child", "--device", device, "--threads", str(threads)]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=errors, text=True, env=environment | more)

    def _log(self) -> IO[str]:
        return self._files.enter_context(tempfile.TemporaryFile("w+", errors="replace"))

    def _ask(self, **request: Any) -> list[dict[str, Any]]:
        for process in self.processes:
            assert process.stdin
            with suppress(BrokenPipeError):
                process.stdin.write(json.dumps(request) + "\n")
                process.stdin.flush()
        answers = [self._answer(*child) for child in zip(self.processes, self._said, strict=True)]
        for answer in answers:
            if "error" in answer:
                raise LaunchError(f"measuring: {answer['error']}")
        return answers

    def _answer(self, process: subprocess.Popen[str], errors: IO[str]) -> dict[str, Any]:
        assert process.stdout
        line = process.stdout.readline()
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        errors.seek(0)
        lines = errors.read().strip().splitlines()
        return {"error": f"the child process ended: {lines[-1] if lines else 'it said nothing'}"}


KEPT_FOR_S = 24 * 3600
_FILE_BYTES = 4 * 2**20
_SAMPLE_IMAGES = 100
"""The cost of the curvature is linear in its batches of 100 examples: one is enough to know that of all."""
_SAMPLE_S = 0.5

#: Keys that do not change the cost of an epoch.
_FREE_KEYS = BOOKKEEPING_KEYS | {
    "num_tasks",
    "num_showings",
    "metrics_every",
    "curvature_every",
    "class_order",
}


ROUNDED: tuple[Precision, ...] = ("tf32", "bf16")
"""Precisions that make a step shorter on a GPU."""


@dataclass(frozen=True)
class Costs:
    """Costs of a whole stack in seconds, while every worker of the plan trains."""

    start_s: float
    """From a worker's start to its first step."""
    task_s: float
    """A new task's examples, if they are not prepared ahead."""
    epoch_s: float
    """Training."""
    metrics_s: float
    """The fast metrics after a recorded epoch."""
    curvature_s: float = 0.0
    """The slow metrics after an epoch in which they are due; 0 if none is recorded."""
    rounded_epoch_s: Mapping[Precision, float] = field(default_factory=dict)
    """On a GPU, training in the other precisions of `ROUNDED`. Metrics cost the same with all."""

    def of_run(self, spec: Spec) -> float:
        """Return the seconds of all tasks of a stack of `spec`, without its start."""
        epoch_s = self.rounded_epoch_s.get(spec.precision, self.epoch_s)
        task_s = self.task_s + spec.num_parts * epoch_s + self._metrics_of_task(spec)
        return spec.num_tasks * task_s

    def share_of_metrics(self, spec: Spec) -> float:
        """Return the share of metrics in the time, 0 .. 1."""
        return spec.num_tasks * self._metrics_of_task(spec) / self.of_run(spec)

    def _metrics_of_task(self, spec: Spec) -> float:
        recorded = _num_epochs(spec.num_showings, spec.metrics_every)
        with_curvature = _num_epochs(spec.num_showings, spec.metrics_every, spec.curvature_every)
        return recorded * self.metrics_s + with_curvature * self.curvature_s


def _num_epochs(num_showings: int, *every: int) -> int:
    """Return how many epochs of a task are multiples of each of `every`, plus the last; 0 means only the last one."""
    return 1 if 0 in every else -(-num_showings // math.lcm(*every))


def plan_seconds(plan: Plan, specs: Mapping[RunDir, Spec], costs: Mapping[Spec, Costs], **changes: Any) -> float:
    """Return seconds until the last worker of a plan is done; a free worker takes the next stack.

    Args:
        changes: other values of spec keys that do not change the cost of an epoch, such as ``curvature_every=0``; or a
            ``precision`` that the costs know.
    """
    free_at = [0.0] * plan.resources.workers
    takes = {spec: one.start_s + one.of_run(spec.with_changes(**changes)) for spec, one in costs.items()}
    if len(takes) == 1:  # for example one setting with a huge number of seeds
        return next(iter(takes.values())) * -(-len(plan.stacks) // len(free_at))
    for stack in plan.stacks:
        heapq.heapreplace(free_at, free_at[0] + takes[specs[stack[0]]])
    return max(free_at)


def measure_costs(
    specs: Sequence[Spec],
    resources: Resources,
    say: Callable[[str], None],
    fresh: bool = False,
    directory: Path | None = None,
) -> dict[Spec, Costs]:
    """Return the costs of each experiment with these resources: cached ones, or measured now and cached.

    Args:
        say: called with what is being measured, before it is.
        fresh: ignore cached costs.
        directory: directory of the cache; by default the user's cache.
    Raises:
        LaunchError: training cannot be tried.
    """
    path = (directory or user_cache_path("lop")) / "costs.json"
    known = {} if fresh else _read(path)
    costs = {}
    for spec in dict.fromkeys(specs):
        key = _key(spec, resources)
        if key not in known:
            say(f"measuring what {spec.method} costs on this machine ...")
            known[key] = {"measured_at": time.time(), **asdict(_measure(spec, resources))}
            _write(path, _read(path) | {key: known[key]})
        costs[spec] = Costs(**{name: value for name, value in known[key].items() if name != "measured_at"})
    return costs


def _measure(spec: Spec, resources: Resources) -> Costs:
    began = time.perf_counter()
    with Children(resources.devices, resources.threads) as children:
        children.hello()
        start_s = time.perf_counter() - began
        size = resources.size_of(spec)

        def seconds(job: str, **changes: object) -> float:
            children.make(job, job, spec.with_changes(**changes), size)
            once = children.run(job)
            more = round(1000 * _SAMPLE_S / once)
            return (min(once, children.run(job, more)) if more else once) / 1000

        costs = Costs(start_s, seconds("switch"), seconds("epoch"), *metrics_seconds(spec, seconds))
        if resources.devices[0] == "cpu" or spec.precision == "fp64":
            return costs
        others: tuple[Precision, ...] = tuple(one for one in ROUNDED if one != spec.precision)
        return replace(costs, rounded_epoch_s={one: seconds("epoch", precision=one) for one in others})


def metrics_seconds(spec: Spec, seconds: Callable[..., float]) -> tuple[float, float]:
    """Return seconds of the fast metrics, and of the slow ones."""
    measured = [name for name in spec.metrics if spec.measures(METRICS[name])]
    slow = tuple(name for name in measured if METRICS[name].cost_in_epochs)
    fast = tuple(name for name in measured if name not in slow)
    others = seconds("metrics", metrics=fast) if fast else 0.0
    if not slow:
        return others, 0.0
    in_task = spec.parts.problem.num_examples(spec)
    num_examples = min(spec.curvature_images or in_task, in_task)
    sampled = min(num_examples, _SAMPLE_IMAGES)
    return others, seconds("metrics", metrics=slow, curvature_images=sampled) * num_examples / sampled


def _key(spec: Spec, resources: Resources) -> str:
    free = _FREE_KEYS | per_run_keys(spec)
    what = {name: value for name, value in spec.to_dict().items() if name not in free}
    workers = resources.devices, resources.threads, resources.size_of(spec)
    where = [socket.gethostname(), os.cpu_count(), __version__, version("torch"), workers]
    return json.dumps([where, what], sort_keys=True)


def _read(path: Path) -> dict[str, Any]:
    """Return cached costs that are not too old; empty if the file cannot be read."""
    with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        stored = json.loads(read_small(path, _FILE_BYTES))
        since = time.time() - KEPT_FOR_S
        names = {"measured_at", *(one.name for one in fields(Costs))}  # another version may have other fields
        return {
            key: dict(value) for key, value in stored.items() if value["measured_at"] > since and names == set(value)
        }
    return {}


def _write(path: Path, costs: dict[str, Any]) -> None:
    with suppress(OSError):  # without a cache the next time takes a few seconds more
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(json.dumps(costs).encode())
