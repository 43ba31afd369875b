"""`lop bench`: measures the most important costs on this machine.

Jobs to compare alternate, round after round, and are reported as median and quartiles: machines are shared
and noisy, and ratios within a run are reliable where single times are not.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from lop_engine.bench.costs import Children, measure_costs, plan_seconds
from lop_engine.experiment.parts import Precision
from lop_engine.experiment.registry import METHODS as METHODS_BY_NAME
from lop_engine.experiment.run import Run, load_runs, shipped
from lop_engine.experiment.spec import Spec
from lop_engine.launch import decide_resources, plan_runs, stack_sizes
from lop_engine.launch.stack_sizes import run_bytes
from lop_engine.machine.devices import num_cores
from lop_engine.runs.directory import RunDir

Report = dict[str, Any]
Say = Callable[[str], None]

METHODS: dict[str, dict[str, object]] = {
    "bp": {"agent": "bp"},
    "l2": {"agent": "bp", "weight_decay": 1e-5},
    "snp": {"agent": "bp", "weight_decay": 1e-5, "perturb_scale": 1e-5},
    "cbp": {"agent": "cbp", "util_type": "adaptable_contribution", "replacement_rate": 3e-4},
    "cbp2": {"agent": "cbp", "net_type": 2, "replacement_rate": 3e-4},
    "linear": {"agent": "linear"},
}
STACKS = {"cpu": (1, 2, 4), "cuda": (1, 2, 5, 10, 30, 60)}
_ON_GPU = ("bp", "snp", "cbp")
_SYNTHETIC = {"dataset": "synthetic", "train_images": 600, "test_images": 100, "normalisation": "scaled"}
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)
_TURN_MS, _LONGEST_MS = 200, 3000


def paper_spec(method: str = "bp", **changes: object) -> Spec:
    """Return the paper's protocol on synthetic images."""
    sizes = {"num_tasks": 5000, "num_showings": 250, "train_images": 600, "test_images": 100}
    base = {"step_size": 0.01, "momentum": 0.9, "dataset": "synthetic", "normalisation": "scaled", **sizes}
    return Spec(**(base | METHODS[method] | changes))


@dataclass(frozen=True)
class Bench:
    """Settings of a measurement, and the function that reports progress."""

    device: str
    """``cpu``, ``cuda:0``."""
    rounds: int
    say: Say
    precision: Precision = "fp32"

    @property
    def on_gpu(self) -> bool:
        return self.device.startswith("cuda")

    @property
    def stacks(self) -> tuple[int, ...]:
        return STACKS["cuda" if self.on_gpu else "cpu"]

    def spec(self, method: str = "bp", **changes: object) -> Spec:
        return paper_spec(method, precision=self.precision, **changes)


@dataclass
class Timed:
    """A job that is called in each round."""

    children: Children
    name: str
    count: int = 1
    """Calls per round."""


def interleaved(jobs: Mapping[str, Timed], rounds: int) -> dict[str, dict[str, float]]:
    """Return the median milliseconds of each job's calls over the rounds, and the quartiles."""
    times: dict[str, list[float]] = {label: [] for label in jobs}
    for _ in range(rounds):
        for label, job in jobs.items():
            times[label].append(job.children.run(job.name, job.count))
    return {label: spread(values) for label, values in times.items()}


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return median and quartiles; for one value, that value."""
    low, middle, high = statistics.quantiles([*values, *values], n=4, method="inclusive")
    return {"ms": middle, "low_ms": low, "high_ms": high}


def bench_steps(bench: Bench) -> Report:
    """Measure the training step of every method and stack size, the plain one, and the matrix product."""
    with Children([bench.device], 1, as_typed=True) as plain, Children([bench.device], 1) as ours:
        environment = ours.hello()
        jobs: dict[str, Timed] = {}
        facts: dict[str, Report] = {}

        def add(label: str, children: Children, job: str, spec: Spec, num_seeds: int, count: int) -> None:
            known = children.make(label, job, spec, num_seeds)
            jobs[label] = Timed(children, label, count)
            facts[label] = {"seeds": num_seeds, "gflop": known["gflop"]}

        several = 30 if bench.on_gpu else 3
        add("matrix product", ours, "matrix product", bench.spec(), 1, 3)
        add("plain", plain, "plain step", bench.spec(), 1, several)
        for num_seeds in bench.stacks:
            for method in _ON_GPU if bench.on_gpu else METHODS:
                bench.say(f"preparing the training step of {method}, {num_seeds} seeds")
                add(
                    f"{method} x {num_seeds}",
                    ours,
                    "step",
                    bench.spec(method),
                    num_seeds,
                    several if num_seeds == 1 or bench.on_gpu else 1,
                )
        bench.say(f"training steps: {bench.rounds} rounds of {len(jobs)} jobs")
        times = interleaved(jobs, bench.rounds)
    rates = {label: facts[label]["gflop"] / times[label]["ms"] * 1000 for label in jobs}
    rows = [
        {
            "name": label,
            **facts[label],
            **times[label],
            "ms_per_seed": times[label]["ms"] / facts[label]["seeds"],
            "gflop_per_s": rates[label],
            "share_of_matrix_product": rates[label] / rates["matrix product"],
            "speed_over_plain": times["plain"]["ms"] * facts[label]["seeds"] / times[label]["ms"],
        }
        for label in jobs
    ]
    return {**environment, "device": bench.device, "rounds": bench.rounds, "rows": rows}


def bench_methods(bench: Bench) -> Report:
    """Measure the training step of every registered method, with the settings of its shipped file, next to bp's."""
    num_seeds = 30 if bench.on_gpu else 1
    with Children([bench.device], 1) as children:
        jobs: dict[str, Timed] = {}
        for name, spec in _shipped_specs().items():
            bench.say(f"preparing the training step of {name}")
            children.make(name, "step", spec.with_changes(**{**_SYNTHETIC, "precision": bench.precision}), num_seeds)
            jobs[name] = Timed(children, name, 3)
        bench.say(f"training steps: {bench.rounds} rounds of {len(jobs)} methods")
        times = interleaved(jobs, bench.rounds)
    rows = [{"name": name, **times[name], "over_bp": times[name]["ms"] / times["bp"]["ms"]} for name in jobs]
    return {"device": bench.device, "rounds": bench.rounds, "seeds": num_seeds, "rows": rows}


#: By folder of cfg, keys that make a task take seconds, and numbers of runs in a stack.
ONLINE: dict[str, tuple[dict[str, object], tuple[int, ...]]] = {
    "scr": ({}, (1, 300, 1000)),
    "mnist": ({"change_after": 400, "num_features": 100}, (1, 10, 30)),
}
PLAIN_EXAMPLES = 200
"""Examples per call of the plain loop."""


def bench_online(bench: Bench, folder: str = "scr") -> Report:
    """Measure an example of an online problem, in stacks and in a plain loop, for backprop and continual backprop.

    Args:
        folder: folder of cfg, one of `ONLINE`.
    """
    rows: list[Report] = []
    with Children([bench.device], 1, as_typed=True) as plain, Children([bench.device], 1) as ours:
        for method in ("bp", "cbp"):
            spec = online_spec(folder, method)
            plain.make(method, "plain loop", spec)
            rows.append({"name": method, "method": method, "runs": 0, "examples": PLAIN_EXAMPLES})
            for size in ONLINE[folder][1]:
                bench.say(f"preparing {method}, {size} runs of {folder}")
                ours.make(f"{method} x {size}", "task of stack", spec, size)
                examples = size * spec.parts.problem.num_examples(spec)
                rows.append({"name": f"{method} x {size}", "method": method, "runs": size, "examples": examples})
        bench.say(f"{bench.rounds} rounds of {len(rows)} jobs")
        times = interleaved(
            {row["name"]: Timed(ours if row["runs"] else plain, row["name"]) for row in rows}, bench.rounds
        )
    for row in rows:
        row |= {**times[row["name"]], "us": 1000 * times[row["name"]]["ms"] / row["examples"]}
    plain_us = {row["method"]: row["us"] for row in rows if not row["runs"]}
    for row in rows:
        row["speed_over_plain"] = plain_us[row["method"]] / row["us"]
    return {"device": bench.device, "problem": folder, "rounds": bench.rounds, "rows": rows}


def online_spec(folder: str, method: str) -> Spec:
    """Return the first setting of a shipped file with one task, which records only the headline."""
    spec = load_runs(shipped()[f"{folder}/{method}"])[0].spec
    return spec.with_changes(num_tasks=1, metrics=(spec.parts.problem.headline,), **ONLINE[folder][0])


def _shipped_specs() -> dict[str, Spec]:
    """Return a setting at the paper's protocol for each method, bp first: the first of the file of its name."""
    files = shipped()
    paths = {name: files.get(name) or files.get(f"methods/{name}") for name in ("bp", *METHODS_BY_NAME)}
    return {name: load_runs(path)[0].spec for name, path in paths.items() if path}


def bench_workers(bench: Bench) -> Report:
    """Measure steps per second of the whole machine, for different assignments of cores; one seed per worker."""
    cores = num_cores()
    bench.say("the whole machine: one thread per worker, or one worker with all threads")
    ways = {
        f"lop, {cores} workers of 1 thread": (cores, 1, False),
        f"lop, 1 worker of {cores} threads": (1, cores, False),
        f"plain, {cores} scripts of 1 thread": (cores, 1, True),
        f"plain, 1 script of {cores} threads": (1, cores, True),
    }
    with ExitStack() as ends:
        jobs = {}
        for label, (count, threads, as_typed) in ways.items():
            children = ends.enter_context(Children(["cpu"] * count, threads, as_typed))
            children.make("step", "plain step" if as_typed else "step", bench.spec())
            jobs[label] = Timed(children, "step", 4)
        times = interleaved(jobs, bench.rounds)
    rows = [
        {"name": label, **times[label], "seed_steps_per_s": 1000 * count / times[label]["ms"]}
        for label, (count, _, _) in ways.items()
    ]
    return {"cores": cores, "rounds": bench.rounds, "rows": rows}


def bench_metrics(bench: Bench) -> Report:
    """Measure the curvature of 100 images, the plain way and ours, and a whole metric epoch."""
    spec = bench.spec()
    only = bench.spec(metrics=("curvature",), curvature_images=100)
    with Children([bench.device], 1, as_typed=True) as plain, Children([bench.device], 1) as ours:
        bench.say("metrics: the curvature, and a whole metric epoch")
        known = plain.make("plain", "plain curvature", spec)
        others = bench.spec(metrics=tuple(name for name in spec.metrics if name != "curvature"))
        ours.make("curvature", "metrics", only)
        ours.make("others", "metrics", others)
        stacks = bench.stacks if bench.on_gpu else (1,)
        for num_seeds in stacks:
            ours.make(f"x {num_seeds}", "metrics", spec, num_seeds)
        product = ours.make("product", "matrix product", spec)
        pairs = {
            "product": Timed(ours, "product", 3),
            "plain": Timed(plain, "plain"),
            "curvature": Timed(ours, "curvature"),
            "others": Timed(ours, "others"),
        }
        times = interleaved(pairs, bench.rounds)
        whole = interleaved({f"x {size}": Timed(ours, f"x {size}") for size in stacks}, max(1, bench.rounds // 3))
    rate = product["gflop"] / times["product"]["ms"] * 1000
    limit_ms = 1000 * known["curvature_gflop"] / rate
    names = {
        "plain": "curvature of 100 images, 20 plain passes",
        "curvature": "curvature of 100 images, ours",
        "others": "the other six metrics",
    }
    rows = [{"name": name, **times[label]} for label, name in names.items()]
    rows += [{"name": f"all seven after an epoch of 1,200 images {label}", **times} for label, times in whole.items()]
    return {
        "device": bench.device,
        "rows": rows,
        "speed_over_plain": times["plain"]["ms"] / times["curvature"]["ms"],
        "limit_ms": limit_ms,
        "share_of_matrix_product": limit_ms / times["curvature"]["ms"],
    }


def bench_upkeep(bench: Bench) -> Report:
    """Measure everything except training and metrics, as shares of the training of a task at the paper's protocol."""
    spec = bench.spec("cbp")
    with Children([bench.device], 1) as children:
        bench.say("records, checkpoint, next task")
        for job in ("epoch", "append", "checkpoint", "switch"):
            children.make(job, job, spec)
        counts = {"epoch": 1, "append": 1000, "checkpoint": 3, "switch": 3}
        times = interleaved({job: Timed(children, job, count) for job, count in counts.items()}, bench.rounds)
    task_ms = spec.num_showings * times["epoch"]["ms"]
    # A checkpoint is written so often that it takes one percent of the time, at most every 3 s.
    per_task = {
        "epoch": task_ms,
        "append": (spec.num_showings + 1) * times["append"]["ms"],
        "checkpoint": times["checkpoint"]["ms"] * task_ms / max(3000, 100 * times["checkpoint"]["ms"]),
        "switch": times["switch"]["ms"],
    }
    rows = [{"name": job, **times[job], "share_of_training": per_task[job] / task_ms} for job in counts]
    return {"device": bench.device, "rows": rows}


def bench_memory(bench: Bench) -> Report:
    """Measure a worker's peak memory: an epoch and its metrics at the paper's protocol."""
    rows = []
    for num_seeds in bench.stacks:
        bench.say(f"memory of a worker with {num_seeds} seeds")
        with Children([bench.device], 1) as children:
            children.make("epoch", "epoch", bench.spec("cbp"), num_seeds)
            children.make("metrics", "metrics", bench.spec("cbp", curvature_images=200), num_seeds)
            rows.append({"seeds": num_seeds, **children.memory()})
    return {"device": bench.device, "rows": rows}


def bench_stacks(bench: Bench, paths: Sequence[Path]) -> Report:
    """Measure the training step by stack size, for each kind of run in the files, and save the best sizes."""
    rows = []
    for spec in {stack_sizes.describe(run.spec): run.spec for path in paths for run in _built_in_images(path)}.values():
        times: dict[int, float] = {}
        with Children([bench.device], 1) as children:
            for size in _sizes(spec):
                bench.say(f"{spec.network}, batches of {spec.mini_batch_size}: a stack of {size}")
                children.make("step", "step", spec, size)
                count = max(1, round(_TURN_MS / children.run("step")))
                times[size] = min(children.run("step", count) for _ in range(bench.rounds))
                if _gains_no_more(times):
                    break
        size = stack_sizes.best_size(times)
        stack_sizes.keep(spec, size)
        rows.append({"name": stack_sizes.describe(spec), "runs": size, "ms": {str(n): ms for n, ms in times.items()}})
    return {"device": bench.device, "rows": rows}


def _sizes(spec: Spec) -> list[int]:
    """Return sizes to try, within half of the free memory."""
    fit = psutil.virtual_memory().available // (2 * max(1, run_bytes(spec)))
    return [size for size in _SIZES if size <= max(1, fit)]


def _gains_no_more(times: Mapping[int, float]) -> bool:
    """Whether the last two sizes made a run no cheaper, or a step takes seconds."""
    of_run = [ms / size for size, ms in times.items()]
    return max(times.values()) > _LONGEST_MS or (len(of_run) > 2 and min(of_run[-2:]) > 0.98 * min(of_run[:-2]))


def _built_in_images(path: Path) -> list[Run]:
    """Return the runs of a file, with synthetic images instead of the file's."""
    spec = load_runs(path)[0].spec
    return load_runs(path, None, _SYNTHETIC if "dataset" in spec.to_dict() else {})


def bench_hours(bench: Bench, paths: Sequence[Path]) -> Report:
    """Estimate the hours of each experiment file's runs on this machine, with synthetic images."""
    rows = []
    changes = _SYNTHETIC
    for path in paths:
        runs = load_runs(path, None, {**changes, "precision": bench.precision})
        resources = decide_resources([run.spec for run in runs], bench.device, None, None)
        costs = measure_costs([run.spec for run in runs], resources, bench.say, fresh=True)
        specs = {RunDir.of(Path("runs"), run): run.spec for run in runs}
        seconds = partial(plan_seconds, plan_runs(list(specs), resources, specs), specs, costs)
        # Settings of a sweep cost the same: they differ in numbers, not in work.
        spec = runs[0].spec

        rows.append(
            {
                "name": path.stem,
                "runs": len(runs),
                "workers": resources.workers,
                "runs_per_worker": resources.runs_per_worker,
                **asdict(costs[spec]),
                "hours_of_a_stack": costs[spec].of_run(spec) / 3600,
                "hours": seconds() / 3600,
                "share_of_metrics": costs[spec].share_of_metrics(spec),
                "hours_curvature_every_epoch": seconds(metrics_every=1, curvature_every=1) / 3600,
                "hours_curvature_once_a_task": seconds(curvature_every=0) / 3600,
                "hours_measured_once_a_task": seconds(metrics_every=0) / 3600,
            }
        )
    return {"device": bench.device, "rows": rows}
