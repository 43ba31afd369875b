"""From experiment files to queued runs: the steps of `lop run`, in the order in which it takes them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lop_engine.errors import ConfigError, LaunchError
from lop_engine.experiment.run import Run, load_runs
from lop_engine.experiment.spec import Spec
from lop_engine.experiment.sweep import parse_overrides, parse_seeds
from lop_engine.launch import JobRequest, as_begun, describe_workers, prepare_run_dirs, resolve_runs
from lop_engine.launch.prepare import Prepared
from lop_engine.runs.code_changes import Choice, refuse_beside_other_code, settle_code
from lop_engine.runs.directory import RunDir
from lop_engine.runs.reading import without_garbage_collection
from lop_tui.commands.background import handed_over, say_taken
from lop_tui.commands.cluster import OPTION, leave_to_jobs, refuse_to_train_here, submit
from lop_tui.commands.training import Means, conclude, identities, say_unrecorded, train_here
from lop_tui.words.console import Console, confirm, in_runs_dir, plural, say
from lop_tui.words.plan import plan_table, say_estimate, say_memory, say_note


@dataclass(frozen=True)
class Asked:
    """The runs that experiment files ask for."""

    runs: Sequence[Run]
    specs: Mapping[RunDir, Spec]
    """The same by directory, in the same order."""
    images: Sequence[str]
    """The data sets that they train on."""


def load(
    console: Console,
    configs: Sequence[Path],
    seeds: str | None,
    overrides: Sequence[str],
    data: str | None,
    runs_dir: Path,
    fresh: bool,
) -> Asked:
    """Read all runs of all files, and say what of them is worth a note. Raises UserError."""
    notes: list[str] = []
    with without_garbage_collection():
        resolved = resolve_runs(_of_files(configs, seeds, overrides, data, runs_dir, notes))
        runs = resolved.runs if fresh else as_begun(runs_dir, resolved.runs)
        specs = {RunDir.of(runs_dir, run): run.spec for run in runs}
    for note in (*notes, *resolved.notes, *_kept_values(resolved.runs, runs)):
        say(console, f"note: {note}")
    return Asked(runs, specs, resolved.images)


def _of_files(
    configs: Sequence[Path],
    seeds: str | None,
    overrides: Sequence[str],
    data: str | None,
    runs_dir: Path,
    notes: list[str],
) -> list[Run]:
    """All runs of all files; appends notes for the user to `notes`. Raises ConfigError."""
    values = parse_overrides(list(overrides))
    if data is not None:
        values["dataset"] = data if data in ("synthetic", "imagenet32") else str(Path(data).absolute())
    chosen = parse_seeds(seeds) if seeds is not None else None
    by_name: dict[str, Path] = {}
    for path in configs:
        if path.stem in by_name:
            raise ConfigError(
                f"{by_name[path.stem]} and {path} would both keep their runs under {runs_dir / path.stem}; "
                "run them with different --runs-dir"
            )
        by_name[path.stem] = path
    options = {"dataset": "--data"} if data is not None else {}
    return [run for path in configs for run in load_runs(path, chosen, values, notes, options)]


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


def show_plan(console: Console, asked: Asked, means: Means, request: JobRequest | None, estimate: bool) -> None:
    """Say what would be trained by whom (of a job array also its script), how long it takes and how much memory."""
    if request:
        jobs = means.jobs(asked.specs, request)
        console.print(plan_table(jobs.plan, asked.runs, asked.images, jobs.describe()))
        for line in jobs.preview():
            say(console, line)
        return
    plan = means.plan(asked.specs)
    say_note(console, plan)
    console.print(plan_table(plan, asked.runs, asked.images, describe_workers(plan.resources)))
    say_memory(console, plan, asked.specs)
    if estimate:
        say_estimate(console, plan, asked.specs)


def confirm_fresh(console: Console, runs_dir: Path, asked: Asked) -> None:
    """Ask before runs that exist are started over. Raises LaunchError unless the answer is yes."""
    existing = [run_dir for run_dir in asked.specs if run_dir.run_json.exists()]
    if existing:
        question = f"--fresh removes {plural(len(existing), 'run')} with all records under {runs_dir}. Remove them?"
        confirm(console, question, "nothing removed, nothing started")


def refuse_what_cannot_be_had(asked: Asked, means: Means, request: JobRequest | None, fresh: bool) -> None:
    """Refuse what cannot be trained as asked, before anything is changed. Raises UserError."""
    if request and (means.workers or means.device != "auto"):
        raise LaunchError(f"--workers and --device are for this machine; of a task say {OPTION} gpus=... or cpus=...")
    if request:
        means.jobs(asked.specs, request).check()
        return
    means.plan(asked.specs)
    if not means.launching.launcher and not fresh:
        refuse_to_train_here(asked.specs)


def queue(
    console: Console, asked: Asked, means: Means, request: JobRequest | None, fresh: bool, code: Choice
) -> Prepared:
    """Make the run directories, or take up those that were begun; say which have ended and which resume."""
    if not fresh:
        say_unrecorded(console, settle_code(list(asked.specs), code))
    if code != "accept":
        refuse_beside_other_code(means.runs_dir, asked.runs)
    typed = request.typed if request else None
    prepared = prepare_run_dirs(means.runs_dir, asked.runs, fresh, handed_over(), typed)
    say_taken()
    total = len(asked.runs)
    of_all = plural(total, "run")
    if prepared.done:
        say(console, f"{len(prepared.done)} of {of_all} {'is' if total == 1 else 'are'} finished already")
    if prepared.resumed:
        they = "goes on where it" if total == 1 else "go on where they"
        say(console, f"{len(prepared.resumed)} of {of_all} {they} stopped")
    leave_to_jobs(console, prepared.submitted, total, means.launching)
    return prepared


def train(console: Console, asked: Asked, prepared: Prepared, means: Means, request: JobRequest | None) -> int:
    """Train the queued runs, here or on the cluster; return the exit status of `lop run`."""
    queued = set(prepared.to_train)
    to_train = {run_dir: spec for run_dir, spec in asked.specs.items() if run_dir in queued}
    if to_train and request:
        return submit(console, [means.jobs(to_train, request)], means.runs_dir, means.watch)
    if to_train:
        again = f"the same lop run, or lop resume{in_runs_dir(means.runs_dir)}, goes on from the last checkpoints"
        about = f"; records in {means.runs_dir}"
        return train_here(console, means, to_train, identities([*prepared.done, *to_train]), about, again)
    return 0 if prepared.submitted else conclude(console, means.runs_dir, identities(prepared.done))
