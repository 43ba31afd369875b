"""``python -m bench.leaderboard``: search and compare every method on a compressed protocol; write docs/leaderboard.md.

Settings are chosen on seeds that are not reported. The command first estimates how long training takes and searches as
many settings of each method as fit into ``--minutes``. All results are in the runs directory; run the command again to
resume it. It trains on the CPU.
"""

import argparse
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.leaderboard_page import PageInput, page
from bench.leaderboard_plan import FIRST_REPORTED, FULL, SMALL, Board, Form, add_time, planned, read_json, time_taken
from lop_engine.analysis import group_runs
from lop_engine.analysis.choice import Choice, choose, families
from lop_engine.errors import UserError, sentence
from lop_engine.experiment.run import Run
from lop_engine.files import replacing, writing
from lop_engine.launch import as_begun
from lop_engine.runs.directory import RunDir
from lop_engine.runs.reading import RunsReader
from lop_tui.commands import starting
from lop_tui.commands.cluster import HERE
from lop_tui.commands.training import TrainingOptions
from lop_tui.words.console import Console, plural, say
from lop_tui.words.plan import duration


def train(runs: Sequence[Run], options: TrainingOptions, console: Console) -> int:
    """Train unfinished runs, like `lop run`; return its exit status."""
    runs_as_stored = as_begun(options.runs_dir, runs)
    requested = starting.RequestedRuns(
        runs_as_stored, {RunDir.of(options.runs_dir, run): run.spec for run in runs_as_stored}, []
    )
    prepared = starting.queue(console, requested, options, None, False, "refuse")
    began = time.monotonic()
    try:
        return starting.train(console, requested, prepared, options, None)
    finally:
        if prepared.to_train:
            add_time(options.runs_dir, time.monotonic() - began)


def choices_of(board: Board, runs: Sequence[Run], options: TrainingOptions) -> dict[str, Choice]:
    """Return each method's best setting on the selection seeds, without methods that have no valid choice.

    Args:
        runs: the runs of the selection and of the reported seeds.
    """
    ours = {RunDir.of(options.runs_dir, run) for run in runs}
    groups = group_runs(view for view in RunsReader(options.runs_dir).read().runs if view.dir in ours)
    by_name = {
        one[0].experiment: choose(one, one[0].problem.headline, "last", board.select) for one in families(groups)
    }
    return {method: choice for method in board.settings if (choice := by_name.get(method))}


def step_costs(form: Form, runs_dir: Path, console: Console) -> Mapping[str, float]:
    """Return the time of each method's step over bp's from `lop bench --methods`, cached in the runs directory."""
    path = runs_dir / "bench.json"
    report = read_json(path)
    if report is None:
        say(console, "measuring the step of each method ...")
        words = [sys.executable, "-m", "lop_tui", "bench", "--methods", "--device", "cpu", "--json"]
        result = subprocess.run([*words, "--rounds", str(form.bench_rounds)], stdout=subprocess.PIPE, check=False)
        if result.returncode:
            raise UserError("lop bench --methods failed; its message is above")
        report = json.loads(result.stdout)
        with replacing(path) as file:
            file.write(result.stdout)
    try:
        return {row["name"]: float(row["over_bp"]) for row in report["methods"]["rows"]}
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{path}: is not the output of lop bench --methods --json; remove it") from None


def describe(board: Board, seconds: float) -> str:
    """Return a description of the training and its duration, in two lines."""
    searched, there = sum(map(len, board.settings.values())), sum(board.num_in_files.values())
    runs = len(board.search) + len(board.report) * len(board.settings)
    return (
        f"{plural(len(board.settings), 'method')}, {searched} of {plural(there, 'setting')} "
        f"(at most {max(map(len, board.settings.values()))} a method), {plural(runs, 'run')}: "
        f"about {duration(seconds)} on this machine while nothing else runs on it"
    )


def make(args: argparse.Namespace, command: str) -> int:
    """Plan, train, choose, and write the page; return the exit status. Raises UserError."""
    form, console = SMALL if args.small else FULL, Console()
    options = TrainingOptions(args.runs_dir, "cpu", None, None, 1, False, False, HERE)
    board, seconds = planned(form, args, options, console)
    say(console, describe(board, seconds))
    if args.dry_run:
        for method, runs in board.settings.items():
            say(console, f"{method}: {', '.join(run.setting for run in runs)}")
        return 0
    costs = step_costs(form, args.runs_dir, console)
    runs = [*board.search, *board.reported(board.without_choice)]
    if status := train(runs, options, console):
        return status
    chosen = {method: choice.group.setting for method, choice in choices_of(board, runs, options).items()}
    runs = [*board.search, *board.reported(chosen)]
    if status := train(runs, options, console):
        return status
    choices = choices_of(board, runs, options)
    if not choices:
        raise UserError(f"{args.runs_dir}: no setting of any method has a value of every selection seed")
    searched = {method: (len(runs), board.num_in_files[method]) for method, runs in board.settings.items()}
    spec, taken = board.settings["bp"][0].spec, time_taken(args.runs_dir)
    made = PageInput(choices, searched, costs, board.select, board.report, spec, command, taken, seconds)
    with writing(args.output) as file:
        file.write(page(made).encode())
    say(console, f"page: {args.output}")
    return 0


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.leaderboard", description=__doc__)
    parser.add_argument("--minutes", type=float, default=100, help="of training, by the estimate (100)")
    parser.add_argument("--seeds", type=int, default=5, help="reported seeds, at least 2 (5)")
    parser.add_argument("--select", type=int, default=2, help="selection seeds, 1 to 100 (2)")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs/leaderboard"), metavar="DIR")
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/leaderboard.md"), metavar="FILE.md")
    parser.add_argument("--dry-run", action="store_true", help="say what would be trained and how long it takes")
    parser.add_argument("--small", action="store_true", help="two methods, a tiny network: for the tests")
    args = parser.parse_args(words)
    if args.seeds < 2 or not 1 <= args.select <= FIRST_REPORTED:
        parser.error(f"--seeds takes 2 or more, --select 1 to {FIRST_REPORTED}")
    typed = sys.argv[1:] if words is None else words
    try:
        return make(args, shlex.join(["python", "-m", "bench.leaderboard", *typed]))
    except (UserError, OSError) as error:
        print(f"leaderboard: {sentence(error) if isinstance(error, OSError) else error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
