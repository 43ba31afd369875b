"""The steps of `lop resume`, in order: from unfinished runs to queued runs."""

from collections import Counter
from collections.abc import Mapping, Sequence

from lop_engine.errors import LaunchError
from lop_engine.experiment.spec import Spec
from lop_engine.launch import take_up
from lop_engine.runs.code import spec_to_train
from lop_engine.runs.directory import RunDir
from lop_engine.runs.jobs import has_job, scheduler
from lop_engine.runs.locks import other_launcher
from lop_engine.runs.records import ENDED
from lop_engine.runs.rules import check_rules, idle_rules
from lop_engine.runs.views import RunView
from lop_tui.commands.background import handed_over, say_taken
from lop_tui.commands.cluster import LauncherOptions, fit, leave_to_jobs, submit
from lop_tui.commands.training import ENDED_BY_RULE, TrainingOptions, identities, train_here
from lop_tui.words.console import Console, plural, resume_command, say


def waiting_of(
    console: Console,
    chosen: Sequence[RunView],
    by_name: bool,
    launcher_options: LauncherOptions,
    rules: Sequence[str] | None = None,
) -> list[RunView]:
    """Return those of `chosen` that nobody trains; reports the rest. Raises LaunchError.

    Args:
        rules: new rules for the runs, which also resume those that a rule has ended.
    """
    for view in chosen:
        if view.problem and by_name:
            raise LaunchError(view.problem)
        if view.problem:
            say(console, f"left out: {view.dir.name}: {view.problem}", style="red")
    readable = [view for view in chosen if not view.problem]
    ended = ENDED - ({"ended-by-rule"} if rules is not None else set())
    waiting = [view for view in readable if view.state not in (*ended, "running")]
    if queued_for_us := handed_over():  # runs that have left the queue were stopped in the meantime
        waiting = [view for view in waiting if view.status.launcher and view.status.launcher.token == queued_for_us]
        return [view for view in waiting if view.state == "queued"]
    waiting = [view for view in waiting if not holder_of(view)]
    queue = scheduler()
    submitted = [view for view in waiting if has_job(view.status, queue)]
    what_of_the_rest = Counter(holder_of(view) or _already(view) for view in readable if view not in waiting)
    for what, count in sorted(what_of_the_rest.items()):
        say(console, f"{count} of {len(readable)} runs {'is' if count == 1 else 'are'} {what}")
    leave_to_jobs(console, [view.dir for view in submitted], len(readable), launcher_options)
    return [view for view in waiting if view not in submitted]


def _already(view: RunView) -> str:
    return ENDED_BY_RULE if view.state == "ended-by-rule" else f"{view.state} already"


def holder_of(view: RunView) -> str | None:
    """Return ``being trained by process 123 ...`` or ``queued by ...`` if another process holds a run; else None."""
    if view.state == "running":
        return f"being trained by {view.status.holder}"
    launcher = other_launcher(view.status)
    return f"queued by {launcher}" if launcher else None


def train(
    console: Console,
    waiting: Sequence[RunView],
    options: TrainingOptions,
    again: Sequence[str],
    rules: Sequence[str] | None = None,
) -> int:
    """Train runs where they were trained before, on the cluster or here; return the exit status. Raises UserError.

    Args:
        again: arguments of a further `lop resume` of these runs.
        rules: new rules for these runs.
    """
    specs = {view.dir: spec_to_train(view.dir) for view in waiting}
    changed = {one: spec.with_changes(stop_when=rules) for one, spec in specs.items()} if rules else {}
    for spec in dict.fromkeys(changed.values()):
        check_rules(spec, "--stop-when")
    for note in idle_rules(changed):
        say(console, f"note: {note}")
    requests = dict(options.launcher_options.requests(waiting))
    here = {view.dir: specs[view.dir] for view in requests.pop(None, [])}
    fitted = [(fit(console, request), views) for request, views in requests.items() if request]
    if fitted and options.notify:
        raise LaunchError("--notify is for this machine; on a cluster: lop wait --notify CMD")
    launchers = [options.jobs({view.dir: specs[view.dir] for view in views}, request) for request, views in fitted]
    # Refuse impossible requests before anything is changed.
    if here:
        options.plan(here)
    for launcher in launchers:
        launcher.check()
    for launcher, (request, _) in zip(launchers, fitted, strict=True):
        take_up([run_dir for stack in launcher.plan.stacks for run_dir in stack], request.typed, rules=rules)
    if launchers:
        submit(console, launchers, options.runs_dir, options.watch and not here)
    return _train_here(console, here, options, again, rules) if here else 0


def _train_here(
    console: Console,
    specs: Mapping[RunDir, Spec],
    options: TrainingOptions,
    again: Sequence[str],
    rules: Sequence[str] | None,
) -> int:
    prepared = take_up(list(specs), handed_over=handed_over(), rules=rules)
    say_taken()
    about = f", {len(prepared.resumed)} from checkpoints"
    if options.detach:
        say(console, f"{plural(len(specs), 'run')}{about}")
    to_train = {run_dir: specs[run_dir] for run_dir in prepared.to_train}
    resume = f"resume with {resume_command(options.runs_dir, again)}"
    return train_here(console, options, to_train, identities(to_train), about, resume)
