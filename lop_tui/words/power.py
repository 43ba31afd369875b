"""Planned numbers of seeds: table and JSON (`lop power`)."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from lop_engine.analysis import Comparison, Group
from lop_engine.analysis.statistics import MOST, Plan, plan
from lop_engine.experiment import lookup
from lop_tui.words.comparison import interval, notes_on_runs, remarks, size_of, title, value_with_sign
from lop_tui.words.sheets import Cell, Column, Sheet

_TOO_LARGE = "a difference seen in a few pairs may be an overestimate; name one with --difference"
_OVER = {"tenth": "last tenth", "area": "whole run"}


def sheet_of_plans(
    comparison: Comparison,
    groups: Sequence[Group],
    runs_dirs: str,
    difference: float | None,
    power: float,
    of_choice: Sequence[str] = (),
) -> Sheet:
    """Return a row per part of the run.

    Args:
        difference: difference to detect, in the units of tables (percentage points for a share); None: the mean.
        power: probability of detecting it.
        of_choice: notes on settings that were chosen among several.
    """
    measure = lookup.metric(comparison.metric)
    given = None if difference is None else difference / measure.factor
    headings = ("over", "mean", "95 % by t", "pairs", "power", "needed", "detectable")
    rows, records = [], []
    for stretch in (one for one in comparison.stretches if one.name in _OVER):
        estimate, planned = stretch.test.difference, plan(stretch.test.difference, given, power)
        cells = [
            _OVER[stretch.name],
            value_with_sign(estimate.mean, measure),
            interval((estimate.low, estimate.high), measure),
            str(estimate.num_values),
            *(
                [f"{planned.reached:.2f}", _needed_short(planned), size_of(planned.detectable, measure)]
                if planned
                else "---"
            ),
        ]
        rows.append([Cell(cell) for cell in cells])
        records.append(
            _record(comparison, stretch.name, estimate.mean, estimate.deviation, estimate.num_values, planned)
        )
    for_what = "the mean" if given is None else f"a difference of {size_of(abs(given), measure)}"
    with_power = f"power {power:g}"
    notes = [
        *of_choice,
        f"needed: pairs to detect {for_what} with {with_power} (paired t-test, two-sided, 5 %); "
        "power: of the pairs so far",
        f"detectable: the smallest difference that the pairs so far can detect with {with_power}",
        *([_TOO_LARGE] if given is None else []),
        *remarks(comparison, has_bootstrap=False),
        *notes_on_runs(groups),
    ]
    if any(record["pairs_needed"] is None for record in records):
        notes.append("-: the differences of these pairs do not vary, or no number of pairs suffices")
    return Sheet(
        title(comparison),
        [Column(heading, is_number=heading != "over") for heading in headings],
        rows,
        notes,
        records,
        {"runs_dir": runs_dirs, "power": power, "level": 0.05, "plans": records, "notes": notes},
    )


def _needed_short(planned: Plan) -> str:
    return f">{MOST}" if planned.needed is None else str(planned.needed)


def _record(
    comparison: Comparison, over: str, mean: float, deviation: float, num_pairs: int, planned: Plan | None
) -> dict[str, Any]:
    """Return values in recorded units: a share is 0 .. 1."""
    values = asdict(planned) if planned else {}
    return {
        "a": comparison.a.label,
        "b": comparison.b.label,
        "metric": comparison.metric,
        "over": {"tenth": "last", "area": "whole"}[over],
        "mean": mean,
        "deviation": deviation,
        "num_pairs": num_pairs,
        "difference": values.get("difference"),
        "pairs_needed": values.get("needed"),
        "power_so_far": values.get("reached"),
        "detectable": values.get("detectable"),
    }
