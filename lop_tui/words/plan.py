"""A training plan as text: its table, duration and memory."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

import psutil
from rich.table import Table

from lop_engine.bench.costs import ROUNDED, Costs, measure_costs, plan_seconds
from lop_engine.errors import LaunchError
from lop_engine.experiment.run import Run
from lop_engine.experiment.spec import Spec
from lop_engine.experiment.sweep import describe_seeds
from lop_engine.launch import Plan
from lop_engine.launch.stack_sizes import largest_worker
from lop_engine.runs.directory import RunDir
from lop_engine.text import byte_size
from lop_tui.words.console import Console, plural, say


def say_note(console: Console, plan: Plan) -> None:
    """Print what the plan cannot know, or why a GPU of this machine is not used."""
    if plan.resources.note:
        say(console, f"note: {plan.resources.note}")


def say_memory(console: Console, plan: Plan, specs: Mapping[RunDir, Spec]) -> None:
    """Print the approximate memory of a plan's workers, and whether this machine has it."""
    largest = largest_worker(plan.stacks, plan.resources.devices[0], specs)
    if largest is None:
        return
    num_bytes, num_runs = largest
    if plan.resources.devices[0] != "cpu":
        say(console, f"memory: up to {byte_size(num_bytes)} of the GPU for a worker of {plural(num_runs, 'run')}")
        return
    count = min(plan.resources.workers, len(plan.stacks))
    together = f"; {byte_size(count * num_bytes)} for {count} workers" if count > 1 else ""
    say(console, f"memory: roughly {byte_size(num_bytes)} for a worker of {plural(num_runs, 'run')}{together}")
    free = psutil.virtual_memory().available
    if count * num_bytes > free:
        say(console, f"note: {byte_size(free)} of memory is free here; set fewer --runs-per-worker or --workers")


def plan_table(plan: Plan, runs: Sequence[Run], images: Sequence[str], workers: str) -> Table:
    """Return a table with a row per setting.

    Args:
        workers: who trains, as text.
    """
    stacks = _stacks(plan)
    shared = any("shared" in one for one in stacks.values())
    caption = [STACK, *([SHARED] if shared else []), *([f"images: {', '.join(images)}"] if images else [])]
    table = Table(
        title=f"{plural(len(runs), 'run')} in {plural(len(plan.stacks), 'stack')} on {workers}",
        caption="\n".join(caption),
    )
    for heading in ("experiment", "setting", "method", "seeds", "tasks", "epochs per task", "stacks"):
        table.add_column(heading, overflow="fold")
    by_setting: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        by_setting.setdefault((run.experiment, run.setting), []).append(run)
    for (experiment, setting), same in by_setting.items():
        spec, seeds = same[0].spec, describe_seeds(run.seed for run in same).rstrip(",")
        counts = str(spec.num_tasks), str(spec.num_showings)
        table.add_row(experiment, setting, spec.method, seeds, *counts, stacks[experiment, setting])
    return table


STACK = "A stack is the runs that one worker trains together."
SHARED = "Settings share one if they differ only in numbers such as the step size."


def _stacks(plan: Plan) -> dict[tuple[str, str], str]:
    """Return the stacks by experiment and setting: ``30 of 1 run``; ``2 of 45 runs, shared`` with other settings."""
    sizes: dict[tuple[str, str], Counter[tuple[int, str]]] = defaultdict(Counter)
    for stack in plan.stacks:
        settings = dict.fromkeys((run_dir.experiment, run_dir.setting) for run_dir in stack)
        for setting in settings:
            sizes[setting][len(stack), ", shared" if len(settings) > 1 else ""] += 1
    return {
        setting: "; ".join(f"{count} of {plural(size, 'run')}{shared}" for (size, shared), count in counts.items())
        for setting, counts in sizes.items()
    }


def say_estimate(console: Console, plan: Plan, specs: Mapping[RunDir, Spec]) -> None:
    """Print how long a plan will take on this machine; measures what is not known yet."""
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
    for line in [*_curvature_and_metrics(plan, specs, costs), *_precisions(plan, specs, costs)]:
        say(console, line)


def _curvature_and_metrics(plan: Plan, specs: Mapping[RunDir, Spec], costs: Mapping[Spec, Costs]) -> Iterator[str]:
    """Return what `curvature_every` and `metrics_every` save or cost, if it is at least a tenth of the time."""
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


def _precisions(plan: Plan, specs: Mapping[RunDir, Spec], costs: Mapping[Spec, Costs]) -> Iterator[str]:
    """Return what another precision would save on a GPU, if it is at least a tenth of the time."""
    now = plan_seconds(plan, specs, costs)
    for precision in ROUNDED:
        if all(precision in one.rounded_epoch_s for one in costs.values()):
            rounded = plan_seconds(plan, specs, costs, precision=precision)
            if rounded < 0.9 * now:
                yield f"--set precision={precision} (the training step is rounded): about {duration(rounded)}"


def duration(seconds: float) -> str:
    """Return an approximate duration: ``42 s``, ``3 min``, ``2.5 h``, ``12 days``."""
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.{1 if seconds < 10 * size else 0}f} {unit}"
    return f"{seconds:.0f} s"
