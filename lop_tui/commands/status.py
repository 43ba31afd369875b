"""`lop status`: lists every run, as a table or JSON."""

from lop_tui.commands.app import app
from lop_tui.commands.options import CARRY, DEFAULT_RUNS_DIRS, EndedByRule, Json, RunsDirs, Where


@app.command(epilog="Example: [b]lop status --json[/b]", rich_help_panel="Look")
def status(
    runs_dirs: RunsDirs = DEFAULT_RUNS_DIRS,
    where: Where = "",
    ended_by_rule: EndedByRule = CARRY,
    as_json: Json = False,
) -> int:
    """List every run: its state, tasks done, and its headline metric over the last tenth of its tasks."""
    from lop_engine.analysis.eta import study_eta_s
    from lop_engine.analysis.groups import by_problem
    from lop_engine.runs.code_versions import mixed_code
    from lop_engine.runs.query import hint
    from lop_engine.runs.several import read_together
    from lop_tui.commands.reading import carries, matching, no_runs
    from lop_tui.words.console import Console, plural, print_json, say
    from lop_tui.words.formats import time_left
    from lop_tui.words.notices import flag_notices, waiting_jobs
    from lop_tui.words.runs import run_as_dict, table_of_runs

    snapshot = read_together(runs_dirs, carries("status", ended_by_rule))
    views = matching(snapshot.runs, where)
    if as_json:
        rows = [run_as_dict(view) for view in views]
        notes = [f"{mixed.setting}: {mixed.text}" for mixed in mixed_code(views)]
        print_json({"runs_dir": snapshot.place, "eta_s": study_eta_s(snapshot.runs), "runs": rows, "notes": notes})
        return 0
    console = Console()
    if not snapshot.runs:
        say(console, no_runs(snapshot))
        return 0
    if not views:
        advice = hint(snapshot.runs, where)
        say(
            console,
            f'none of the {plural(len(snapshot.runs), "run")} in {snapshot.place} matches --where "{where}"{advice}',
        )
        return 0
    problems = by_problem(views)
    for one in problems:
        console.print(table_of_runs(one, is_alone=len(problems) == 1))
    if left := time_left(study_eta_s(snapshot.runs)):
        say(console, left)
    for view in views:
        what = view.problem or view.status.error or view.status.note
        job = view.job_note if view.state in ("lost", "failed") else None
        if what or job:
            say(console, f"{view.dir.name}: {'; '.join(filter(None, (what, job)))}")
    for notice in (*flag_notices(views), *waiting_jobs(views)):
        say(console, f"{notice.run}: {notice.text}")
    return 0
