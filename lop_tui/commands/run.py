"""`lop run`: from experiment files to finished runs."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.table import Table

from lop_engine import NUMERICS
from lop_engine.errors import ConfigError, LaunchError, StoreError
from lop_engine.experiment.run import Run, load_runs
from lop_engine.experiment.spec import Spec
from lop_engine.experiment.sweep import describe_seeds, parse_overrides, parse_seeds
from lop_engine.launch import (
    ClusterLauncher,
    JobRequest,
    Plan,
    as_begun,
    cluster,
    decide_resources,
    describe_workers,
    plan_runs,
    prepare_run_dirs,
    resolve_runs,
)
from lop_engine.launch.stack_sizes import largest_worker
from lop_engine.runs.code_changes import Choice, refuse_beside_other_code, settle_code
from lop_engine.runs.directory import RunDir
from lop_engine.runs.locks import other_launcher
from lop_engine.runs.reading import RunsReader, without_garbage_collection
from lop_engine.runs.records import ENDED
from lop_engine.runs.views import RunView
from lop_tui.commands.background import detach, handed_over, say_taken
from lop_tui.commands.bench import say_estimate
from lop_tui.commands.cluster import (
    HERE,
    OPTION,
    Launching,
    fit,
    leave_to_jobs,
    refuse_to_train_here,
    submit,
)
from lop_tui.commands.console import Console, confirm, in_runs_dir, plural, say
from lop_tui.commands.summary import summary_tables
from lop_tui.commands.supervise import supervise
from lop_tui.dashboard.rows import flag_lines


@dataclass(frozen=True)
class Request:
    """What was typed after `lop run`."""

    configs: list[Path]
    seeds: str | None
    runs_dir: Path
    data: str | None
    device: str
    workers: int | None
    runs_per_worker: int | None
    retries: int
    overrides: list[str]
    watch: bool
    detach: bool
    fresh: bool
    yes: bool
    dry_run: bool
    estimate: bool = True
    launching: Launching = HERE
    code: Choice = "refuse"


def run_experiments(request: Request) -> int:
    """Carry out a request; return the exit status: 0 done, 1 a run failed, 130 stopped. Raises UserError."""
    console = Console()
    notes: list[str] = []
    with without_garbage_collection():
        resolved = resolve_runs(_load(request, notes))
        runs = resolved.runs if request.fresh else as_begun(request.runs_dir, resolved.runs)
    for note in (*notes, *resolved.notes, *_kept_values(resolved.runs, runs)):
        say(console, f"note: {note}")
    wanted = request.launching.request()
    wanted = fit(console, wanted) if wanted else None
    if request.dry_run and wanted:
        jobs = _jobs(request, runs, wanted)
        console.print(_plan_table(jobs.plan, runs, resolved.images, jobs.describe()))
        for line in jobs.preview():
            say(console, line)
        return 0
    if request.dry_run:
        specs = _specs(request, runs)
        plan = _plan(request, specs)
        say_note(console, plan)
        console.print(_plan_table(plan, runs, resolved.images, describe_workers(plan.resources)))
        say_memory(console, plan, specs)
        if request.estimate:
            say_estimate(console, plan, specs)
        return 0
    if request.fresh and not request.yes:
        _confirm_fresh(console, request.runs_dir, runs)
    if wanted and (request.workers or request.device != "auto"):
        raise LaunchError(f"--workers and --device are for this machine; of a task say {OPTION} gpus=... or cpus=...")
    if wanted:  # what cannot be had is refused before anything is changed
        _jobs(request, runs, wanted).check()
    else:
        _plan(request, _specs(request, runs))
        if not request.launching.launcher and not request.fresh:
            refuse_to_train_here(RunDir.of(request.runs_dir, run) for run in runs)
    if not request.fresh:
        say_unrecorded(console, settle_code([RunDir.of(request.runs_dir, run) for run in runs], request.code))
    if request.code != "accept":
        refuse_beside_other_code(request.runs_dir, runs)
    prepared = prepare_run_dirs(request.runs_dir, runs, request.fresh, handed_over(), wanted.typed if wanted else None)
    say_taken()
    if prepared.done:
        say(console, f"{len(prepared.done)} of {plural(len(runs), 'run')} {_are(len(runs))} finished already")
    if prepared.resumed:
        they = "goes on where it" if len(runs) == 1 else "go on where they"
        say(console, f"{len(prepared.resumed)} of {plural(len(runs), 'run')} {they} stopped")
    leave_to_jobs(console, prepared.submitted, len(runs), request.launching)
    if wanted and prepared.to_train:
        jobs = _jobs(request, _those(prepared.to_train, request, runs), wanted)
        return submit(console, [jobs], request.runs_dir, request.watch)
    if prepared.submitted and not prepared.to_train:
        return 0
    if request.detach and prepared.to_train:
        return detach(console, request.runs_dir)
    planned = identities([*prepared.done, *prepared.to_train])
    if prepared.to_train:
        plan = _plan(request, _specs(request, _those(prepared.to_train, request, runs)))
        say_note(console, plan)
        workers = describe_workers(plan.resources)
        say(console, f"{plural(len(prepared.to_train), 'run')} on {workers}; records in {request.runs_dir}")
        if not supervise(
            console, plan, planned.keys(), request.runs_dir, request.watch, request.retries, request.workers
        ):
            again = f"lop resume{in_runs_dir(request.runs_dir)}"
            say(console, f"stopped; the same lop run, or {again}, goes on from the last checkpoints")
            return 130
    return conclude(console, request.runs_dir, planned)


def _load(request: Request, notes: list[str]) -> list[Run]:
    """All runs of all files; appends notes for the user to `notes`. Raises ConfigError."""
    overrides = parse_overrides(request.overrides)
    if request.data is not None:
        is_name = request.data in ("synthetic", "imagenet32")
        overrides["dataset"] = request.data if is_name else str(Path(request.data).absolute())
    seeds = parse_seeds(request.seeds) if request.seeds is not None else None
    by_name: dict[str, Path] = {}
    for path in request.configs:
        if path.stem in by_name:
            raise ConfigError(
                f"{by_name[path.stem]} and {path} would both keep their runs under {request.runs_dir / path.stem}; "
                "run them with different --runs-dir"
            )
        by_name[path.stem] = path
    options = {"dataset": "--data"} if request.data is not None else {}
    return [run for path in request.configs for run in load_runs(path, seeds, overrides, notes, options)]


def _plan(request: Request, specs: Mapping[RunDir, Spec]) -> Plan:
    with without_garbage_collection():
        resources = decide_resources(list(specs.values()), request.device, request.workers, request.runs_per_worker)
        return plan_runs(list(specs), resources, specs)


def _jobs(request: Request, runs: Sequence[Run], wanted: JobRequest) -> ClusterLauncher:
    specs = _specs(request, runs)
    of = cluster(wanted.launcher).launcher_of
    return of(list(specs), wanted, request.runs_dir, request.retries, request.runs_per_worker, specs)


def _specs(request: Request, runs: Sequence[Run]) -> dict[RunDir, Spec]:
    with without_garbage_collection():
        return {RunDir.of(request.runs_dir, run): run.spec for run in runs}


def _those(dirs: Iterable[RunDir], request: Request, runs: Sequence[Run]) -> list[Run]:
    """The runs in these directories."""
    wanted = set(dirs)
    return [run for run in runs if RunDir.of(request.runs_dir, run) in wanted]


def _kept_values(asked: Sequence[Run], runs: Sequence[Run]) -> list[str]:
    """Notes on runs that keep the `curvature_every` they began with, one per setting and value."""
    pairs = zip(runs, asked, strict=True)
    kept = Counter(
        (run.experiment, run.setting, run.spec.curvature_every, new.spec.curvature_every)
        for run, new in pairs
        if run.spec.curvature_every != new.spec.curvature_every
    )
    return [
        f"{experiment}/{setting}: {plural(count, 'run')} began with curvature_every={old} and keeps it "
        f"({new} was asked for)"
        for (experiment, setting, old, new), count in kept.items()
    ]


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _confirm_fresh(console: Console, runs_dir: Path, runs: Sequence[Run]) -> None:
    existing = [run for run in runs if RunDir.of(runs_dir, run).run_json.exists()]
    if not existing:
        return
    question = f"--fresh removes {plural(len(existing), 'run')} with all records under {runs_dir}. Remove them?"
    confirm(console, question, "nothing removed, nothing started")


def identities(run_dirs: Iterable[RunDir]) -> dict[RunDir, str]:
    """The identity of each run; runs that another command has just removed are left out."""
    found = {}
    for run_dir in run_dirs:
        with suppress(FileNotFoundError):
            found[run_dir] = run_dir.read_id()
    return found


def conclude(console: Console, runs_dir: Path, planned: Mapping[RunDir, str]) -> int:
    """Print the state of the runs by setting; return 1 unless all of them have ended.

    Args:
        planned: each run, and its identity when it was queued.
    """
    views = RunsReader(runs_dir).read().runs
    settings = {run_dir.path.parent for run_dir in planned}
    for table in summary_tables([view for view in views if view.dir.path.parent in settings]):
        console.print(table)
    ours = [view for view in views if view.dir in planned]
    for gone in sorted(planned.keys() - {view.dir for view in ours}):
        say(console, f"{gone.name}: its directory is gone")
    for line in flag_lines(ours):
        say(console, line)
    unended = {view: why for view in ours if (why := _why_not_ended(view, planned[view.dir]))}
    for view, why in unended.items():
        say(console, f"{view.dir.name} {why}", style="red")
    failed = [view for view in unended if view.state == "failed" and not view.problem]
    if failed:
        say(console, f"log: {failed[0].dir.worker_log(failed[0].status)}")
    return 1 if unended or len(ours) < len(planned) else 0


def _why_not_ended(view: RunView, identity: str) -> str | None:
    """The state of a run and why it has not ended; None if it has ended."""
    with suppress(OSError, StoreError):
        if view.dir.read_id() != identity:
            return "was started over by another lop command; its records are not from this lop run"
    if view.state in ENDED:
        return None
    return f"{view.state}: {view.problem or view.status.error or _hint(view)}"


def _hint(view: RunView) -> str:
    launcher = other_launcher(view.status)
    if view.state == "queued" and launcher:
        return f"by {launcher}"
    return {
        "lost": "its worker is gone; run the same command again to resume it",
        "stopped": "by another command or a signal; run the same command again to resume it",
        "running": f"by {view.status.holder}",
        "queued": "its lop run has ended; run the same command again to train it",
    }.get(view.state, "")


def say_unrecorded(console: Console, run_dirs: Sequence[RunDir]) -> None:
    """Say which runs continue although their run.json does not say with what code they began."""
    if run_dirs:
        more = f" and {plural(len(run_dirs) - 1, 'more run')}" if len(run_dirs) > 1 else ""
        say(
            console,
            f"note: {run_dirs[0].name}{more} began with a version of lop that did not record its code; "
            f"its numbers are those of this version (numerics {NUMERICS})",
        )


def say_note(console: Console, plan: Plan) -> None:
    """Say what the plan cannot know, or why a GPU that is present is not used."""
    if plan.resources.note:
        say(console, f"note: {plan.resources.note}")


def say_memory(console: Console, plan: Plan, specs: Mapping[RunDir, Spec]) -> None:
    """Say how much memory the workers of a plan take, roughly, and whether this machine has it."""
    largest = largest_worker(plan.stacks, plan.resources.devices[0], specs)
    if largest is None:
        return
    num_bytes, num_runs = largest
    if plan.resources.devices[0] != "cpu":
        say(console, f"memory: up to {_gib(num_bytes)} of the GPU for a worker of {plural(num_runs, 'run')}")
        return
    count = min(plan.resources.workers, len(plan.stacks))
    together = f"; {_gib(count * num_bytes)} for {count} workers" if count > 1 else ""
    say(console, f"memory: roughly {_gib(num_bytes)} for a worker of {plural(num_runs, 'run')}{together}")
    free = psutil.virtual_memory().available
    if count * num_bytes > free:
        say(console, f"note: {_gib(free)} of memory is free here; set fewer --runs-per-worker or --workers")


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.1f} GiB"


def _plan_table(plan: Plan, runs: Sequence[Run], images: list[str], workers: str) -> Table:
    stacks = _stacks(plan)
    shared = any("shared" in one for one in stacks.values())
    caption = [STACK, *([SHARED] if shared else []), *([f"images: {', '.join(images)}"] if images else [])]
    table = Table(
        title=f"{plural(len(runs), 'run')} in {plural(len(plan.stacks), 'stack')} on {workers}",
        caption="\n".join(caption),
    )
    for heading in ("experiment", "setting", "method", "seeds", "tasks", "epochs a task", "stacks"):
        table.add_column(heading, overflow="fold")
    by_setting: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        by_setting.setdefault((run.experiment, run.setting), []).append(run)
    for (experiment, setting), same in by_setting.items():
        spec, seeds = same[0].spec, describe_seeds(run.seed for run in same).rstrip(",")
        counts = str(spec.num_tasks), str(spec.num_showings)
        table.add_row(experiment, setting, spec.method, seeds, *counts, stacks[experiment, setting])
    return table


STACK = "A stack is the runs that one worker trains in step."
SHARED = "Settings share one if they differ only in numbers such as the step size."


def _stacks(plan: Plan) -> dict[tuple[str, str], str]:
    """By experiment and setting, its stacks: ``30 of 1 run``; ``2 of 45 runs, shared`` with other settings."""
    sizes: dict[tuple[str, str], Counter[tuple[int, str]]] = defaultdict(Counter)
    for stack in plan.stacks:
        settings = dict.fromkeys((run_dir.experiment, run_dir.setting) for run_dir in stack)
        for setting in settings:
            sizes[setting][len(stack), ", shared" if len(settings) > 1 else ""] += 1
    return {
        setting: "; ".join(f"{count} of {plural(size, 'run')}{shared}" for (size, shared), count in counts.items())
        for setting, counts in sizes.items()
    }
