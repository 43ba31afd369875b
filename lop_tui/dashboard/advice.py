"""Texts shown when there is nothing to draw: the reason, and what to do."""

from lop_tui.dashboard.model import View
from lop_tui.words.console import as_argument, in_runs_dir, plural

Advice = tuple[str, tuple[str, ...], str]
"""A reason, commands that help, and a remark."""

DEMO = "lop run cfg/demo/bp.json cfg/demo/cbp.json --seeds 2"


def advice(view: View) -> Advice | None:
    """Return the advice to show; None if there is something to draw."""
    where = str(view.runs_dir)
    if view.phase in ("no directory", "no runs") and view.nested:
        commands = tuple(f"lop watch {as_argument(path)}" for path in view.nested[:4])
        return f"No runs lie directly under {where}/, but there are some below it:", commands, ""
    start = f"{DEMO}{in_runs_dir(view.runs_dir)}"
    remark = "They will show up here as soon as they start."
    if view.phase == "no directory":
        return f"There is no directory {where}/ yet. Start the first runs in another terminal:", (start,), remark
    if view.phase == "no runs":
        return f"There are no runs in {where}/ yet. Start some in another terminal:", (start,), remark
    if view.phase == "none match":
        query = view.request.settings.query
        return (
            f"None of the {plural(view.num_hidden, 'run')} matches the filter: {query}",
            (),
            "/ changes it; empty shows all.",
        )
    if view.rows and not any(row.is_drawn for row in view.rows):
        return "All methods are hidden.", (), "h shows the one under the cursor, H shows all."
    if any(chart.has_points for chart in view.charts):
        return None
    if view.phase == "no tasks":
        return "No task is finished yet.", (), "Each chart gets its first point when the first task ends."
    if view.phase == "ended":
        return (
            "No run recorded a single task.",
            (),
            "The lines above say why, worker.log in the run's directory says more.",
        )
    return None


def closing_hint(view: View) -> str:
    """Return what to do when all runs have ended."""
    return f"All runs have ended. Figures: lop plot{''.join(map(in_runs_dir, view.runs_dirs))}"
