"""Selects the runs, metrics and settings of a figure, notes what its reader must know, and draws it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from lop_engine.analysis import Group, group_runs, protocol_differences
from lop_engine.analysis.comparison import refuse_mixed
from lop_engine.analysis.groups import OneProblem, one_problem
from lop_engine.analysis.windows import epoch_curves, is_never_finite, late_task, mean_level
from lop_engine.errors import UserError
from lop_engine.experiment import lookup
from lop_engine.experiment.components import Problem
from lop_engine.reproduction.claims import published_baseline
from lop_engine.runs.views import place_of
from lop_tui import figures
from lop_tui.commands.plot_options import (
    MOST_DOTS,
    best_of_each,
    by_value,
    experiment_among,
    keys_to_show,
    metrics_among,
    one_experiment,
    settings_along,
)
from lop_tui.commands.reading import read_runs
from lop_tui.figures import Look, TaskEpochs
from lop_tui.words.best import notes_on_selection
from lop_tui.words.notices import flag_lines
from lop_tui.words.palette import colours_of


@dataclass
class Plan:
    """The content of a figure, and notes for its reader."""

    place: str
    """Names of the directories, for messages."""
    kind: str
    groups: list[Group]
    problem: Problem
    """The problem of all groups."""
    metrics: list[str]
    every_group: list[Group]
    """All groups, also those that are not drawn: they keep their colours, and linear runs serve as a baseline."""
    select: Sequence[int] | None
    """Seeds that choose settings; None for half of them."""
    notes: list[str]

    @property
    def colours(self) -> dict[str, str]:
        return colours_of(self.every_group)

    @property
    def judged_by(self) -> str:
        """Return the metric that chooses settings."""
        return self.problem.headline or self.metrics[0]


def refuse_endless(figure: Figure, path: Path, look: Look) -> None:
    """Refuse a PNG so tall that it would exhaust the memory."""
    width, height = figure.get_figwidth(), figure.get_figheight()
    if path.suffix.lower() == ".png" and max(width, height) * (look.dpi or look.looks.dpi) > MOST_DOTS:
        raise UserError(
            f"plot: {path}: the figure needs {width:.0f}x{height:.0f} inches, more than {MOST_DOTS} dots; "
            "choose SVG or PDF, a smaller --dpi, or fewer settings with --where"
        )


def planned(
    runs_dirs: Sequence[Path],
    where: str,
    kind: str,
    words: Sequence[str],
    select: Sequence[int] | None,
    ended_by_rule: str,
) -> Plan:
    """Select what to draw of the runs that match `where`. Raises UserError.

    Args:
        words: metrics, or ``all`` for the problem's; for a sweep also the experiment or its file.
    """
    chosen, runs = read_runs("plot", runs_dirs, where, ended_by_rule)
    shown = one_problem(chosen)
    known = list(dict.fromkeys([*lookup.metric_names(), *shown.recorded]))
    experiment, words = experiment_among(words, known) if kind == "sweep" else ("", words)
    if kind == "metrics":
        words = words or ["all"]
    metrics = metrics_among(words, shown.metrics, known)
    groups = group_runs(shown.runs)
    notes = [shown.note] if shown.note else []
    notes += [f"cannot be read: {run.problem}" for run in shown.runs if run.problem] + flag_lines(shown.runs)
    if kind == "sweep":
        groups = one_experiment(groups, experiment)
    refuse_mixed(groups)
    if kind not in ("methods", "sensitivity", "grid"):  # notes of these kinds name their selection seeds
        notes += notes_on_selection(groups, group_runs(one_problem(runs, shown.problem.name).runs), select)
    plan = Plan(
        place_of(runs_dirs),
        kind,
        groups,
        shown.problem,
        metrics or _by_default(kind, shown, place_of(runs_dirs)),
        group_runs(runs),
        select,
        notes,
    )
    _refuse_unrecorded(plan, explicit=bool(metrics) and words not in ([], ["all"]))
    if kind in ("panels", "seeds", "within-task", "grid") and len(metrics) > 1:
        raise UserError(f"plot: --kind {kind}: panels show settings here, so name one metric")
    return plan


def _by_default(kind: str, shown: OneProblem, place: str) -> list[str]:
    """Return the headline; within tasks also similar metrics."""
    if not shown.headline:
        raise UserError(f"plot: no run in {place} has finished a task yet; try again later")
    is_within = kind == "within-task"
    return list(shown.problem.together if is_within else ()) or [shown.headline]


def _refuse_unrecorded(plan: Plan, explicit: bool) -> None:
    """Refuse a named metric that no run has; drop such a metric from the problem's."""
    recorded = {metric for group in plan.groups for run in group.runs for metric in run.series}
    missing = [metric for metric in plan.metrics if metric not in recorded]
    if not recorded or not missing:  # without any task nothing is known
        return
    if explicit or len(missing) == len(plan.metrics):
        have = ", ".join(sorted(recorded, key=[*lookup.metric_names(), *recorded].index))
        raise UserError(f"plot: {missing[0]} was not recorded in these runs (they have {have})")
    plan.notes.append(f"not recorded, so left out: {', '.join(missing)}")
    plan.metrics = [metric for metric in plan.metrics if metric in recorded]


def drawn(plan: Plan, look: Look, heatmap: bool, tasks: Sequence[int], over: str) -> Figure:
    """Draw the figure. Raises UserError if there is nothing to draw.

    Args:
        heatmap: for single seeds: draw a row per seed instead of lines.
        tasks: within tasks: the tasks; by default the first, middle and last.
        over: for a sensitivity or grid: the swept keys, comma-separated; by default all.
    """
    match plan.kind:
        case "sweep":
            groups = _drawable(plan, look)
            return figures.draw_sweep(groups, plan.metrics, look, _linear_level(plan, groups[0], look.reference))
        case "panels":
            return figures.draw_panels(_panels(plan, look, over), plan.metrics[0], look)
        case "methods":
            plan.groups, notes = best_of_each(plan.groups, plan.judged_by, plan.select)
            plan.notes += notes
            return figures.draw(_drawable(plan, look), plan.metrics, look)
        case "sensitivity":
            [key] = keys_to_show(plan.groups, over, 1)
            return figures.draw_sensitivity(_along(plan, [key]), key, plan.metrics, look)
        case "grid":
            first, second = keys_to_show(plan.groups, over, 2)
            return figures.draw_grid(_along(plan, [first, second]), (first, second), plan.metrics[0], look)
        case "seeds":
            draw_them = figures.draw_heatmap if heatmap else figures.draw_seeds
            return draw_them(_drawable(plan, look), plan.metrics[0], look)
        case "within-task":
            return figures.draw_epochs(_within_tasks(plan, tasks), plan.metrics, look)
    return figures.draw(_drawable(plan, look), plan.metrics, look)


def _panels(plan: Plan, look: Look, over: str) -> list[figures.Panel]:
    """Return a panel for each value of a swept key, or for each method, and the linear baseline."""
    groups = _drawable(plan, look)
    key = over if over == "agent" else keys_to_show(groups, over, 1, "panels")[0]
    level = _linear_level(plan, groups[0], look.reference) if plan.metrics[0] == plan.problem.headline else None
    return [figures.Panel(title, members, level) for title, members in by_value(groups, key).items()]


def _along(plan: Plan, keys: list[str]) -> list[figures.Settings]:
    settings, notes = settings_along(plan.groups, keys, plan.judged_by, plan.select)
    plan.notes += notes
    return settings


def _drawable(plan: Plan, look: Look) -> list[Group]:
    """Return the groups that have at least one point. Raises UserError if there are none."""
    some_tasks = look.tasks != Look().tasks
    groups = [group for group in plan.groups if any(len(look.curve(group, metric).task) for metric in plan.metrics)]
    if not groups and some_tasks:
        raise UserError(f"plot: --tasks {_span(look)}: contains no complete bin; name more tasks")
    if not groups and is_never_finite(plan.groups, plan.metrics):
        raise UserError(f"plot: {' and '.join(plan.metrics)} of these runs: not finite in any finished task")
    if not groups:
        raise UserError(f"plot: no run in {plan.place} has finished enough tasks for one bin yet; try a smaller --bin")
    for group in plan.groups:
        if group not in groups:
            where = "among these tasks" if some_tasks else "yet"
            plan.notes.append(f"left out: {group.label}, which has no complete bin {where}")
    for group in groups:
        plan.notes += _seeds_of(group, look, plan.metrics[0])
        plan.notes += _without(group, plan.metrics)
    return groups


def _without(group: Group, metrics: list[str]) -> list[str]:
    """Return the ended seeds that have nothing to show."""
    return [
        f"{group.label}, seed {run.seed}: finished without any {metric}"
        for run in group.runs
        for metric in metrics
        if run.state == "finished" and metric not in run.series
    ]


def _seeds_of(group: Group, look: Look, metric: str) -> list[str]:
    """Return a note on how seeds affect the reading of a line."""
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


def _span(look: Look) -> str:
    first, last = look.tasks
    return f"{int(first) if first > 1 else ''}-{'' if math.isinf(last) else int(last)}"


def _linear_level(plan: Plan, group: Group, reference: bool) -> tuple[float, str] | None:
    """Return the linear baseline's headline, mean over tasks and seeds; else the published one, if requested."""
    linear = [one for one in plan.every_group if one.method == "linear" and one.problem == plan.problem]
    for one in (one for one in linear if one.experiment != group.experiment):
        refuse_mixed([one])
        differing = protocol_differences(group, one)
        if differing:
            plan.notes.append(f"left out: the level of {one.label}, whose {next(iter(differing))} differs")
        elif (level := mean_level(one, plan.problem.headline)) == level:
            return level, f"{one.label} (n={sum(bool(len(run.seconds)) for run in one.runs)}/{len(one.runs)})"
    spec = next((run.spec for run in group.runs if run.spec), {})
    published = published_baseline(spec) if reference else None
    return None if published is None else (published, "linear, published")


def _within_tasks(plan: Plan, named: Sequence[int]) -> list[TaskEpochs]:
    metric = plan.metrics[0]
    shown = []
    for group in plan.groups:
        last = late_task(group)
        tasks = list(named) or sorted({1, (last + 1) // 2, last} - {0})
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
        keys = "metrics_every, curvature_every" if lookup.metric(metric).cost_in_epochs else "metrics_every"
        plan.notes.append(f"only one epoch per task is recorded ({keys}): points instead of curves")
    return shown


def stem(kind: str, metrics: list[str]) -> str:
    """Return the default file name of a figure."""
    if kind in ("tasks", "metrics"):
        return "_".join(metrics) if len(metrics) < 3 and kind != "metrics" else "metrics"
    return kind.replace("-", "_")
