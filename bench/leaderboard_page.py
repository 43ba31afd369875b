"""The page of `bench.leaderboard`: the table, the protocol, and the limits of the comparison."""

import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np

import lop_engine
from lop_engine.analysis import Over
from lop_engine.analysis.choice import Choice, seed_values
from lop_engine.analysis.comparison import column, compare_to_first
from lop_engine.analysis.statistics import Estimate, estimate
from lop_engine.experiment import lookup
from lop_engine.experiment.components import Metric
from lop_engine.experiment.spec import Spec
from lop_engine.machine.devices import num_cores
from lop_engine.text import plain
from lop_tui.words.comparison import interval, listed, value_with_sign
from lop_tui.words.console import plural
from lop_tui.words.formats import mean_with_error, name_seeds, short_value
from lop_tui.words.plan import duration
from lop_tui.words.sheets import Cell, Column, Sheet, as_markdown

RIVALS = ("bp", "cbp")
"""Methods from which the others are subtracted."""


@dataclass(frozen=True)
class PageInput:
    """Input of the page."""

    choices: Mapping[str, Choice]
    """By method; methods without a possible choice are missing."""
    searched: Mapping[str, tuple[int, int]]
    """By method, the settings that were searched and those in its whole grid."""
    over_bp: Mapping[str, float]
    """By method, the time of a training step over bp's."""
    select: Sequence[int]
    report: Sequence[int]
    spec: Spec
    """The spec of bp, for the protocol."""
    command: str
    taken_s: float
    """Training time of all calls."""
    estimated_s: float


def page(made: PageInput) -> str:
    """Return the page in Markdown."""
    parts = [_HEAD, as_markdown(_sheet(made)), _search(made), _protocol(made), _LIMITS, _origin(made)]
    return "\n".join(part for part in parts if part)


_HEAD = """# Leaderboard

This page compares all [methods](methods.md) that come with lop on one small problem, trained by the same code.
`make leaderboard` writes it. [Below](#what-these-figures-cannot-show) it says what these figures cannot show.
"""

_LIMITS = """## What these figures cannot show

- The images are the built-in [synthetic images](data.md#synthetic-images), not ImageNet, and the tasks are shorter
  and fewer than the paper's. The best method here may not be the best on ImageNet.
- There are few seeds, so the intervals are wide. The intervals are not corrected for the number of methods: with this
  many comparisons, some exclude zero by chance.
- The grids are small, and methods with one setting were not searched. Step size and momentum are searched only where a
  method's grid contains them. A larger search may change the order.
- The grids of `dash` and `upgd` were replaced after a first search, in which all settings tried ended at chance, on the
  reported seeds too. For these two methods, the choice was therefore not fully independent of the reported seeds.
- If the chosen value is the smallest or the largest that was tried (see the search), the method may do better with
  values outside the grid.
- In so few steps per task, a network with new weights learns little: `full_reset` stays near chance, although papers
  use it as the level without loss of plasticity. Methods that change all weights between tasks do worse here than with
  longer tasks, and methods that keep features of earlier tasks do better.
"""


def _sheet(made: PageInput) -> Sheet:
    """Return a row per method, the best last tenth first; methods without a value come last."""
    metric = lookup.metric(_headline(made))
    last = {name: seed_values(choice.shown, metric.name, "last") for name, choice in made.choices.items()}
    entries = dict(zip(last, column(list(last.values()), metric.better), strict=True))
    sign = -1 if metric.better == "higher" else 1
    order = sorted((name for name in entries if last[name]), key=lambda name: sign * entries[name].value.mean)
    missing = [name for name in made.searched if name not in order]
    headings = ["method", "n", "first tenth", "best tenth", "last tenth", "area", "rank"]
    headings += [*(f"minus {name}" for name in RIVALS), "step / bp", "setting", "searched"]
    rows = [_row(made, name, metric, entries[name].is_marked) for name in order]
    rows += [[Cell(name), *[Cell("-")] * (len(headings) - 2), Cell(_searched(made, name))] for name in missing]
    return Sheet(
        f"{metric.label.capitalize()}: mean over n reported seeds ± half of the 95 % interval (Student's t)",
        [Column(heading, is_number=heading not in ("method", "setting")) for heading in headings],
        rows,
        [
            *_READING,
            *(f"{name}: no setting has a value of every selection seed" for name in missing),
            *(f"{name}: no value of {name_seeds(lost)}" for name in order if (lost := made.choices[name].missing)),
        ],
        [],
        {},
    )


_READING = (
    "first, best, last tenth: mean over these tasks; in the best tenth the mean over seeds is best",
    "area: mean over all tasks; rank: effective rank in the last tenth",
    "minus bp, minus cbp: paired difference in the last tenth in percentage points, with its 95 % interval",
    "step / bp: time of a training step divided by that of bp, at the paper's sizes (`lop bench --methods`)",
    "searched: number of settings that were compared, of those in the method's grid",
    "bold: the best last tenth, and those that the paired t-test does not find worse (Holm, 5 %)",
)


def _row(made: PageInput, name: str, metric: Metric, is_bold: bool) -> list[Cell]:
    choice = made.choices[name]
    parts = [_mean(choice, metric, over) for over in ("first", "best", "last", "whole")]
    numbers = [text for _, text in parts]
    cells = [Cell(name), Cell(str(parts[2][0].num_values)), *map(Cell, numbers)]
    cells[4] = Cell(numbers[2], is_bold)
    rank = _mean(choice, lookup.metric("effective_rank"), "last")[1]
    over_bp = made.over_bp.get(name)
    cells += [Cell(rank), *(Cell(_difference(made, rival, name, metric)) for rival in RIVALS)]
    return [
        *cells,
        Cell("-" if over_bp is None else f"{over_bp:.2f}"),
        Cell(choice.group.setting),
        Cell(_searched(made, name)),
    ]


def _mean(choice: Choice, metric: Metric, over: Over) -> tuple[Estimate, str]:
    mean = estimate(np.array(list(seed_values(choice.shown, metric.name, over).values())))
    reach = mean.high - mean.mean
    if not mean.num_values:
        return mean, "-"
    return mean, mean_with_error(mean.mean, None if math.isnan(reach) else reach, metric)


def _difference(made: PageInput, rival: str, name: str, metric: Metric) -> str:
    """Return ``+3.41 (+1.20 to +5.62)``; a dash for the method itself and without common seeds."""
    if rival == name or rival not in made.choices:
        return "-"
    [compared] = compare_to_first([made.choices[rival].shown, made.choices[name].shown], metric.name)
    tenth = next((stretch for stretch in compared.stretches if stretch.name == "tenth"), None)
    if tenth is None:
        return "-"
    difference = tenth.test.difference
    return f"{value_with_sign(difference.mean, metric)} ({interval((difference.low, difference.high), metric)})"


def _searched(made: PageInput, name: str) -> str:
    done, there = made.searched[name]
    return f"{done} of {there}"


def _search(made: PageInput) -> str:
    """Return the settings that were compared, by method; empty if there was only one."""
    chosen = [one for one in made.choices.values() if one.select_seeds]
    if not chosen:
        return ""
    metric = lookup.metric(_headline(made))
    columns = [Column("method", is_number=False), Column("settings, the best first", is_number=False)]
    rows = [[Cell(plain(one.group.experiment)), Cell(_compared(one, metric))] for one in chosen]
    caption = f"{metric.label.capitalize()}: mean of the last tenth on {name_seeds(made.select)}"
    table = as_markdown(Sheet(caption, columns, rows, _left_out(chosen), [], {}))
    return f"## The search\n\n{table.rstrip()}\n"


def _compared(choice: Choice, metric: Metric) -> str:
    """Return ``rate=2 90.0, rate=1 70.0``."""
    sign = -1 if metric.better == "higher" else 1
    scores = sorted(choice.scores, key=lambda score: (sign * score.select.mean, score.group is not choice.group))
    return "; ".join(f"{plain(one.group.setting)}: {short_value(one.select.mean, metric.scale)}" for one in scores)


def _left_out(choices: Sequence[Choice]) -> list[str]:
    return [
        f"{plain(one.group.experiment)}: not compared, without a value of every selection seed: {listed(names)}"
        for one in choices
        if (names := [plain(group.setting) for group, _ in one.left_out])
    ]


def _headline(made: PageInput) -> str:
    return next(iter(made.choices.values())).metric


def _protocol(made: PageInput) -> str:
    spec = made.spec
    steps = -(-spec.parts.problem.num_examples(spec) // spec.mini_batch_size) * spec.num_showings
    tasks, epochs = plural(spec.num_tasks, "task"), plural(spec.num_showings, "epoch")
    images = f"{spec.train_images} training and {spec.test_images} test images"
    return f"""## Protocol

- Continual ImageNet with {spec.dataset_classes} classes of synthetic images, {images} per class.
- {tasks} of two classes, {epochs} per task, batches of {spec.mini_batch_size}: {steps} steps per task. Each task has a
  new head. Accuracy is measured after each task's last epoch.
- The convolutional network at width {spec.width:g}; `linear` is a linear model.
- The keys are those of [the demo](demo.md) (`cfg/demo/` and `cfg/demo/methods/`), with the grids and changes in
  `bench/leaderboard_plan.py`. `bp` trains with {spec.opt}, step size {spec.step_size:g}, momentum {spec.momentum:g}.
- The setting of each method is the one with the best mean over the last tenth on {name_seeds(made.select)}. These
  seeds are not reported.
- The table shows the chosen settings on {name_seeds(made.report)}. A seed has the same tasks with every method, so
  differences are paired.
- If only a part of a grid was searched, this part was drawn at random before training.
"""


def _origin(made: PageInput) -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy"))
    return f"""## Where and when

- Command: `{made.command}`
- Date: {datetime.now(UTC):%d %B %Y}
- Machine: {plural(num_cores(), "core")}, {_processor()}
- Versions: lop {lop_engine.__version__}, {versions}, Python {platform.python_version()}
- Training, search included: {duration(made.taken_s)} of wall time, including other load on the machine (estimated
  without other load: {duration(made.estimated_s)})
"""


def _processor() -> str:
    """Return the name of the processor, if the system reports it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(names), "") or platform.processor() or platform.machine()
