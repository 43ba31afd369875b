"""`lop list`: one line per setting, with all its seeds."""

from lop_tui.commands.app import app
from lop_tui.commands.options import CARRY, DEFAULT_RUNS_DIRS, EndedByRule, Json, RunsDirs, Where


@app.command("list", epilog="Example: [b]lop list --where method:cbp[/b]", rich_help_panel="Look")
def list_settings(
    runs_dirs: RunsDirs = DEFAULT_RUNS_DIRS,
    where: Where = "",
    ended_by_rule: EndedByRule = CARRY,
    as_json: Json = False,
) -> int:
    """List experiments and settings, a line for each setting; lop status lists single runs."""
    from lop_engine.analysis import group_runs
    from lop_engine.analysis.groups import by_problem
    from lop_engine.runs.views import place_of
    from lop_tui.commands.reading import read_runs
    from lop_tui.words.console import Console, print_json, say
    from lop_tui.words.notices import flag_lines
    from lop_tui.words.runs import setting_as_dict, table_of_settings

    runs, _ = read_runs("list", runs_dirs, where, ended_by_rule)
    groups = group_runs(runs)
    if as_json:
        answer = {"runs_dir": place_of(runs_dirs), "settings": [setting_as_dict(group) for group in groups]}
        print_json(answer)
        return 0
    console = Console(pipe_width=160)
    problems = by_problem(runs)
    for one in problems:
        console.print(table_of_settings(one, console.width, is_alone=len(problems) == 1))
    for run in (run for group in groups for run in group.runs if run.problem):
        say(console, f"cannot be read: {run.dir.name}: {run.problem}")
    for line in flag_lines([run for group in groups for run in group.runs]):
        say(console, line)
    return 0
