"""`lop check`: check runs against the claims of the paper or the demo."""

from lop_tui.commands.app import app
from lop_tui.commands.options import CARRY, DEFAULT_RUNS_DIRS, EndedByRule, Json, RunsDirs, Where

NOTHING_JUDGED = 3
"""Exit status if no claim has enough data."""


@app.command(epilog="Example: [b]lop check --runs-dir runs/demo[/b]", rich_help_panel="Results")
def check(
    runs_dirs: RunsDirs = DEFAULT_RUNS_DIRS,
    where: Where = "",
    ended_by_rule: EndedByRule = CARRY,
    as_json: Json = False,
) -> int:
    """Compare runs with the published results of their problem, or with the claims of the demo.

    Exit status 0: all judged claims are reproduced; 1: one is not; 3: none could be judged.
    """
    from lop_engine.analysis import group_runs
    from lop_engine.analysis.comparison import refuse_mixed
    from lop_engine.reproduction.verdicts import judge
    from lop_engine.runs.views import place_of
    from lop_tui.commands.reading import read_runs
    from lop_tui.words.claims import as_dict, describe_unjudged, print_findings
    from lop_tui.words.console import print_json
    from lop_tui.words.notices import flag_lines

    runs, _ = read_runs("check", runs_dirs, where, ended_by_rule)
    groups = group_runs(runs)
    refuse_mixed(groups)
    findings, unjudged = judge(groups)
    unreadable = [f"cannot be read: {run.dir.name}: {run.problem}" for run in runs if run.problem]
    notes = (*unreadable, *flag_lines(runs))
    if as_json:
        answer = {
            "runs_dir": place_of(runs_dirs),
            "protocols": [as_dict(finding) for finding in findings],
            "notes": (*notes, *map(str, unjudged)),
        }
        print_json(answer)
    else:
        print_findings(findings, (*notes, *describe_unjudged(unjudged)))
    outcomes = {verdict.outcome for finding in findings for verdict in finding.verdicts}
    if "not reproduced" in outcomes:
        return 1
    return 0 if "reproduced" in outcomes else NOTHING_JUDGED
