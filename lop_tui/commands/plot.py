"""`lop plot`: from runs to a figure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lop_engine.analysis import Group, group_runs
from lop_engine.analysis.comparison import refuse_mixed
from lop_engine.analysis.groups import OneProblem, one_problem
from lop_engine.analysis.windows import epoch_curves, is_never_finite, late_task, mean_level
from lop_engine.errors import UserError
from lop_engine.experiment import seen
from lop_engine.experiment.components import Problem
from lop_engine.reproduction.levels import published_baseline
from lop_tui.commands.console import Console, say
from lop_tui.commands.plot_request import MOST_DOTS, Request, experiment_among, metrics_among, task_list, task_range
from lop_tui.commands.plot_settings import best_of_each, keys_to_show, one_experiment, settings_along
from lop_tui.commands.reading import read_runs
from lop_tui.commands.selection_words import notes_on_selection
from lop_tui.dashboard.rows import flag_lines

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lop_tui.figures import Look


@dataclass
class _Plan:
    """What is to be drawn, and what a person should know of it."""

    groups: list[Group]
    problem: Problem
    """Of all groups."""
    metrics: list[str]
    every_group: list[Group]
    """Also those that were not asked for: they keep their colours, and linear runs are a baseline."""
    notes: list[str]


def plot_runs(request: Request) -> int:
    """Draw a figure and say where it is. Raises UserError and OSError."""
    request.check()
    task_range(request.tasks)  # what can be refused before the records are read

    from lop_tui import figures  # matplotlib takes its time

    plan = _planned(request)
    path = request.output or request.runs_dir / f"{_stem(request, plan.metrics)}.png"
    if path.suffix.lower() not in figures.FORMATS:
        raise UserError(f"plot: {path}: choose one of {', '.join(figures.FORMATS)}")
    figure, look = _DRAWERS[request.kind](request, plan)
    _refuse_endless(figure, path, look)
    remarks = figures.save(figure, path, look)
    console = Console()
    for note in plan.notes:
        say(console, note)
    for remark in remarks:
        say(Console(stderr=True), remark)
    say(console, f"figure: {path}")
    return 0


def _refuse_endless(figure: "Figure", path: Path, look: "Look") -> None:
    """Refuse a PNG that grew with its settings until it would fill the memory."""
    width, height = figure.get_figwidth(), figure.get_figheight()
    if path.suffix.lower() == ".png" and max(width, height) * (look.dpi or look.looks.dpi) > MOST_DOTS:
        raise UserError(
            f"plot: {path}: so much needs {width:.0f}x{height:.0f} inches, more than {MOST_DOTS} dots; "
            "choose SVG or PDF, a smaller --dpi, or fewer settings with --where"
        )


def _planned(request: Request) -> _Plan:
    chosen, runs = read_runs("plot", request.runs_dir, request.where)
    shown = one_problem(chosen)
    known = list(dict.fromkeys([*seen.metric_names(), *shown.recorded]))
    experiment, words = experiment_among(request.words, known) if request.kind == "sweep" else ("", request.words)
    if request.kind == "metrics":
        words = words or ["all"]
    metrics = metrics_among(words, shown.metrics, known)
    groups = group_runs(shown.runs)
    notes = [shown.note] if shown.note else []
    notes += [f"cannot be read: {run.problem}" for run in shown.runs if run.problem] + flag_lines(shown.runs)
    if request.kind == "sweep":
        groups = one_experiment(groups, experiment)
    refuse_mixed(groups)
    if request.kind not in ("methods", "sensitivity", "grid"):  # these say themselves which seeds they choose by
        notes += notes_on_selection(groups, group_runs(one_problem(runs, shown.problem.name).runs), request.seeds)
    plan = _Plan(groups, shown.problem, metrics or _by_default(request, shown), group_runs(runs), notes)
    _refuse_unrecorded(plan, explicit=bool(metrics) and words not in ([], ["all"]))
    if request.kind in ("seeds", "within-task", "grid") and len(metrics) > 1:
        raise UserError(f"plot: --kind {request.kind}: a panel is a setting here, so name one metric")
    return plan


def _by_default(request: Request, shown: OneProblem) -> list[str]:
    """The headline; within tasks, with metrics of its kind."""
    if not shown.headline:
        raise UserError(f"plot: no run in {request.runs_dir} has finished a task yet; try again later")
    is_within = request.kind == "within-task"
    return list(shown.problem.together if is_within else ()) or [shown.headline]


def _refuse_unrecorded(plan: _Plan, explicit: bool) -> None:
    """Refuse a metric that no run has, if it was named; pass over it among the problem's."""
    recorded = {metric for group in plan.groups for run in group.runs for metric in run.series}
    missing = [metric for metric in plan.metrics if metric not in recorded]
    if not recorded or not missing:  # without any task there is nothing to tell
        return
    if explicit or len(missing) == len(plan.metrics):
        have = ", ".join(sorted(recorded, key=[*seen.metric_names(), *recorded].index))
        raise UserError(f"plot: {missing[0]} was not recorded in these runs (they have {have})")
    plan.notes.append(f"not recorded, so left out: {', '.join(missing)}")
    plan.metrics = [metric for metric in plan.metrics if metric in recorded]


def _look(request: Request, plan: _Plan) -> "Look":
    from lop_tui.figures import Look
    from lop_tui.palette import colours_of

    return Look(
        request.bin_size,
        task_range(request.tasks),
        request.log,
        request.band,
        request.style,
        request.inches,
        request.dpi,
        request.title,
        request.reference,
        colours_of(plan.every_group),
    )


def _drawable(request: Request, plan: _Plan, look: "Look") -> list[Group]:
    """The groups that have a point to show. Raises UserError if none has."""
    groups = [group for group in plan.groups if any(len(look.curve(group, metric).task) for metric in plan.metrics)]
    if not groups and request.tasks:
        raise UserError(f"plot: --tasks {request.tasks}: no whole bin has its middle there; name more tasks")
    if not groups and is_never_finite(plan.groups, plan.metrics):
        raise UserError(f"plot: {' and '.join(plan.metrics)} of these runs: not finite in any finished task")
    if not groups:
        raise UserError(
            f"plot: no run in {request.runs_dir} has finished enough tasks for one bin yet; try a smaller --bin"
        )
    for group in plan.groups:
        if group not in groups:
            where = "among these tasks" if request.tasks else "yet"
            plan.notes.append(f"left out: {group.label}, which has no whole bin {where}")
    for group in groups:
        plan.notes += _seeds_of(group, look, plan.metrics[0])
        plan.notes += _without(group, plan.metrics)
    return groups


def _without(group: Group, metrics: list[str]) -> list[str]:
    """The seeds that are through and yet have nothing to show."""
    return [
        f"{group.label}, seed {run.seed}: finished without any {metric}"
        for run in group.runs
        for metric in metrics
        if run.state == "finished" and metric not in run.series
    ]


def _seeds_of(group: Group, look: "Look", metric: str) -> list[str]:
    """What the seeds of a line mean for how it is to be read."""
    curve = look.curve(group, metric)
    if not len(curve.task):
        return []
    if curve.num_seeds.max() == 1:
        return [f"one seed: {group.label} has no band"] if look.band != "none" else []
    most = int(curve.num_seeds.max())
    last_whole = int((curve.num_seeds == most).nonzero()[0][-1])
    if last_whole == len(curve.task) - 1:
        return []
    start = int(curve.task[last_whole + 1] - (curve.bin_size - 1) / 2)
    return [
        f"{group.label}: {most} seeds up to task {start - 1}, then fewer, {curve.num_seeds[-1]} at the end (dotted)"
    ]


def _tasks(request: Request, plan: _Plan) -> tuple["Figure", "Look"]:
    from lop_tui.figures import draw

    look = _look(request, plan)
    return draw(_drawable(request, plan, look), plan.metrics, look), look


def _sweep(request: Request, plan: _Plan) -> tuple["Figure", "Look"]:
    from lop_tui.figures import draw_sweep

    look = _look(request, plan)
    groups = _drawable(request, plan, look)
    return draw_sweep(groups, plan.metrics, look, _linear_level(request, plan, groups[0])), look


def _linear_level(request: Request, plan: _Plan, group: Group) -> tuple[float, str] | None:
    """The linear baseline's headline, mean over tasks and seeds; else the published one, if it was asked for."""
    from lop_engine.analysis import protocol_differences

    linear = [one for one in plan.every_group if one.method == "linear" and one.problem == plan.problem]
    for one in (one for one in linear if one.experiment != group.experiment):
        refuse_mixed([one])
        differing = protocol_differences(group, one)
        if differing:
            plan.notes.append(f"left out: the level of {one.label}, whose {next(iter(differing))} is another")
        elif (level := mean_level(one, plan.problem.headline)) == level:
            return level, f"{one.label} (n={sum(bool(len(run.seconds)) for run in one.runs)}/{len(one.runs)})"
    if request.reference and (published := published_baseline(next((run.spec for run in group.runs if run.spec), {}))):
        return published.accuracy, "linear, published"
    return None


def _methods(request: Request, plan: _Plan) -> tuple["Figure", "Look"]:
    """One line for each method of each experiment: of one with several settings the best, on the other seeds."""
    from lop_tui.figures import draw

    plan.groups, notes = best_of_each(plan.groups, plan.problem.headline or plan.metrics[0], request.seeds)
    plan.notes += notes
    look = _look(request, plan)
    return draw(_drawable(request, plan, look), plan.metrics, look), look


def _sensitivity(request: Request, plan: _Plan) -> tuple["Figure", "Look"]:
    from lop_tui.figures import draw_sensitivity

    keys, metric = keys_to_show(plan.groups, request.over, 1), plan.problem.headline or plan.metrics[0]
    lines, notes = settings_along(plan.groups, keys, metric, request.seeds)
    plan.notes += notes
    look = _look(request, plan)
    return draw_sensitivity(lines, keys[0], plan.metrics, look), look


def _grid(request: Request, plan: _Plan) -> tuple["Figure", "Look"]:
    from lop_tui.figures import draw_grid

    keys, metric = keys_to_show(plan.groups, request.over, 2), plan.problem.headline or plan.metrics[0]
    panels, notes = settings_along(plan.groups, keys, metric, request.seeds)
    plan.notes += notes
    look = _look(request, plan)
    return draw_grid(panels, (keys[0], keys[1]), plan.metrics[0], look), look


def _seeds(request: Request, plan: _Plan) -> tuple["Figure", "Look"]:
    from lop_tui.figures import draw_heatmap, draw_seeds

    look = _look(request, plan)
    groups = _drawable(request, plan, look)
    draw_them = draw_heatmap if request.heatmap else draw_seeds
    return draw_them(groups, plan.metrics[0], look), look


def _within_task(request: Request, plan: _Plan) -> tuple["Figure", "Look"]:
    from lop_tui.figures import TaskEpochs, draw_epochs

    look = _look(request, plan)
    named, metric = task_list(request.at), plan.metrics[0]
    shown = []
    for group in plan.groups:
        last = late_task(group)
        tasks = named or sorted({1, (last + 1) // 2, last} - {0})
        by_task = {task: epoch_curves(group, task, plan.metrics) for task in tasks}
        by_task = {task: curves for task, curves in by_task.items() if len(curves[0].task)}
        if by_task:
            shown.append(TaskEpochs(group, by_task))
        missing = [str(task) for task in tasks if task not in by_task]
        if missing:
            plan.notes.append(f"left out: {group.label}, with no {metric} recorded within task {', '.join(missing)}")
    if not shown:
        raise UserError(
            f"plot: --kind within-task: no {metric} is recorded within these tasks; choose others with --at 1,100"
        )
    if all(len(curves[0].task) == 1 for one in shown for curves in one.by_task.values()):
        keys = "metrics_every, curvature_every" if seen.metric(metric).cost_in_epochs else "metrics_every"
        plan.notes.append(f"only one epoch per task is recorded ({keys}): points instead of curves")
    return draw_epochs(shown, plan.metrics, look), look


_DRAWERS: Mapping[str, Callable[[Request, _Plan], tuple["Figure", "Look"]]] = {
    "tasks": _tasks,
    "metrics": _tasks,
    "sweep": _sweep,
    "methods": _methods,
    "sensitivity": _sensitivity,
    "grid": _grid,
    "seeds": _seeds,
    "within-task": _within_task,
}


def _stem(request: Request, metrics: list[str]) -> str:
    """What a figure is called when nobody says."""
    if request.kind in ("tasks", "metrics"):
        return "_".join(metrics) if len(metrics) < 3 and request.kind != "metrics" else "metrics"
    return request.kind.replace("-", "_")
