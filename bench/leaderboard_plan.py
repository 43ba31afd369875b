"""The plan of `bench.leaderboard`: the grid of each method, and the part of it that fits into the time."""

import argparse
import heapq
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lop_engine.bench.costs import Costs, measure_costs
from lop_engine.errors import UserError
from lop_engine.experiment.registry import METHODS
from lop_engine.experiment.run import Run, load_runs, shipped
from lop_engine.experiment.spec import Spec
from lop_engine.experiment.sweep import read_config
from lop_engine.files import read_small, replacing
from lop_engine.launch import resolve_runs
from lop_engine.runs.directory import RunDir
from lop_tui.commands.training import TrainingOptions
from lop_tui.words.console import Console, say
from lop_tui.words.plan import duration

FIRST_REPORTED = 100
"""Reported seeds are counted from here and selection seeds from 0. The values in cfg/demo were chosen on low seeds."""

#: Grids for methods whose file in cfg/demo has one setting. The first value of each key is that of the file.
GRIDS: Mapping[str, Mapping[str, Sequence[float]]] = {
    "l2": {"weight_decay": [1e-3, 1e-4]},
    "snp": {"perturb_scale": [1e-4, 1e-3]},
    "cbp": {"replacement_rate": [1e-3, 1e-4]},
    "cbp2": {"replacement_rate": [1e-3, 1e-4]},
    "hare_tortoise": {"hare_tortoise_decay": [0.9, 0.99]},
    "snp_task": {"snp_task_shrink": [0.8, 0.4]},
    "plasticity_injection": {"injection_layers": [2, 3]},
}


@dataclass(frozen=True)
class Form:
    """A protocol, without the numbers of seeds."""

    methods: Sequence[str]
    changes: Mapping[str, Any]
    """Keys that replace those of the files in cfg/demo."""
    of_method: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The same for one method."""
    bench_rounds: int = 7


METRICS = ["test_accuracy", "effective_rank"]
TASKS = 100
FULL = Form(
    METHODS.built_in,
    {"num_tasks": TASKS, "num_showings": 4, "width": 0.25, "metrics": METRICS},
    {"plasticity_injection": {"injection_after": TASKS // 4}},  # as in the method's file
)
SMALL = Form(
    ("bp", "cbp"),
    {
        "num_tasks": 4,
        "num_showings": 1,
        "dataset_classes": 6,
        "train_images": 20,
        "test_images": 10,
        "mini_batch_size": 10,
        "width": 0.125,
        "metrics": METRICS,
    },
    {"cbp": {"replacement_rate": 0.001, "step_size": [0.03, 0.01]}},
    bench_rounds=1,
)


def grid(method: str, form: Form) -> list[Run]:
    """Return every setting of a method's file in a fixed random order, each as a run of seed 0."""
    path = shipped().get(f"demo/{method}") or shipped().get(f"demo/methods/{method}")
    if path is None:
        raise UserError(f"cfg/demo: no file for the method {method}; add cfg/demo/methods/{method}.json")
    in_file = read_config(path)  # linear has no width
    of_file = {key: value for key, value in form.changes.items() if key in in_file or key == "metrics"}
    changes = {**of_file, **GRIDS.get(method, {}), **form.of_method.get(method, {})}
    settings = load_runs(path, [0], changes)
    return random.Random(0).sample(settings, len(settings))


@dataclass(frozen=True)
class Board:
    """The runs of a leaderboard."""

    settings: Mapping[str, Sequence[Run]]
    """By method, the settings to search, each as a run of seed 0."""
    num_in_files: Mapping[str, int]
    """By method, the settings in its whole grid."""
    select: range
    report: range

    @property
    def search(self) -> list[Run]:
        """Return the runs that choose among settings; none for a method with one setting."""
        several = [one for settings in self.settings.values() if len(settings) > 1 for one in settings]
        return [replace(run, seed=seed) for run in several for seed in self.select]

    def reported(self, chosen: Mapping[str, str]) -> list[Run]:
        """Return the runs of reported seeds: those of the chosen setting of each method in `chosen`."""
        runs = [run for method, name in chosen.items() for run in self.settings[method] if run.setting == name]
        return [replace(run, seed=seed) for run in runs for seed in self.report]

    @property
    def without_choice(self) -> dict[str, str]:
        """Return the only setting of each method that has one."""
        return {method: only[0].setting for method, only in self.settings.items() if len(only) == 1}

    def first(self, num_settings: int) -> "Board":
        """Return the board with at most `num_settings` of each method."""
        return replace(self, settings={method: runs[:num_settings] for method, runs in self.settings.items()})


def whole_board(form: Form, seeds: int, select: int) -> Board:
    settings = {method: grid(method, form) for method in form.methods}
    by_method = dict(zip(settings, _split(settings), strict=True))
    sizes = {method: len(runs) for method, runs in by_method.items()}
    return Board(by_method, sizes, range(select), range(FIRST_REPORTED, FIRST_REPORTED + seeds))


def _split(settings: Mapping[str, Sequence[Run]]) -> list[list[Run]]:
    """Return the settings with complete specs."""
    resolved = iter(resolve_runs([run for runs in settings.values() for run in runs]).runs)
    return [[next(resolved) for _ in runs] for runs in settings.values()]


@dataclass(frozen=True)
class Price:
    """Cost of training a method."""

    costs: Costs
    size: int
    """Runs in the stack of `costs`."""

    def seconds(self, spec: Spec, num_runs: int) -> float:
        """Return the seconds of a stack of `num_runs` with its worker's start, in proportion to the measured stack."""
        return self.costs.start_s + self.costs.of_run(spec) * num_runs / self.size


def seconds_of(board: Board, prices: Mapping[str, Price], options: TrainingOptions) -> float:
    """Return the duration of training: the search, then the reported seeds. A free worker takes the next stack."""
    firsts = {method: runs[0].setting for method, runs in board.settings.items()}
    total = 0.0
    for runs in filter(None, (board.search, board.reported(firsts))):
        specs = {RunDir.of(options.runs_dir, run): run.spec for run in runs}
        plan = options.plan(specs)
        free_at = [0.0] * plan.resources.workers
        for stack in plan.stacks:
            takes = prices[stack[0].experiment].seconds(specs[stack[0]], len(stack))
            heapq.heapreplace(free_at, free_at[0] + takes)
        total += max(free_at)
    return total


def measure(board: Board, options: TrainingOptions, console: Console) -> dict[str, Price]:
    """Measure the cost of each method's first setting on this machine; its other settings cost about the same."""
    specs = {method: runs[0].spec for method, runs in board.settings.items()}
    firsts = board.reported({method: runs[0].setting for method, runs in board.settings.items()})
    resources = options.plan({RunDir.of(options.runs_dir, run): run.spec for run in firsts}).resources
    costs = measure_costs(list(specs.values()), resources, lambda text: say(console, text))
    return {method: Price(costs[spec], resources.size_of(spec)) for method, spec in specs.items()}


def fit(board: Board, prices: Mapping[str, Price], options: TrainingOptions, minutes: float) -> tuple[Board, float]:
    """Return the part of the grid that fits into `minutes`, and its seconds. Raises UserError if nothing fits."""
    for num_settings in range(max(board.num_in_files.values()), 0, -1):
        part = board.first(num_settings)
        seconds = seconds_of(part, prices, options)
        if seconds <= 60 * minutes:
            return part, seconds
    raise UserError(
        f"--minutes {minutes:g}: the reported seeds alone take about {duration(seconds)} on this machine; "
        "allow more minutes or ask for fewer --seeds"
    )


PLAN = "leaderboard.json"
"""The file in the runs directory that holds the plan, so that a second call resumes the same runs."""


def planned(form: Form, args: argparse.Namespace, options: TrainingOptions, console: Console) -> tuple[Board, float]:
    """Return the board of the runs directory, or a new one that fits into the time, and its seconds.

    Raises:
        UserError: the directory holds a board of other options, or there is too little time.
    """
    whole, path = whole_board(form, args.seeds, args.select), options.runs_dir / PLAN
    request = {"seeds": args.seeds, "select": args.select, "methods": [*form.methods], "keys": dict(form.changes)}
    known = _read_plan(path, request)
    if known:
        names = known["settings"]
        settings = {m: [run for run in runs if run.setting in names.get(m, ())] for m, runs in whole.settings.items()}
        if not all(settings.values()):
            raise UserError(f"{path}: has no setting that this version of lop knows; name another --runs-dir")
        return replace(whole, settings=settings), known["seconds"]
    board, seconds = fit(whole, measure(whole, options, console), options, args.minutes)
    if not args.dry_run:
        names = {method: [run.setting for run in runs] for method, runs in board.settings.items()}
        options.runs_dir.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(json.dumps({"asked": request, "settings": names, "seconds": seconds}).encode())
    return board, seconds


def add_time(runs_dir: Path, seconds: float) -> None:
    """Add to the training time of all calls, which is stored in the plan."""
    path = runs_dir / PLAN
    known = read_json(path) or {}
    with replacing(path) as file:
        file.write(json.dumps({**known, "trained_s": known.get("trained_s", 0) + seconds}).encode())


def time_taken(runs_dir: Path) -> float:
    """Return the seconds of training in all calls."""
    return float((read_json(runs_dir / PLAN) or {}).get("trained_s", 0))


def _read_plan(path: Path, request: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the content of a plan, or None. Raises UserError if its options differ."""
    known = read_json(path)
    if known is None:
        return None
    if not {"asked", "settings", "seconds"} <= known.keys():
        raise UserError(f"{path}: is not a plan of this command; remove it or name another --runs-dir")
    for key, new in request.items():
        if (old := known["asked"].get(key)) != new:
            raise UserError(f"{path}: was made with other {key} ({old}, not {new}); name another --runs-dir")
    return known


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the object in a file; None if the file does not exist. Raises UserError."""
    try:
        content = json.loads(read_small(path, 2**20))
    except FileNotFoundError:
        return None
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise UserError(f"{path}: is not a JSON object; remove it and run the command again")
    return content
