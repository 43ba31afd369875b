"""What a reader must know of settings that were chosen among several: on which seeds, and shown on which."""

from collections.abc import Sequence

from lop_engine.analysis import Group
from lop_engine.analysis.choice import Choice, own_selections
from lop_engine.errors import ConfigError, UserError
from lop_engine.experiment import seen
from lop_engine.experiment.sweep import describe_seeds, parse_seeds
from lop_engine.text import plain
from lop_tui.words.formats import name_seeds

OVER = {
    "last": "last tenth",
    "whole": "whole run",
    "end": "last bin",
    "first": "first tenth",
    "best": "best tenth",
}
"""The tasks that a criterion is the mean over, in words."""


def seeds_of(command: str, text: str) -> list[int] | None:
    """The selection seeds that a person named; None for half. Raises UserError."""
    try:
        return parse_seeds(text) if text else None
    except ConfigError as error:
        raise UserError(f"{command}: {str(error).replace('--seeds', '--select-seeds')}") from None


def family_name(group: Group) -> str:
    """``bp``, ``sweep (cbp)``: the experiment, with the method if it has another name."""
    name = group.experiment if group.method in ("", group.experiment) else f"{group.experiment} ({group.method})"
    return plain(name)


def note_on_choice(choice: Choice, shown: str) -> list[str]:
    """Which setting was chosen on which seeds, and on which it is `shown`; nothing where there was one setting."""
    if not choice.select_seeds:
        return []
    chosen = (
        f"{family_name(choice.group)}: {choice.group.setting} is the best of {choice.num_settings} settings "
        f"({seen.metric(choice.metric).title}, {OVER[choice.criterion]}) on {name_seeds(choice.select_seeds)}"
    )
    if choice.is_biased:
        return [f"{chosen}; {shown} on its own selection seeds, so its values are too good"]
    return [f"{chosen}; {shown} on {name_seeds(choice.report_seeds)}"]


def notes_on_selection(
    shown: Sequence[Group], every: Sequence[Group], select: Sequence[int] | None, metric: str = ""
) -> list[str]:
    """A line for each setting that is shown on its own selection seeds, unless its rivals are shown beside it."""
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
