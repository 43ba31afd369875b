"""Claims and measurements: the table and the JSON of `lop check`."""

import math
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from lop_engine.experiment import lookup
from lop_engine.experiment.components import Metric
from lop_engine.reproduction.verdicts import Finding, Outcome, Unjudged, Verdict
from lop_tui.words.console import Console, plural, say

MOST_LINES = 4
"""Settings that are not judged for one reason and have a line each; more of them share a line."""
MOST_NAMES = 6
"""Settings that such a line names; it counts the others."""
_STYLES: dict[Outcome, str] = {"reproduced": "green", "not reproduced": "red", "not enough data": "yellow"}


def print_findings(findings: Sequence[Finding], notes: Sequence[str]) -> None:
    """Print a table for each protocol, missing runs, and `notes`."""
    console = Console(pipe_width=160)
    for finding in findings:
        console.print(_table(finding))
        outcomes = [verdict.outcome for verdict in finding.verdicts]
        say(console, ", ".join(f"{outcomes.count(outcome)} {outcome}" for outcome in _STYLES))
        missing = dict.fromkeys(name for verdict in finding.verdicts for name in verdict.missing)
        if missing:
            number = sum(bool(verdict.missing) for verdict in finding.verdicts)
            say(console, f"{plural(number, 'claim')} not shown: there are no runs of {', '.join(missing)}")
    if not findings:
        say(console, "no runs of a published protocol")
    for note in notes:
        say(console, note)


def describe_unjudged(unjudged: Sequence[Unjudged]) -> list[str]:
    """A line for each setting that is not judged; many with one reason share a line: ``20 settings: why: a, b``."""
    by_reason: dict[str, list[Unjudged]] = {}
    for one in unjudged:
        by_reason.setdefault(one.why_several, []).append(one)
    lines: list[str] = []
    for why, ones in by_reason.items():
        shared = f"{len(ones)} settings: {why}: {_names(ones)}"
        lines += [shared] if len(ones) > MOST_LINES else map(str, ones)
    return lines


def _names(ones: Sequence[Unjudged]) -> str:
    names = ", ".join(one.label for one in ones[:MOST_NAMES])
    more = f" and {len(ones) - MOST_NAMES} more" if len(ones) > MOST_NAMES else ""
    return f"{names}{more}{' (--json says how each differs)' if any(one.detail for one in ones) else ''}"


def _table(finding: Finding) -> Table:
    title = f"claims of {finding.protocol.name}: {units(finding)}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("claim")
    for heading in ("measured", "95 % interval", "seeds"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict")
    for verdict in (verdict for verdict in finding.verdicts if not verdict.missing):
        cell = Text(verdict.outcome, _STYLES[verdict.outcome]).append(f": {verdict.why}" if verdict.why else "")
        table.add_row(verdict.claim.text, *measured(verdict, finding), cell)
    return table


def units(finding: Finding) -> str:
    """Return the units of `measured`: ``test accuracy in %, differences in points``, ``squared error``."""
    measure = lookup.metric(finding.protocol.metric)
    return f"{measure.title} in %, differences in points" if measure.unit == "%" else measure.title


def measured(verdict: Verdict, finding: Finding) -> tuple[str, str, str]:
    """Return mean (a difference with its sign), interval, and number of seeds."""
    estimated, measure = verdict.measured, lookup.metric(finding.protocol.metric)
    mean, low, high = (_value(value, verdict, measure) for value in (estimated.mean, estimated.low, estimated.high))
    return mean, "-" if low == "-" else f"{low} to {high}", str(estimated.num_values)


def _value(value: float, verdict: Verdict, measure: Metric) -> str:
    """Format a value: two decimals for percent, three for other metrics; a difference has its sign."""
    if math.isnan(value):
        return "-"
    sign = "+" if verdict.claim.minus else ""
    return f"{100 * value:{sign}.2f}" if measure.unit == "%" else f"{value:{sign}.3f}"


def as_dict(finding: Finding) -> dict[str, Any]:
    """Return values in the metric's units (shares are 0 .. 1); unknown ones are null."""
    return {
        "protocol": finding.protocol.name,
        "metric": finding.protocol.metric,
        "claims": [_verdict_as_dict(verdict) for verdict in finding.verdicts],
    }


def _verdict_as_dict(verdict: Verdict) -> dict[str, Any]:
    claim, measured = verdict.claim, verdict.measured
    parts = [part for part in (claim.of, claim.minus) if part]
    return {
        "claim": claim.text,
        "verdict": verdict.outcome,
        "why": verdict.why,
        "missing": verdict.missing,
        "published": claim.level,
        "above": claim.low if math.isfinite(claim.low) else None,
        "below": claim.high if math.isfinite(claim.high) else None,
        "of": [
            {"setting": part.setting, "first_task": part.window.first, "last_task": part.window.last} for part in parts
        ],
        "mean": measured.mean,
        "interval": (measured.low, measured.high),
        "num_seeds": measured.num_values,
    }
