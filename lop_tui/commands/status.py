"""`lop status`: every run, for people and for programs."""

from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from lop_engine.analysis import final_value
from lop_engine.analysis.groups import OneProblem, by_problem
from lop_engine.experiment import seen
from lop_engine.experiment.components import Metric
from lop_engine.runs.code_versions import mixed_code
from lop_engine.runs.query import filter_runs, hint
from lop_engine.runs.reading import RunsReader
from lop_engine.runs.views import RunView
from lop_engine.text import plain
from lop_tui.commands.console import Console, plural, print_json, say
from lop_tui.dashboard import formats
from lop_tui.dashboard.rows import flag_notices, waiting_jobs

_STYLES = {"running": "green", "failed": "red", "lost": "red", "diverged": "magenta", "stopped": "yellow"}


def show_status(runs_dir: Path, where: str, as_json: bool) -> int:
    """Print the state of every run that matches `where`; return 0 also when there is none. Raises QueryError."""
    snapshot = RunsReader(runs_dir).read()
    views = filter_runs(snapshot.runs, where)
    if as_json:
        rows = [_as_dict(view) for view in views]
        notes = [f"{mixed.setting}: {mixed.text}" for mixed in mixed_code(views)]
        print_json({"runs_dir": str(runs_dir), "runs": rows, "notes": notes})
        return 0
    console = Console()
    if not snapshot.runs:
        say(console, f"no runs in {runs_dir}; start some with lop run CFG, or name another --runs-dir")
        return 0
    if not views:
        advice = hint(snapshot.runs, where)
        say(console, f'none of the {plural(len(snapshot.runs), "run")} in {runs_dir} matches --where "{where}"{advice}')
        return 0
    problems = by_problem(views)
    for one in problems:
        console.print(_table(one, is_alone=len(problems) == 1))
    for view in views:
        what = view.problem or view.status.error or view.status.note
        job = view.job_note if view.state in ("lost", "failed") else None
        if what or job:
            say(console, f"{view.dir.name}: {'; '.join(filter(None, (what, job)))}")
    for notice in (*flag_notices(views), *waiting_jobs(views)):
        say(console, f"{notice.run}: {notice.text}")
    return 0


def _table(one: OneProblem, is_alone: bool) -> Table:
    """A row a run; the headline's column is the last of its kind, as in ``train %  test %``.

    Methods have a column unless each experiment is named after its method.
    """
    measures = [seen.metric(name) for name in reversed(one.problem.together or (one.headline,)) if name]
    caption = f"{', '.join(map(formats.column_heading, measures))}: mean of the last tenth of the tasks"
    table = Table(title=None if is_alone else one.problem.title, caption=caption if measures else None)
    methods = ["method"] if any(view.method not in ("", view.experiment) for view in one.runs) else []
    table.add_column("run", overflow="fold")
    for heading in (*methods, "state"):
        table.add_column(heading)
    for heading in ("tasks", *map(formats.column_heading, measures), "left"):
        table.add_column(heading, justify="right")
    jobs = ["job"] if any(view.status.job for view in one.runs) else []
    for heading in jobs:
        table.add_column(heading, no_wrap=True)
    for view in one.runs:
        running = view.state == "running" and view.status.eta_s is not None
        table.add_row(
            plain(view.dir.name),
            *(plain(view.method) for _ in methods),
            Text(view.state, _STYLES.get(view.state, "default")),
            f"{view.tasks_recorded}/{view.num_tasks}",
            *(_last(view, measure) for measure in measures),
            formats.duration(view.status.eta_s) if running and view.status.eta_s is not None else "",
            *(f"{view.status.job or ''} {view.status.host or ''}".strip() for _ in jobs),
        )
    return table


def _last(view: RunView, measure: Metric) -> str:
    value = final_value(view, measure.name)
    return "-" if value is None else formats.short_value(value, measure.scale)


def _as_dict(view: RunView) -> dict[str, Any]:
    return {
        "run": view.dir.name,
        "experiment": view.experiment,
        "setting": view.setting,
        "method": view.method,
        "problem": view.problem_name,
        "seed": view.seed,
        "state": view.state,
        "tasks_done": view.tasks_recorded,
        "num_tasks": view.num_tasks,
        "progress": view.progress,
        "eta_s": view.status.eta_s if view.state == "running" else None,
        "device": view.status.device,
        "host": view.status.host,
        "pid": view.status.pid,
        "job": view.status.job,
        "job_note": view.job_note,
        "heartbeat_at": view.status.heartbeat_at,
        "error": view.problem or view.status.error,
        "flags": view.flags,
        "last_tenth": {name: final_value(view, name) for name in view.series},
        "last": {name: float(values[-1]) for name, values in view.series.items() if len(values)},
    }
