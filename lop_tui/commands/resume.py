"""`lop resume`: trains stopped, failed, lost and queued runs to their end."""

from lop_tui.commands.app import app
from lop_tui.commands.options import (
    DEFAULT_RUNS_DIR,
    AcceptCodeChange,
    Detach,
    Device,
    Launcher,
    Notify,
    Retries,
    RunsDir,
    RunsPerWorker,
    Selectors,
    Slurm,
    Stage,
    StopWhen,
    UseStoredCode,
    Watch,
    Where,
    Workers,
    code_choice,
)


@app.command(epilog="Example: [b]lop resume cbp/default[/b]", rich_help_panel="Train")
def resume(
    runs: Selectors = None,
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
    where: Where = "",
    device: Device = "auto",
    workers: Workers = None,
    runs_per_worker: RunsPerWorker = None,
    retries: Retries = 1,
    launcher: Launcher = None,
    slurm: Slurm = None,
    stage: Stage = None,
    stop_when: StopWhen = None,
    notify: Notify = "",
    watch: Watch = False,
    detach: Detach = False,
    accept_code_change: AcceptCodeChange = False,
    use_stored_code: UseStoredCode = False,
) -> int:
    """Resume stopped, failed, lost and queued runs from their checkpoints; by default all."""
    from lop_engine.runs.code_versions import settle_code
    from lop_engine.runs.reading import RunsReader
    from lop_engine.runs.rules import rules_typed
    from lop_engine.runs.selection import names_of
    from lop_tui.commands import resuming
    from lop_tui.commands.background import say_taken
    from lop_tui.commands.cluster import LauncherOptions
    from lop_tui.commands.reading import say_matched, select_runs
    from lop_tui.commands.training import TrainingOptions, say_unrecorded
    from lop_tui.words.console import Console, say

    console = Console()
    launcher_options = LauncherOptions.typed(launcher, slurm, stage)
    code = code_choice(accept_code_change, use_stored_code)
    options = TrainingOptions(
        runs_dir, device, workers, runs_per_worker, retries, watch, detach, launcher_options, notify
    )
    snapshot = RunsReader(runs_dir).read()
    selection = select_runs(snapshot, runs or [], where)
    say_matched(console, selection, snapshot)
    rules = rules_typed(stop_when) if stop_when else None
    waiting = resuming.waiting_of(console, selection.runs, bool(runs), launcher_options, rules)
    if not waiting:
        say_taken()
        say(console, "nothing to resume")
        return 2 if any(resuming.holder_of(view) and not view.status.job for view in selection.runs) else 0
    say_unrecorded(console, settle_code([view.dir for view in waiting], code))
    again = runs or [] if selection.query.is_empty else names_of(waiting)
    return resuming.train(console, waiting, options, again, rules)
