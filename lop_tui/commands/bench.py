"""`lop bench`, and how long a plan will take."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast, get_args

from rich.table import Table

import lop_engine
from lop_engine.bench import measure
from lop_engine.bench.costs import Costs, measure_costs, plan_seconds
from lop_engine.errors import LaunchError, UserError, did_you_mean
from lop_engine.experiment.run import load_runs, shipped
from lop_engine.experiment.spec import Precision, Spec
from lop_engine.launch import Plan, decide_resources
from lop_engine.runs.directory import RunDir
from lop_tui.commands.console import Console, say

Report = dict[str, Any]
PARTS = ("steps", "workers", "stacks", "metrics", "upkeep", "memory", "hours")


def bench_machine(
    configs: Sequence[Path], device: str, only: Sequence[str], rounds: int, precision: str, as_json: bool
) -> int:
    """Metric the parts that are asked for, and print them as tables or as JSON. Raises UserError."""
    for part in only:
        if part not in PARTS:
            raise UserError(f'--only "{part}": choose {", ".join(PARTS)}{did_you_mean(part, PARTS)}')
    if precision not in get_args(Precision):
        raise UserError(f'--precision "{precision}": choose {", ".join(get_args(Precision))}')
    resources = decide_resources([measure.paper_spec()], device, 1, 1)
    chosen = resources.devices[0]
    paths = list(configs) or _shipped_configs()
    for path in paths:
        load_runs(path)  # what is wrong with a file is said now, not after two minutes
    progress, console = Console(stderr=True), Console()
    if resources.note:
        say(progress, f"note: {resources.note}")
    about = {"device": chosen, "precision": precision, "measured_at": time.time(), "lop": lop_engine.__version__}
    report: Report = dict(about)
    bench = measure.Bench(chosen, rounds, lambda text: say(progress, text, style="dim"), cast(Precision, precision))
    for part in [part for part in PARTS if part in (only or PARTS)]:
        if part in ("workers", "stacks") and chosen != "cpu":
            continue  # a GPU has one worker a stack, as large as its memory
        measured = getattr(measure, f"bench_{part}")
        report[part] = measured(bench, paths) if part in ("hours", "stacks") else measured(bench)
        if not as_json:
            _TABLES[part](console, report[part])
    if as_json:
        print(json.dumps(report, indent=2))
    return 0


def say_estimate(console: Console, plan: Plan, specs: Mapping[RunDir, Spec]) -> None:
    """Print how long a plan will take on this machine, measuring what is not known yet."""
    try:
        costs = measure_costs(
            list(dict.fromkeys(specs.values())), plan.resources, lambda text: say(Console(stderr=True), text, "dim")
        )
    except LaunchError as error:
        say(console, f"no estimate: {error}")
        return
    seconds = plan_seconds(plan, specs, costs)
    say(console, f"about {duration(seconds)} on this machine while nothing else runs on it")
    longest = max(dict.fromkeys(specs.values()), key=lambda spec: costs[spec].of_run(spec))
    share = costs[longest].share_of_metrics(longest)
    if share > 0.5:
        say(console, f"metrics take {100 * share:.0f} % of the time")
    for line in _curvature_and_metrics(plan, specs, costs):
        say(console, line)


def _curvature_and_metrics(plan: Plan, specs: Mapping[RunDir, Spec], costs: Mapping[Spec, Costs]) -> Iterator[str]:
    """What `curvature_every` and `metrics_every` would save or cost, if that is at least a tenth of the time."""
    now, at_task_end, each_epoch, least = (
        plan_seconds(plan, specs, costs, **changes)
        for changes in ({}, {"curvature_every": 0}, {"curvature_every": 1}, {"metrics_every": 0})
    )
    if at_task_end < 0.9 * now:
        yield f"--set curvature_every=0 (curvature after each task's last epoch only): about {duration(at_task_end)}"
    elif each_epoch > 1.1 * now:
        yield f"--set curvature_every=1 (curvature after each recorded epoch): about {duration(each_epoch)}"
    if least < 0.9 * at_task_end:
        yield f"--set metrics_every=0 (all metrics after each task's last epoch only): about {duration(least)}"


def duration(seconds: float) -> str:
    """``42 s``, ``3 min``, ``2.5 h``, ``12 days``: about."""
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.{1 if seconds < 10 * size else 0}f} {unit}"
    return f"{seconds:.0f} s"


def _shipped_configs() -> list[Path]:
    """The paper's protocol: the files in ``cfg`` here, or those that come with lop."""
    return sorted(Path("cfg").glob("*.json")) or [path for name, path in shipped().items() if "/" not in name]


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left")
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="right" if index else "left", no_wrap=True)
    return table


def _milliseconds(row: Report, key: str = "ms") -> str:
    return f"{row[key]:.3g}" if row[key] < 100 else f"{row[key]:.0f}"


def _quartiles(row: Report) -> str:
    return f"{_milliseconds(row, 'low_ms')}-{_milliseconds(row, 'high_ms')}"


def _hours(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 10 else f"{hours:.2g}"


def _show_steps(console: Console, report: Report) -> None:
    where = report["gpu"] or "one thread"
    product = report["rows"][0]
    table = _table(
        f"training step, 100 images a seed, {where}; matrix product {product['gflop_per_s']:.0f} GFLOP/s",
        *("", "ms", "quartiles", "a seed", "GFLOP/s", "% product", "/ plain"),
    )
    for row in report["rows"][1:]:
        table.add_row(
            row["name"],
            _milliseconds(row),
            _quartiles(row),
            _milliseconds(row, "ms_per_seed"),
            f"{row['gflop_per_s']:.0f}",
            f"{100 * row['share_of_matrix_product']:.0f}",
            f"{row['speed_over_plain']:.2f}",
        )
    console.print(table)


def _show_workers(console: Console, report: Report) -> None:
    table = _table(
        f"the whole machine, {report['cores']} cores, bp", "", "ms a step", "quartiles", "seed-steps a second"
    )
    for row in report["rows"]:
        table.add_row(row["name"], _milliseconds(row), _quartiles(row), f"{row['seed_steps_per_s']:.1f}")
    console.print(table)


def _show_stacks(console: Console, report: Report) -> None:
    table = _table("stacks: the runs that pay on one core", "", "runs", "us a step and run, by runs in the stack")
    for row in report["rows"]:
        times = "  ".join(f"{size}: {1000 * ms / int(size):.3g}" for size, ms in row["ms"].items())
        table.add_row(row["name"], str(row["runs"]), times)
    for column in table.columns:
        column.no_wrap = False
    console.print(table)


def _show_metrics(console: Console, report: Report) -> None:
    table = _table("metrics after an epoch, one seed, one thread", "", "ms", "quartiles")
    for row in report["rows"]:
        table.add_row(row["name"], _milliseconds(row), _quartiles(row))
    table.caption = (
        f"the curvature {report['speed_over_plain']:.2f} times as fast as plain; 11 passes at the rate of the matrix "
        f"product would take {report['limit_ms']:.0f} ms: {100 * report['share_of_matrix_product']:.0f} % of it"
    )
    console.print(table)


def _show_upkeep(console: Console, report: Report) -> None:
    table = _table("beside the training of a task (250 epochs), one seed", "", "ms", "quartiles", "% of training")
    names = {"epoch": "training epoch", "append": "one record", "switch": "next task, if nothing hides it"}
    for row in report["rows"]:
        share = "" if row["name"] == "epoch" else f"{100 * row['share_of_training']:.2g}"
        table.add_row(names.get(row["name"], row["name"]), _milliseconds(row), _quartiles(row), share)
    console.print(table)


def _show_memory(console: Console, report: Report) -> None:
    table = _table("the most a worker holds, paper's protocol", "seeds", "MiB", "MiB on the GPU")
    for row in report["rows"]:
        on_gpu = f"{row['gpu_bytes'] / 2**20:.0f}" if row["gpu_bytes"] is not None else ""
        table.add_row(str(row["seeds"]), f"{row['bytes'] / 2**20:.0f}", on_gpu)
    console.print(table)


_HOURS = ("hours", "hours_curvature_every_epoch", "hours_curvature_once_a_task")


def _show_hours(console: Console, report: Report) -> None:
    table = _table(
        "hours of experiment files on this machine, all workers at work",
        *("", "runs", "at once", "s/epoch", "metrics", "curv.", "h", "h (1)", "h (0)"),
    )
    table.caption = (
        "at once: workers x seeds of each; metrics: seconds without the curvature; h: of all runs as the file says, "
        "with the curvature after each epoch (1: curvature_every=1) and after each task's last epoch (0)"
    )
    for row in report["rows"]:
        table.add_row(
            row["name"],
            str(row["runs"]),
            f"{row['workers']} x {row['runs_per_worker']}",
            f"{row['epoch_s']:.3g}",
            f"{row['metrics_s']:.3g}",
            f"{row['curvature_s']:.3g}",
            *(_hours(row[key]) for key in _HOURS),
        )
    console.print(table)


_TABLES: dict[str, Callable[[Console, Report], None]] = {
    "steps": _show_steps,
    "workers": _show_workers,
    "stacks": _show_stacks,
    "metrics": _show_metrics,
    "upkeep": _show_upkeep,
    "memory": _show_memory,
    "hours": _show_hours,
}
