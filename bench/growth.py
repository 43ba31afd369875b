"""``python -m bench.growth``: how time, memory and files grow with the tasks of a run, and with the seeds of a worker.

Real workers train one at a time on the smallest tasks, where costs that grow with the number of tasks are easiest to
see. They record all metrics except the curvature, which would take two thirds of the time. Takes some five minutes.

Because machines are shared and noisy, tasks in the last tenth of a run are timed alternately with those in the first
tenth of another run; one of the two workers is suspended while the other trains.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter
from rich.console import Console
from rich.table import Table

from bench.growing import FILES, GROWING, METHODS, MIB, Trained, tenths, train, whole
from lop_tui.figures.ends import End, label_ends
from lop_tui.figures.look import Look, drawing, save
from lop_tui.words.palette import assign_colours

NUM_SEEDS = (1, 2, 4, 8)
TASKS_WITH_SEEDS = 500


def over_tasks(runs: dict[str, Trained]) -> Table:
    num_tasks = len(next(iter(runs.values())).seconds_T)
    table = Table(title=f"ms and bytes a task, 1 seed: first and last tenth of {num_tasks:,} tasks")
    for heading in ("", *(part for method in runs for part in (f"{method}: first", "last", "ratio"))):
        table.add_column(heading, justify="right" if heading else "left")
    by_run = [tenths(run) for run in runs.values()]
    for name in by_run[0]:
        cells = [(number(first), number(last), f"{last / first:.3f}") for first, last in (one[name] for one in by_run)]
        table.add_row(name, *(cell for of_method in cells for cell in of_method))
    table.caption = "checkpoint (bytes) and memory as they stand at the end of each tenth"
    return table


def over_seeds(stacks: dict[str, list[Trained]]) -> Table:
    table = Table(title=f"ms and bytes a task, seeds in a worker together, {TASKS_WITH_SEEDS} tasks")
    for heading in ("", "seeds", *whole(stacks["bp"][0])):
        table.add_column(heading, justify="right" if heading else "left")
    for method, of_method in stacks.items():
        for stack in of_method:
            name = method if stack is of_method[0] else ""
            table.add_row(name, str(stack.num_seeds), *map(number, whole(stack).values()))
    return table


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}"


def draw(runs: dict[str, Trained], stacks: dict[str, list[Trained]], look: Look) -> Figure:
    """Draw time, memory and files, above over tasks, below over seeds."""
    with drawing(look):
        figure = Figure(figsize=look.size, layout="constrained")
        above, below = figure.subplots(2, 3)
        draw_over_tasks(list(above), runs, look)
        draw_over_seeds(list(below), stacks, look)
    return figure


def draw_over_tasks(panels: Sequence[Axes], runs: dict[str, Trained], look: Look) -> None:
    colours = assign_colours((name, name) for name in runs)
    ends: list[list[End]] = [[], [], []]

    def line(column: int, x: np.ndarray, y: np.ndarray, name: str, colour: str) -> None:
        panels[column].plot(x, y, color=colour, linewidth=look.looks.line_width)
        ends[column].append(End(float(x[-1]), float(y[-1]), name, colour))

    for method, run in runs.items():
        line(0, *run.cpu_ms, method, colours[method])
        line(1, run.tasks_L, run.rss_L / MIB, method, colours[method])
    method, run = list(runs.items())[-1]
    for file, colour in zip(FILES, assign_colours((name, name) for name in FILES).values(), strict=True):
        line(2, run.tasks_L, run.bytes_L[file] / MIB, file, colour)
    by_run = [tenths(one) for one in runs.values()]
    ratios = [last / first for first, last in (one["processor, ms"] for one in by_run)]
    grown = [last - first for first, last in (one["memory, MiB"] for one in by_run)]
    a_task = sum(run.bytes_a_task(file, 0.1, 1) for file in GROWING)
    finish(panels[0], "tasks done", "processor ms a task", f"time: last tenth / first = {spread(ratios, '.2f')}")
    finish(panels[1], "tasks done", "MiB", f"memory: {spread(grown, '+.1f')} MiB since the first tenth")
    finish(panels[2], "tasks done", "MiB", f"files ({method}): {a_task:,.0f} bytes a task")
    for panel, of_panel in zip(panels, ends, strict=True):
        panel.set_xlim(0, len(run.seconds_T))
        panel.set_xticks([0, len(run.seconds_T) // 2, len(run.seconds_T)])
        label_ends(panel, of_panel, look)


def draw_over_seeds(panels: Sequence[Axes], stacks: dict[str, list[Trained]], look: Look) -> None:
    colours, seeds = assign_colours((name, name) for name in stacks), np.array(NUM_SEEDS)
    by_method = {method: [whole(stack) for stack in of_method] for method, of_method in stacks.items()}
    kinds = (
        ("processor, ms", 1, "processor ms a task", "time"),
        ("memory, MiB", 1, "MiB", "memory"),
        ("records, log", 1024, "KiB a task", "files"),
    )
    for panel, (kind, unit, y, word) in zip(panels, kinds, strict=True):
        series = {method: np.array([one[kind] / unit for one in of_method]) for method, of_method in by_method.items()}
        alone = max(series.values(), key=lambda values: values[0])[0] * seeds
        panel.plot(seeds, alone, "--", color="#999999", linewidth=0.8 * look.looks.line_width, zorder=1)
        ends = [End(float(seeds[-1]), float(alone[-1]), "a worker each", "#999999")]
        for method, values in series.items():
            panel.plot(seeds, values, "o-", color=colours[method], linewidth=look.looks.line_width, markersize=4)
            ends.append(End(float(seeds[-1]), float(values[-1]), method, colours[method]))
        ratios = [values[-1] / values[0] for values in series.values()]
        finish(panel, "seeds in the worker", y, f"{word}: {seeds[-1]} seeds / 1 seed = {spread(ratios, '.1f')}")
        panel.set_xticks(seeds)
        panel.set_xlim(0, seeds[-1])
        label_ends(panel, ends, look)


def spread(values: Sequence[float], form: str) -> str:
    """Return ``1.00`` or ``0.99 to 1.02``."""
    ends = [f"{value:{form}}" for value in (min(values), max(values))]
    return " to ".join(dict.fromkeys(ends))


def finish(panel: Axes, x: str, y: str, title: str) -> None:
    """Label the axes, and start them at zero so that constant curves look flat."""
    panel.set_title(title, fontweight="bold")
    panel.set_xlabel(x)
    panel.set_ylabel(y)
    panel.set_ylim(0, 1.15 * panel.get_ylim()[1])
    panel.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    for axis in (panel.xaxis, panel.yaxis):
        if axis.get_view_interval()[1] >= 1000:
            axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    panel.grid(axis="y", alpha=0.25, linewidth=0.6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=5000, help="of the runs of one seed")
    parser.add_argument("-o", "--output", type=Path, help="draw the figure, too")
    given = parser.parse_args()
    if given.tasks < 2000:
        parser.error("--tasks: the last tenth of fewer than 2000 is too short to be measured in turn with the first")
    console = Console()
    runs = {method: train(method, 1, given.tasks, in_turn=True) for method in METHODS}
    console.print(over_tasks(runs))
    stacks = {method: [train(method, n, TASKS_WITH_SEEDS) for n in NUM_SEEDS] for method in METHODS}
    console.print(over_seeds(stacks))
    if given.output:
        look = Look(size=(11.5, 5.6), dpi=110)
        save(draw(runs, stacks, look), given.output, look)


if __name__ == "__main__":
    main()
