"""The best settings of methods: table, remarks and JSON (`lop best`), and notes on selection seeds."""

import math
from collections.abc import Sequence
from typing import Any

from lop_engine.analysis import Group
from lop_engine.analysis.choice import CRITERIA, Choice, Criterion, own_selections
from lop_engine.analysis.grid import points
from lop_engine.errors import ConfigError, UserError, instead
from lop_engine.experiment import lookup
from lop_engine.experiment.sweep import describe_seeds, parse_seeds
from lop_engine.runs.views import RunView
from lop_engine.text import plain
from lop_tui.words.comparison import listed, value_with_sign
from lop_tui.words.formats import name_seeds, short_value
from lop_tui.words.sheets import Cell, Column, Sheet

OVER = {
    "last": "last tenth",
    "whole": "whole run",
    "end": "last bin",
    "first": "first tenth",
    "best": "best tenth",
}
"""The tasks that each criterion averages over, as text."""


def seeds_of(command: str, text: str) -> list[int] | None:
    """Parse the selection seeds; None for half of them. Raises UserError."""
    try:
        return parse_seeds(text) if text else None
    except ConfigError as error:
        raise UserError(f"{command}: {str(error).replace('--seeds', '--select-seeds')}") from None


def family_name(group: Group) -> str:
    """Return ``bp`` or ``sweep (cbp)``: the experiment, with the method if its name differs."""
    name = group.experiment if group.method in ("", group.experiment) else f"{group.experiment} ({group.method})"
    return plain(name)


def note_on_choice(choice: Choice, shown: str) -> list[str]:
    """Return a note on the chosen setting, its selection seeds and its `shown` seeds; "" if there was one setting."""
    if not choice.select_seeds:
        return []
    chosen = (
        f"{family_name(choice.group)}: {choice.group.setting} is the best of {choice.num_settings} settings "
        f"({lookup.metric(choice.metric).title}, {OVER[choice.criterion]}) on {name_seeds(choice.select_seeds)}"
    )
    if choice.is_biased:
        return [f"{chosen}; {shown} on its own selection seeds, so its values are too good"]
    return [f"{chosen}; {shown} on {name_seeds(choice.report_seeds)}"]


def notes_on_selection(
    shown: Sequence[Group], every: Sequence[Group], select: Sequence[int] | None, metric: str = ""
) -> list[str]:
    """Return a line for each setting shown on its own selection seeds, unless its rivals are shown too."""
    labels = {group.label for group in shown}
    metric = metric or (shown[0].problem.headline if shown else "")
    lines = []
    for one in own_selections(shown, every, metric, select):
        same = one.group.experiment, one.group.method
        if {group.label for group in every if (group.experiment, group.method) == same} <= labels:
            continue
        advice = f'--where "seed:{describe_seeds(one.others).rstrip(",")}"' if one.others else "train more seeds"
        lines.append(
            f"{plain(one.group.label)} is the best of {one.num_settings} settings on {name_seeds(one.seeds)} and is "
            f"shown on its own selection seeds, so its values are too good; for the others: {advice}"
        )
    return lines


def criterion_of(command: str, word: str) -> Criterion:
    """Return the criterion of that name. Raises UserError."""
    if word not in CRITERIA:
        raise UserError(f'{command}: --by "{word}"{instead(word, CRITERIA)}')
    return word


def checked_metric(command: str, name: str, headline: str, runs: Sequence[RunView]) -> str:
    """Return the metric `name`, by default `headline`. Raises UserError if it is neither known nor recorded."""
    known = list(dict.fromkeys([*lookup.metric_names(), *(metric for run in runs for metric in run.series)]))
    if name and name not in known:
        raise UserError(f'{command}: no metric "{name}"{instead(name, known)}')
    return name or headline


def not_chosen(family: Sequence[Group], metric: str, select: Sequence[int] | None) -> str:
    """Return why no setting of a method could be chosen."""
    name, title = family_name(family[0]), lookup.metric(metric).title or "a metric"
    if not any(metric in run.series for group in family for run in group.runs):
        return f"{name}: no {title} is recorded"
    if select is not None and not any(run.seed in select for group in family for run in group.runs):
        return f"{name}: has no selection seed; name others with --select-seeds"
    return f"{name}: no setting has {title} of every selection seed; name others with --select-seeds"


def remarks(choice: Choice) -> list[str]:
    """Return remarks on a choice: its neighbours, an optimum at the edge, and seeds without values."""
    name, measure, lines = family_name(choice.group), lookup.metric(choice.metric), []
    if choice.is_biased:
        lines.append(
            f"{name}: the mean is over {name_seeds(choice.select_seeds)}, on which the setting was chosen, so it is "
            "too good; train more seeds"
        )
    if choice.missing:
        lines.append(f"{name}: no value of {name_seeds(choice.missing)}, so the mean may be too good")
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
    """Return a row per method: its best setting, and the value on the seeds that did not choose it."""
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
        for measure in (lookup.metric(choice.metric) for choice in choices)
    ]
    return f"best settings: {' or '.join(dict.fromkeys(titles))}, {OVER[criterion]}"


def _seed_notes(choices: Sequence[Choice]) -> list[str]:
    """Return notes on which seeds choose and which report, one if all methods agree."""
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
    estimated = choice.score.select if choice.is_biased else choice.report
    scale = lookup.metric(choice.metric).scale
    limits = (
        "-"
        if math.isnan(estimated.low)
        else f"{short_value(estimated.low, scale)} to {short_value(estimated.high, scale)}"
    )
    return [
        family_name(choice.group),
        choice.group.setting,
        str(choice.num_settings),
        short_value(estimated.mean, scale),
        limits,
        f"{estimated.num_values}{' (selection)' * choice.is_biased}",
        f"{100 * choice.score.chosen_share:.0f} %" if choice.select_seeds else "-",
    ]


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def _record(choice: Choice) -> dict[str, Any]:
    estimated = choice.score.select if choice.is_biased else choice.report
    return {
        "experiment": choice.group.experiment,
        "method": choice.group.method,
        "problem": choice.group.problem.name,
        "metric": choice.metric,
        "over": choice.criterion,
        "setting": choice.group.setting,
        "num_settings": choice.num_settings,
        "mean": estimated.mean,
        "low": None if math.isnan(estimated.low) else estimated.low,
        "high": None if math.isnan(estimated.high) else estimated.high,
        "n": estimated.num_values,
        "on_selection_seeds": choice.is_biased,
        "chosen_share": choice.score.chosen_share,
    }


def _as_dict(choice: Choice) -> dict[str, Any]:
    """Return values in recorded units: a share is 0 .. 1."""
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
