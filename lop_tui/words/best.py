"""The best settings of methods: table, remarks and JSON (`lop best`)."""

import math
from collections.abc import Sequence
from typing import Any

from lop_engine.analysis import Group
from lop_engine.analysis.choice import CRITERIA, Choice, Criterion
from lop_engine.analysis.grid import points
from lop_engine.errors import UserError, did_you_mean
from lop_engine.experiment import seen
from lop_engine.runs.views import RunView
from lop_tui.words.choice import OVER, family_name
from lop_tui.words.comparison import listed, value_with_sign
from lop_tui.words.formats import name_seeds, short_value
from lop_tui.words.sheets import Cell, Column, Sheet


def criterion_of(command: str, word: str) -> Criterion:
    """The criterion that a person named. Raises UserError."""
    if word not in CRITERIA:
        raise UserError(f'{command}: --by "{word}"{did_you_mean(word, CRITERIA)} (there are {", ".join(CRITERIA)})')
    return word


def checked_metric(command: str, name: str, headline: str, runs: Sequence[RunView]) -> str:
    """The metric `name`, or `headline` without one. Raises UserError if it is neither known nor recorded."""
    known = list(dict.fromkeys([*seen.metric_names(), *(metric for run in runs for metric in run.series)]))
    if name and name not in known:
        raise UserError(f'{command}: no metric "{name}"{did_you_mean(name, known)} (there are {", ".join(known)})')
    return name or headline


def not_chosen(family: Sequence[Group], metric: str, select: Sequence[int] | None) -> str:
    """Why nothing could be chosen of a method's settings."""
    name, title = family_name(family[0]), seen.metric(metric).title or "a metric"
    if not any(metric in run.series for group in family for run in group.runs):
        return f"{name}: no {title} is recorded"
    if select is not None and not any(run.seed in select for group in family for run in group.runs):
        return f"{name}: has no selection seed; name others with --select-seeds"
    return f"{name}: no setting has {title} of every selection seed; name others with --select-seeds"


def remarks(choice: Choice) -> list[str]:
    """What a reader must know of a choice: its neighbours, an optimum at the edge, and seeds without values."""
    name, measure, lines = family_name(choice.group), seen.metric(choice.metric), []
    if choice.is_biased:
        lines.append(
            f"{name}: the value is of the {name_seeds(choice.select_seeds)} that chose the setting, so it is too good; "
            "train more seeds"
        )
    if choice.missing:
        lines.append(f"{name}: no value of {name_seeds(choice.missing)}, which may flatter the mean")
    if choice.nearby:
        mean = choice.score.select.mean
        near = [
            f"{one.key}={_plain(one.value)} {value_with_sign(one.score.select.mean - mean, measure)}"
            for one in choice.nearby
        ]
        lines.append(f"{name}: neighbours on the selection seeds: {', '.join(near)}")
    for edge in choice.edges:
        size, further = ("largest", "larger") if edge.is_largest else ("smallest", "smaller")
        lines.append(f"{name}: {edge.key}={_plain(edge.value)} is the {size} value tried; try {further} ones")
    if choice.left_out:
        settings = listed(f"{group.setting} ({name_seeds(seeds)})" for group, seeds in choice.left_out)
        lines.append(f"{name}: not eligible, without a value of selection seeds: {settings}")
    return lines


def sheet_of_choices(
    choices: Sequence[Choice], notes: Sequence[str], runs_dirs: str, criterion: Criterion, is_lowest: bool
) -> Sheet:
    """A row a method: its best setting, and the value on the seeds that did not choose it."""
    headings = ("method", "best setting", "of", "mean", "95 % interval", "n", "chosen in")
    columns = [Column(heading, is_number=place > 1) for place, heading in enumerate(headings)]
    return Sheet(
        _caption(choices, criterion, is_lowest),
        columns,
        [[Cell(text) for text in _cells(choice)] for choice in choices],
        [*_seed_notes(choices), *(line for choice in choices for line in remarks(choice)), *notes],
        [_record(choice) for choice in choices],
        {
            "runs_dir": runs_dirs,
            "by": criterion,
            "choices": [_as_dict(choice) for choice in choices],
            "notes": list(notes),
        },
    )


def _caption(choices: Sequence[Choice], criterion: Criterion, is_lowest: bool) -> str:
    titles = [
        f"{'lowest' if is_lowest or measure.better == 'lower' else 'highest'} {measure.label}"
        for measure in (seen.metric(choice.metric) for choice in choices)
    ]
    return f"best settings: {' or '.join(dict.fromkeys(titles))}, {OVER[criterion]}"


def _seed_notes(choices: Sequence[Choice]) -> list[str]:
    """Which seeds choose and which report, once where all methods agree."""
    by_seeds: dict[tuple[tuple[int, ...], tuple[int, ...]], list[str]] = {}
    for choice in choices:
        if choice.select_seeds and not choice.is_biased:
            by_seeds.setdefault((choice.select_seeds, choice.report_seeds), []).append(family_name(choice.group))
    lines = []
    for (select, report), names in by_seeds.items():
        of = "" if len(by_seeds) == 1 else f"{listed(names)}: "
        lines.append(f"{of}chosen on {name_seeds(select)}; mean and interval (Student's t) are of {name_seeds(report)}")
    if any(choice.select_seeds for choice in choices):
        lines.append("chosen in: share of bootstrap resamples of the selection seeds with the same choice")
    return lines


def _cells(choice: Choice) -> list[str]:
    found = choice.score.select if choice.is_biased else choice.report
    scale = seen.metric(choice.metric).scale
    limits = "-" if math.isnan(found.low) else f"{short_value(found.low, scale)} to {short_value(found.high, scale)}"
    return [
        family_name(choice.group),
        choice.group.setting,
        str(choice.num_settings),
        short_value(found.mean, scale),
        limits,
        f"{found.num_values}{' (selection)' * choice.is_biased}",
        f"{100 * choice.score.chosen_share:.0f} %" if choice.select_seeds else "-",
    ]


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def _record(choice: Choice) -> dict[str, Any]:
    found = choice.score.select if choice.is_biased else choice.report
    return {
        "experiment": choice.group.experiment,
        "method": choice.group.method,
        "problem": choice.group.problem.name,
        "metric": choice.metric,
        "over": choice.criterion,
        "setting": choice.group.setting,
        "num_settings": choice.num_settings,
        "mean": found.mean,
        "low": None if math.isnan(found.low) else found.low,
        "high": None if math.isnan(found.high) else found.high,
        "n": found.num_values,
        "on_selection_seeds": choice.is_biased,
        "chosen_share": choice.score.chosen_share,
    }


def _as_dict(choice: Choice) -> dict[str, Any]:
    """Values as they are recorded: a share is 0 .. 1."""
    settings = [score.group for score in choice.scores]
    return _record(choice) | {
        "select_seeds": choice.select_seeds,
        "report_seeds": choice.report_seeds,
        "missing_seeds": choice.missing,
        "settings": [
            {
                "setting": score.group.setting,
                "values": dict(point),
                "mean_on_selection_seeds": score.select.mean,
                "chosen_share": score.chosen_share,
            }
            for score, point in zip(choice.scores, points(settings), strict=True)
        ],
        "not_eligible": [{"setting": group.setting, "without": seeds} for group, seeds in choice.left_out],
        "neighbours": [
            {"key": one.key, "value": one.value, "setting": one.score.group.setting, "mean": one.score.select.mean}
            for one in choice.nearby
        ],
        "edges": [
            {"key": one.key, "value": one.value, "end": "largest" if one.is_largest else "smallest"}
            for one in choice.edges
        ],
    }
