"""What the stages report: lines with a verdict, rows of figures and texts, kept in an output folder.

A stage runs in a child process and sends events, one JSON object each; the parent keeps them here and rewrites the
files after every event, so that whatever ends the check, everything reported before is on disk.
"""

import json
import sys
import traceback
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from bench.gpu.stages import GROUP_OF, Stage

Verdict = Literal["PASS", "FAIL", "needs a GPU", "out of time", "measured"]
Event = dict[str, Any]
Emit = Callable[[Event], None]
Row = dict[str, Any]


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
