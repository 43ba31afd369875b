"""`lop power`: how many seeds a difference takes, and what the seeds so far can show."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lop_engine.analysis import Comparison, Group, compare_to_first
from lop_engine.analysis.comparison import refuse_mixed
from lop_engine.analysis.statistics import MOST, Plan, plan
from lop_engine.errors import UserError
from lop_engine.experiment import seen
from lop_engine.experiment.components import Metric
from lop_tui.commands import compare
from lop_tui.commands.comparison_words import (
    interval,
    notes_on_runs,
    nothing_compared,
    remarks,
    size_of,
    title,
    value_with_sign,
)
from lop_tui.commands.sheets import Cell, Column, Sheet, check_format, put_out

_TOO_LARGE = "a difference seen in a few pairs may be an overestimate; name one with --difference"
_OVER = {"tenth": "last tenth", "area": "whole run"}


@dataclass(frozen=True)
class Request:
    """What a person asked for."""

    runs_dir: Path
    names: Sequence[str]
    metric: str
    """Empty for the headline of the groups' problem."""
    difference: float | None
    """To be shown, in the units of tables: percentage points of a share."""
    power: float
    where: str
    form: str
    output: Path | None
    as_json: bool


def show_power(request: Request) -> int:
    """Print a plan for each part of the run; return 0. Raises UserError."""
    form = check_format("power", request.form, request.output, request.as_json)
    if not 0.05 < request.power < 1:
        raise UserError(f"power: --power {request.power:g}: should lie between 0.05 and 1, such as 0.8")
    if request.difference is not None and not 0 < abs(request.difference) < float("inf"):
        raise UserError(f"power: --difference {request.difference:g}: should be a number other than 0")
    if len(request.names) != 2:
        raise UserError("power: name two experiments or settings: lop power bp cbp")
    groups = compare.groups_named("power", request.runs_dir, request.names, request.where)
    refuse_mixed(groups)
    metric = compare.metrics_named("power", [request.metric] if request.metric else [], groups)[0]
    (found,) = compare_to_first(groups, metric)
    if not found.stretches:
        raise UserError(f"power: {nothing_compared(found)}")
    if len(found.pairs) < 2:
        raise UserError(
            f"power: {groups[0].label} and {groups[1].label} have one pair of seeds; two are needed at least"
        )
    put_out(_sheet(request, found, groups), form, request.output)
    return 0


def _sheet(request: Request, found: Comparison, groups: Sequence[Group]) -> Sheet:
    measure = seen.metric(found.metric)
    given = None if request.difference is None else request.difference / measure.factor
    headings = ("over", "mean", "95 % by t", "pairs", "power", "needed", "detectable")
    rows, records = [], []
    for stretch in (one for one in found.stretches if one.name in _OVER):
        estimate, planned = stretch.test.difference, plan(stretch.test.difference, given, request.power)
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
        records.append(_record(found, stretch.name, estimate.mean, estimate.deviation, estimate.num_values, planned))
    for_what = "the mean" if given is None else f"a difference of {size_of(abs(given), measure)}"
    power = f"power {request.power:g}"
    notes = [
        f"needed: pairs that show {for_what} with {power} (paired t-test, two-sided, 5 %); power: of the pairs so far",
        f"detectable: the smallest difference that the pairs so far show with {power}",
        *([_TOO_LARGE] if given is None else []),
        *remarks(found, has_bootstrap=False),
        *notes_on_runs(groups),
    ]
    if any(record["pairs_needed"] is None for record in records):
        notes.append("-: the differences of these pairs do not vary, or no number of pairs suffices")
    return Sheet(
        title(found),
        [Column(heading, is_number=heading != "over") for heading in headings],
        rows,
        notes,
        records,
        {"runs_dir": str(request.runs_dir), "power": request.power, "level": 0.05, "plans": records, "notes": notes},
    )


def _about(planned: Plan | None, measure: Metric) -> Sequence[str]:
    if planned is None:
        return "-", "-", "-"
    return f"{planned.reached:.2f}", _needed_short(planned), size_of(planned.detectable, measure)


def _needed_short(planned: Plan) -> str:
    return f">{MOST}" if planned.needed is None else str(planned.needed)


def _record(
    found: Comparison, over: str, mean: float, deviation: float, num_pairs: int, planned: Plan | None
) -> dict[str, Any]:
    """Values as they are recorded: a share is 0 .. 1."""
    told = asdict(planned) if planned else {}
    return {
        "a": found.a.label,
        "b": found.b.label,
        "metric": found.metric,
        "over": {"tenth": "last", "area": "whole"}[over],
        "mean": mean,
        "deviation": deviation,
        "num_pairs": num_pairs,
        "difference": told.get("difference"),
        "pairs_needed": told.get("needed"),
        "power_so_far": told.get("reached"),
        "detectable": told.get("detectable"),
    }
