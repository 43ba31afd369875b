"""The frame's part for the seeds view: the seeds of one setting, and the epochs of a task of one of them."""

from dataclasses import dataclass

from lop_engine.analysis import Group, SeedSummary, default_bin, seed_table, summarise_seed
from lop_engine.analysis.seeds import breaks
from lop_engine.errors import StoreError
from lop_engine.experiment import lookup
from lop_engine.runs.directory import RunDir
from lop_engine.runs.store import read_task, tail_task
from lop_engine.runs.views import RunView
from lop_tui.dashboard.charts import scaled, unit_of
from lop_tui.dashboard.drawing.axes import task_axis
from lop_tui.dashboard.drawing.chart import Heat, Style
from lop_tui.dashboard.registry import Material, Part


@dataclass(frozen=True, eq=False)
class SeedRow:
    """One row of the seeds view."""

    run: RunView
    summary: SeedSummary | None
    """Summary of the chosen metric; None without a finite value."""


@dataclass(frozen=True, eq=False)
class Seeds:
    """The seeds of one setting."""

    group: Group
    style: Style
    heat: Heat
    rows: tuple[SeedRow, ...]
    """Rows in the order of `heat.seeds`."""


@dataclass(frozen=True, eq=False)
class Epochs:
    """The epochs of one task of one seed."""

    run_dir: RunDir
    task: int
    documents: tuple[dict[str, object], ...]
    """The task's documents of epochs.json, in order."""
    problem: str | None = None
    """Reason for their absence."""


def _seeds(material: Material, label: str) -> Seeds | None:
    group = next((group for group in material.groups if group.label == label), None)
    if group is None:
        return None
    settings, metric = material.request.settings, material.metric
    shown = round(task_axis(max(run.tasks_recorded for run in group.runs), group.num_tasks).high)
    bin_size = settings.bin_size or default_bin(shown)
    table = seed_table(group, metric, bin_size)
    measure, seeds = scaled(lookup.metric(metric), settings), tuple(table.seeds.tolist())
    axis = unit_of("tasks", group.problem), group.x_per_task
    marks = tuple((place, int(task)) for place, run in enumerate(group.runs) for task in breaks(run, metric))
    heat = Heat(measure, group.label, seeds, table.task, table.values, bin_size, shown, *axis, marks)
    by_seed = {run.seed: run for run in group.runs}
    rows = [SeedRow(by_seed[seed], summarise_seed(by_seed[seed], metric)) for seed in table.seeds]
    return Seeds(group, material.styles[group.label], heat, tuple(rows))


def _epochs(material: Material, run_and_task: tuple[RunDir, int | None]) -> Epochs:
    run_dir, task = run_and_task
    if task is None and material.request.replay_at is not None:
        task = material.request.replay_at - 1
    try:
        shown = tail_task(run_dir.epochs_json) if task is None else task
        if shown is None:
            return Epochs(run_dir, 0, (), "no epoch is recorded yet")
        return Epochs(run_dir, shown, tuple(read_task(run_dir.epochs_json, shown)))
    except (StoreError, OSError) as error:
        return Epochs(run_dir, task or 0, (), str(error))


PARTS = (
    # Label of the setting whose seeds are shown.
    Part("seeds", "heat_of", _seeds),
    # Run and task (None: the latest) whose epochs are shown.
    Part("epochs", "epochs_of", _epochs),
)
