"""The final tables, for the terminal and as Markdown to paste into docs/performance.md."""

import math
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from bench.gpu.results import Results, Row

FIGURE_SEEDS, FIGURE_TASKS, FIGURE_EPOCHS = 30, 5000, 250
FIGURE_METHODS = 4
WIDEST = 90

Table = list[Sequence[str]]
"""Rows of cells, the heading first."""


def check_table(results: Results) -> Table:
    """One row per check: the measurement, the criterion and the verdict."""
    rows = [(line.verdict, line.stage, line.check, line.measured, line.criterion) for line in results.lines]
    return [("", "stage", "check", "measured", "criterion"), *rows]


def figure_hours(steps: Iterable[Row]) -> dict[str, float]:
    """By precision, hours of the paper's figure on one card: 4 methods x 30 seeds x 5,000 tasks x 250 epochs.

    Counts the curvature after each task's last epoch, and all other metrics after every epoch. If 30 seeds were not
    timed (in the small form), the timed stack is used in their place.
    """
    rows = [row for row in steps if "epoch_ms" in row]
    if not rows:
        return {}
    seeds = rows[0]["seeds"]
    at_size = [row for row in rows if row["seeds"] == seeds]
    measured = next((row for row in at_size if "metrics_ms" in row), None)
    hours = {}
    for precision in dict.fromkeys(row["precision"] for row in at_size):
        epochs_ms = [row["epoch_ms"] for row in at_size if row["precision"] == precision]
        if measured and len(epochs_ms) == FIGURE_METHODS:
            task_ms = FIGURE_EPOCHS * (sum(epochs_ms) + FIGURE_METHODS * measured["metrics_ms"])
            task_ms += FIGURE_METHODS * measured["curvature_ms"]
            hours[precision] = FIGURE_TASKS * task_ms * FIGURE_SEEDS / seeds / 3.6e6
    return hours


def figure_tables(results: Results) -> dict[str, Table]:
    """The tables of figures, by title; those without rows are left out."""
    tables = {
        "Steps, epochs and metrics (milliseconds of the whole stack)": _plain_table(results.table("steps")),
        "Plain loop, one seed": _plain_table(results.table("plain")),
        "Metrics, each alone": _plain_table(results.table("metric-times")),
        "lop run, curvature left out (hours of the figure at that rate)": _plain_table(results.table("loop")),
        "Convolutions (milliseconds of a step: conv1 without its data gradient)": convolution_table(
            results.table("convolutions")
        ),
        "Kernels": _plain_table(results.table("profile")),
    }
    if hours := figure_hours(results.table("steps")):
        rows = [(precision, number(value)) for precision, value in hours.items()]
        title = "Hours of the figure: 4 methods x 30 seeds x 5,000 tasks x 250 epochs, curvature at the end of a task"
        tables[title] = [("precision", "hours"), *rows]
    return {title: table for title, table in tables.items() if len(table) > 1}


def convolution_table(rows: list[Row]) -> Table:
    """A row for each way, stack and precision: time of its passes in a training step, summed over the layers."""
    table: Table = [("seeds", "precision", "way", "ms a step", "conv1", "conv2", "conv3")]
    for (seeds, precision, way), layers in groupby(rows, lambda row: (row["seeds"], row["precision"], row["way"])):
        times = {row["layer"]: _step_of_layer(row) for row in layers}
        cells = [times.get(name, math.nan) for name in ("conv1", "conv2", "conv3")]
        table.append((str(seeds), precision, way, *("" if math.isnan(t) else number(t) for t in (sum(cells), *cells))))
    return table


def _step_of_layer(row: Row) -> float:
    """Milliseconds that a training step spends in a layer, NaN if unknown: a step needs no gradient of the images."""
    passes = ("forward", "weight") if row["layer"] == "conv1" else ("forward", "data", "weight")
    return sum(row.get(f"{each}_ms", math.nan) for each in passes)


def _plain_table(rows: list[Row]) -> Table:
    names = list(dict.fromkeys(name for row in rows for name in row))
    body = [[_cell(row.get(name)) for name in names] for row in rows]
    return [[name.replace("_ms", ", ms").replace("_", " ") for name in names], *body]


def _cell(value: Any) -> str:
    return "" if value is None else number(value) if isinstance(value, float) else str(value)


def number(value: float) -> str:
    """Three significant digits."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def headline(about: dict[str, Any]) -> str:
    """Card, versions, date and command: what figures depend on."""
    versions = [f"{name} {about[name]}" for name in ("driver", "torch", "cudnn", "python", "lop") if about.get(name)]
    commit = f"commit {about['commit']}" if about.get("commit") else ""
    parts = [about.get("device", "unknown device"), *versions, commit, about.get("date", "")]
    return ", ".join(part for part in parts if part) + f"; `{about.get('command', '')}`"


def markdown(results: Results) -> str:
    """Everything as one Markdown document."""
    small = "\n\nSmall form, to test the check itself: its times mean nothing." if results.about.get("small") else ""
    parts = [f"### {headline(results.about)}{small}", _markdown_table(check_table(results))]
    for title, table in figure_tables(results).items():
        parts += [f"**{title}**", _markdown_table(table)]
    return "\n\n".join(parts) + "\n"


def _markdown_table(table: Table) -> str:
    heading, *rows = table
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in lines)


def plain_text(table: Table) -> str:
    """A table with its columns aligned, and long cells cut."""
    table = [[cell if len(cell) <= WIDEST else f"{cell[: WIDEST - 3]}..." for cell in row] for row in table]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table
    )
