"""The steps of `lop run`, in order: from experiment files to queued runs."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lop_engine.errors import ConfigError, LaunchError
from lop_engine.experiment.run import Run, load_runs
from lop_engine.experiment.spec import Spec
from lop_engine.experiment.sweep import parse_overrides, parse_seeds
from lop_engine.launch import JobRequest, as_begun, describe_workers, prepare_run_dirs, resolve_runs
from lop_engine.launch.prepare import Prepared
from lop_engine.runs.code_versions import Choice, refuse_beside_other_code, settle_code
from lop_engine.runs.directory import RunDir
from lop_engine.runs.reading import without_garbage_collection
from lop_engine.runs.rules import check_rules, idle_rules, rules_typed
from lop_tui.commands.background import handed_over, say_taken
from lop_tui.commands.cluster import OPTION, leave_to_jobs, refuse_to_train_here, submit
from lop_tui.commands.events import RunWatcher
from lop_tui.commands.training import ENDED_BY_RULE, TrainingOptions, conclude, identities, say_unrecorded, train_here
from lop_tui.words.console import Console, confirm, in_runs_dir, plural, say
from lop_tui.words.plan import plan_table, say_estimate, say_memory, say_note


@dataclass(frozen=True)
class RequestedRuns:
    """The runs that experiment files ask for."""

    runs: Sequence[Run]
    specs: Mapping[RunDir, Spec]
    """The same runs by directory, in the same order."""
    images: Sequence[str]
    """Data sets that the runs train on."""


@dataclass(frozen=True)
class Overrides:
    """Options that override keys of the files."""

    overrides: Sequence[str]
    """``key=value``"""
    data: str | None = None
    stop_when: Sequence[str] | None = None

    def values(self) -> tuple[dict[str, Any], dict[str, str]]:
        """Return the value of each key, with its option unless that is ``--set``. Raises ConfigError."""
        values = parse_overrides(list(self.overrides))
        options = {}
        if self.data is not None:
            is_name = self.data in ("synthetic", "imagenet32", "mnist")
            values["dataset"] = self.data if is_name else str(Path(self.data).absolute())
            options["dataset"] = "--data"
        if self.stop_when:
            values["stop_when"] = rules_typed(self.stop_when)
            options["stop_when"] = "--stop-when"
        return values, options


def load(
    console: Console, configs: Sequence[Path], seeds: str | None, typed: Overrides, runs_dir: Path, fresh: bool
) -> RequestedRuns:
    """Read all runs of all files, and print notes on them. Raises UserError."""
    notes: list[str] = []
    with without_garbage_collection():
        resolved = resolve_runs(_of_files(configs, seeds, typed, runs_dir, notes))
        runs = resolved.runs if fresh else as_begun(runs_dir, resolved.runs)
        specs = {RunDir.of(runs_dir, run): run.spec for run in runs}
    for note in (*notes, *resolved.notes, *_fixed_values(resolved.runs, runs)):
        say(console, f"note: {note}")
    return RequestedRuns(runs, specs, resolved.images)


def _of_files(
    configs: Sequence[Path], seeds: str | None, typed: Overrides, runs_dir: Path, notes: list[str]
) -> list[Run]:
    """Return all runs of all files; appends notes for the user to `notes`. Raises ConfigError."""
    values, options = typed.values()
    chosen = parse_seeds(seeds) if seeds is not None else None
    by_name: dict[str, Path] = {}
    for path in configs:
        if path.stem in by_name:
            raise ConfigError(
                f"{by_name[path.stem]} and {path} would both keep their runs under {runs_dir / path.stem}; "
                "run them with different --runs-dir"
            )
        by_name[path.stem] = path
    runs: list[Run] = []
    for path in configs:
        of_file = load_runs(path, chosen, values, notes, options)
        for spec in dict.fromkeys(run.spec for run in of_file):
            check_rules(spec, options.get("stop_when", str(path)))
        runs += of_file
    notes += idle_rules({RunDir.of(runs_dir, run): run.spec for run in runs if run.spec.stop_when})
    return runs


def _fixed_values(requested: Sequence[Run], runs: Sequence[Run]) -> list[str]:
    """Return notes on runs that keep a value from their start, one per setting, key and value."""
    counts = Counter(
        (run.experiment, run.setting, key, getattr(run.spec, key), getattr(new.spec, key))
        for run, new in zip(runs, requested, strict=True)
        for key in _FIXED
        if getattr(run.spec, key) != getattr(new.spec, key)
    )
    return [
        f"{experiment}/{setting}: {plural(count, 'run')} began with {key}={_shown(old)} and keeps it "
        f"({_shown(new)} was asked for){_FIXED[key]}"
        for (experiment, setting, key, old, new), count in counts.items()
    ]


#: Keys whose value a run keeps even if its file changes, and how to change them.
_FIXED = {"curvature_every": "", "stop_when": "; lop resume --stop-when changes it"}


def _shown(value: Any) -> str:
    return json.dumps(value)


def show_plan(
    console: Console, requested: RequestedRuns, options: TrainingOptions, request: JobRequest | None, estimate: bool
) -> None:
    """Print which worker would train what (for a job array also its script), the duration and the memory."""
    if request:
        jobs = options.jobs(requested.specs, request)
        console.print(plan_table(jobs.plan, requested.runs, requested.images, jobs.describe()))
        for line in jobs.preview():
            say(console, line)
        return
    plan = options.plan(requested.specs)
    say_note(console, plan)
    console.print(plan_table(plan, requested.runs, requested.images, describe_workers(plan.resources)))
    say_memory(console, plan, requested.specs)
    if estimate:
        say_estimate(console, plan, requested.specs)


def confirm_fresh(console: Console, runs_dir: Path, requested: RequestedRuns) -> None:
    """Ask before existing runs are started over. Raises LaunchError unless the answer is yes."""
    existing = [run_dir for run_dir in requested.specs if run_dir.run_json.exists()]
    if existing:
        question = f"--fresh removes {plural(len(existing), 'run')} with all records under {runs_dir}. Remove them?"
        confirm(console, question, "nothing removed, nothing started")


def refuse_what_cannot_be_had(
    requested: RequestedRuns, options: TrainingOptions, request: JobRequest | None, fresh: bool
) -> None:
    """Refuse impossible requests before anything is changed. Raises UserError."""
    if request and options.notify:
        raise LaunchError("--notify is for this machine; on a cluster: lop wait --notify CMD")
    if request and (options.workers or options.device != "auto"):
        raise LaunchError(
            f"--workers and --device are for this machine; on a cluster use {OPTION} gpus=... or cpus=..."
        )
    if request:
        options.jobs(requested.specs, request).check()
        return
    options.plan(requested.specs)
    if not options.launcher_options.launcher and not fresh:
        refuse_to_train_here(requested.specs)


def queue(
    console: Console,
    requested: RequestedRuns,
    options: TrainingOptions,
    request: JobRequest | None,
    fresh: bool,
    code: Choice,
) -> Prepared:
    """Create run directories or queue existing ones; print which have ended and which resume."""
    if not fresh:
        say_unrecorded(console, settle_code(list(requested.specs), code))
    if code != "accept":
        refuse_beside_other_code(options.runs_dir, requested.runs)
    typed = request.typed if request else None
    prepared = prepare_run_dirs(options.runs_dir, requested.runs, fresh, handed_over(), typed)
    say_taken()
    total = len(requested.runs)
    of_all = plural(total, "run")
    by_rule = [run_dir for run_dir in prepared.done if run_dir.read_status().state == "ended-by-rule"]
    if by_rule:
        say(console, f"{len(by_rule)} of {of_all} {'is' if total == 1 else 'are'} {ENDED_BY_RULE}")
    if num_finished := len(prepared.done) - len(by_rule):
        say(console, f"{num_finished} of {of_all} {'is' if total == 1 else 'are'} finished already")
    if prepared.resumed:
        they = "resumes where it" if total == 1 else "resume where they"
        say(console, f"{len(prepared.resumed)} of {of_all} {they} stopped")
    leave_to_jobs(console, prepared.submitted, total, options.launcher_options)
    return prepared


def train(
    console: Console, requested: RequestedRuns, prepared: Prepared, options: TrainingOptions, request: JobRequest | None
) -> int:
    """Train the queued runs, here or on the cluster; return the exit status of `lop run`."""
    queued = set(prepared.to_train)
    to_train = {run_dir: spec for run_dir, spec in requested.specs.items() if run_dir in queued}
    if to_train and request:
        return submit(console, [options.jobs(to_train, request)], options.runs_dir, options.watch)
    if to_train:
        again = f"the same lop run, or lop resume{in_runs_dir(options.runs_dir)}, resumes from the last checkpoints"
        about = f"; records in {options.runs_dir}"
        return train_here(console, options, to_train, identities([*prepared.done, *to_train]), about, again)
    if prepared.submitted:
        return 0
    status = conclude(console, options.runs_dir, identities(prepared.done))
    for warning in RunWatcher(options.notify, options.runs_dir, prepared.done).end(status):
        say(console, warning, style="yellow")
    return status
