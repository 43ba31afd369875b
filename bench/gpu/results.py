"""What the stages report: lines with a verdict, rows of figures and texts, kept in an output folder, and their tables.

A stage runs in a child process and sends events, one JSON object each; the parent keeps them here and rewrites the
files after every event, so that whatever ends the check, everything reported before is on disk. The final tables are
for the terminal, and in Markdown to paste into docs/performance.md.
"""

import json
import math
import sys
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from bench.gpu.stages import GROUP_OF, Stage

Verdict = Literal["PASS", "FAIL", "needs a GPU", "out of time", "measured"]
Event = dict[str, Any]
Emit = Callable[[Event], None]
Row = dict[str, Any]
FIGURE_SEEDS, FIGURE_TASKS, FIGURE_EPOCHS = 30, 5000, 250
FIGURE_METHODS = 4
WIDEST = 90

Table = list[Sequence[str]]
"""Rows of cells, the heading first."""


@dataclass(frozen=True)
class Line:
    """One line of the final table."""

    stage: str
    check: str
    measured: str
    criterion: str
    verdict: Verdict


class BrokenProcessError(Exception):
    """A check, already reported as failed, has left CUDA unusable in this process."""


class Report:
    """Sends what a stage finds to the parent process.

    Args:
        done: names of checks that an earlier process has reported; the stage leaves them out.
    """

    def __init__(self, stage: str, on_gpu: bool, emit: Emit, done: Collection[str] = ()) -> None:
        self._stage, self._on_gpu, self._emit, self._done = stage, on_gpu, emit, frozenset(done)

    def is_done(self, name: str) -> bool:
        """Whether an earlier process has reported a check."""
        return name in self._done

    def check(self, name: str, passed: bool, measured: str, criterion: str, needs_gpu: bool = True) -> None:
        """Report a check with its pass criterion.

        Args:
            needs_gpu: on a CPU a check that passes proves nothing, and its verdict is "needs a GPU".
        """
        untried = passed and needs_gpu and not self._on_gpu
        self._line(name, measured, criterion, "needs a GPU" if untried else "PASS" if passed else "FAIL")

    def measured(self, name: str, value: str, aim: str = "") -> None:
        """Report a figure that neither passes nor fails."""
        self._line(name, value, aim, "measured")

    def row(self, table: str, **cells: object) -> None:
        """Add a row to a table of figures."""
        self._emit({"event": "row", "stage": self._stage, "table": table, "cells": cells})

    def text(self, file: str, text: str) -> None:
        """Append a text to a file of the output folder."""
        self._emit({"event": "text", "stage": self._stage, "file": file, "text": text})

    @contextmanager
    def attempt(self, name: str, criterion: str) -> Iterator[None]:
        """Report an exception as the failure of a check, and continue.

        Raises:
            BrokenProcessError: nothing more can be computed in this process.
        """
        try:
            yield
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            self.check(name, False, describe(error), criterion)
            if breaks_the_process(error):
                raise BrokenProcessError from error

    def _line(self, name: str, measured: str, criterion: str, verdict: Verdict) -> None:
        line = Line(self._stage, name, measured, criterion, verdict)
        self._emit({"event": "line", "stage": self._stage, "line": asdict(line)})


def describe(error: BaseException) -> str:
    """The kind of an exception and the first line of its message."""
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}"[:200]


def breaks_the_process(error: BaseException) -> bool:
    """Whether an error leaves the CUDA context unusable, so that only a new process can use the GPU."""
    text = str(error)
    return "CUDA error" in text or "capturing" in text or type(error).__name__ == "CaptureError"


@dataclass
class Results:
    """Everything that has been reported, and its files: a JSON file per group, and the texts.

    Args:
        directory: the output folder; None keeps no files.
        about: what was run, where and when.
    """

    directory: Path | None = None
    about: dict[str, Any] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    rows: list[tuple[str, str, Row]] = field(default_factory=list)
    """(stage, table, cells)."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Seconds of each stage that has ended."""

    @property
    def failed(self) -> bool:
        """Whether a check failed, or a correctness check ran out of time."""
        return any(line.verdict in ("FAIL", "out of time") for line in self.lines)

    def checks_of(self, stage: str) -> list[str]:
        """Names of the checks that a stage has reported."""
        return [line.check for line in self.lines if line.stage == stage]

    def table(self, name: str) -> list[Row]:
        """The rows of a table of figures."""
        return [cells for _, table, cells in self.rows if table == name]

    def take(self, event: Event) -> None:
        """Keep an event and rewrite the files. A check that is reported again keeps its first line."""
        kind, stage = event["event"], event.get("stage")
        if kind == "about":
            self.about |= event["about"]
        elif kind == "line":
            line = Line(**event["line"])
            if line.check not in self.checks_of(line.stage):
                self.lines.append(line)
        elif kind == "row":
            self.rows.append((event["stage"], event["table"], event["cells"]))
        elif kind == "text" and self.directory:
            with open(self.directory / event["file"], "a", encoding="utf-8") as file:
                file.write(event["text"])
        elif kind == "end":
            self.seconds[event["stage"]] = event["seconds"]
        if stage:
            self._save(GROUP_OF[stage])

    def unfinished(self, stage: Stage, why: str, out_of_time: bool) -> None:
        """Note a stage that did not run to its end. A timing that ran out of time has not failed."""
        in_time: Verdict = "measured" if stage.group == "timings" else "out of time"
        verdict: Verdict = in_time if out_of_time else "FAIL"
        self.lines.append(Line(stage.name, stage.description, why, "runs to its end", verdict))
        self._save(stage.group)

    def _save(self, group: str) -> None:
        if not self.directory:
            return
        content = {
            "about": self.about,
            "lines": [asdict(line) for line in self.lines if GROUP_OF[line.stage] == group],
            "rows": [{"table": table, **cells} for stage, table, cells in self.rows if GROUP_OF[stage] == group],
            "seconds": {stage: value for stage, value in self.seconds.items() if GROUP_OF[stage] == group},
        }
        path = self.directory / f"{group}.json"
        new = path.with_suffix(".new")
        new.write_text(json.dumps(content, indent=1), encoding="utf-8")
        new.replace(path)


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
        "Online problems (microseconds of a step, one example a run)": _plain_table(results.table("online")),
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
    return [[name.replace("_ms", ", ms").replace("_us", ", us").replace("_", " ") for name in names], *body]


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
