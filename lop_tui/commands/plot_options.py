"""Checks the options and arguments of `lop plot`, and finds the settings of a sweep to draw."""

import math
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from lop_engine.analysis import Group
from lop_engine.analysis.choice import choose, families
from lop_engine.analysis.curves import BANDS, Band
from lop_engine.analysis.grid import along, is_number, points
from lop_engine.errors import UserError, did_you_mean, instead
from lop_tui.words.best import family_name, note_on_choice

if TYPE_CHECKING:
    from lop_tui.figures import Settings


KINDS = ("tasks", "sweep", "panels", "methods", "sensitivity", "grid", "metrics", "seeds", "within-task")
STYLES = ("paper", "screen")

#: Most pixels of a PNG in either direction; more is a typing error and exhausts the memory.
MOST_DOTS = 20_000


def one_of(option: str, word: str, choices: Collection[str]) -> None:
    """Check that an option's value is allowed. Raises UserError."""
    if word not in choices:
        raise UserError(f'plot: {option} "{word}"{instead(word, choices)}')


def band_of(word: str) -> Band:
    """Return the band of that name. Raises UserError."""
    one_of("--band", word, BANDS)
    return cast(Band, word)


def inches_of(size: str, dpi: int | None) -> tuple[float, float] | None:
    """Parse width and height; None if not given. Raises UserError, also if a PNG would have too many pixels."""
    if dpi is not None and not 10 <= dpi <= 2400:
        raise UserError(f"plot: --dpi {dpi}: dots an inch, 10 to 2400")
    if not size:
        return None
    match = re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,3})?)x([0-9]{1,3}(?:\.[0-9]{1,3})?)", size)
    if not match or not all(1 <= float(side) <= 100 for side in match.groups()):
        raise UserError(f'plot: --size "{size}": write width and height in inches, 1 to 100: 6.5x4')
    inches = float(match[1]), float(match[2])
    if max(inches) * (dpi or 300) > MOST_DOTS:
        raise UserError(f"plot: --size {size}: more than {MOST_DOTS} dots; choose a smaller size or --dpi")
    return inches


def check_of_kind(kind: str, heatmap: bool, over: str, at: str) -> None:
    """Refuse an unknown kind, and options of another kind. Raises UserError."""
    one_of("--kind", kind, KINDS)
    if heatmap and kind != "seeds":
        raise UserError("plot: --heatmap shows single seeds; add --kind seeds")
    if over and kind not in ("panels", "sensitivity", "grid"):
        raise UserError("plot: --over names the swept keys to show; add --kind panels, sensitivity or grid")
    if at and kind != "within-task":
        raise UserError("plot: --at names the tasks to look into; add --kind within-task")


def experiment_among(words: Sequence[str], known: Collection[str]) -> tuple[str, list[str]]:
    """Return the experiment among `words`, given by name or file ("" if none), and the other words.

    Args:
        known: names of metrics.
    """
    others = [word for word in words if word != "all" and word not in known]
    if len(others) > 1:
        raise UserError(f"plot: --kind sweep: shows one experiment, these are {len(others)}: {', '.join(others)}")
    name = others[0] if others else ""
    if name.endswith(".json"):
        name = Path(name).stem
    return name, [word for word in words if word not in others]


def metrics_among(words: Sequence[str], every: Sequence[str], known: Collection[str]) -> list[str]:
    """Return the metrics that `words` name, each once; ``all``: `every`. Raises UserError if not in `known`."""
    metrics = list(every) if list(words) == ["all"] else list(dict.fromkeys(words))
    for metric in metrics:
        if metric not in known:
            raise UserError(f'plot: no metric "{metric}"{instead(metric, known)}')
    return metrics


def task_range(text: str) -> tuple[float, float]:
    """Parse the tasks ``A-B``, ``A-`` or ``-B``; all if empty. Raises UserError."""
    match = re.fullmatch(r"([0-9]{0,9})-([0-9]{0,9})", text or "-")
    if not match or text == "-":
        raise UserError(
            f'plot: --tasks "{text}": write the first and last task, 1000-2000, or one of them, 1000- or -2000'
        )
    first, last = int(match[1] or 1), int(match[2] or 0) or math.inf
    if not 1 <= first <= last:
        raise UserError(f'plot: --tasks "{text}": should run from a task of 1 or more to a later one')
    return first, last


def task_list(text: str) -> list[int]:
    """Parse the tasks ``1,1000,2000``, in ascending order; none if empty. Raises UserError."""
    if not re.fullmatch(r"([1-9][0-9]{0,8}(,[1-9][0-9]{0,8}){0,5})?", text):
        raise UserError(f'plot: --at "{text}": write one to six tasks, counted from 1: 1,1000,2000')
    return sorted({int(task) for task in text.split(",") if task})


def best_of_each(groups: Sequence[Group], metric: str, select: Sequence[int] | None) -> tuple[list[Group], list[str]]:
    """Return one group for each method of each experiment, and notes on the choice.

    Of several settings it is the best, chosen like `lop best`, with the seeds that did not choose it.
    """
    best, notes = [], []
    for family in families(groups):
        choice = choose(family, metric, select_seeds=select)
        if choice:
            best.append(choice.shown)
            notes += note_on_choice(choice, "drawn")
        elif len(family) > 1:
            best.append(family[0])
            notes.append(
                f"{family_name(family[0])}: no setting has a value of every selection seed yet; "
                f"drawn is the first, {family[0].setting}"
            )
        else:
            best.append(family[0])
    return best, notes


def by_value(groups: Sequence[Group], key: str) -> dict[str, list[tuple[str, Group]]]:
    """Group settings by value of `key`, ``agent`` or a swept key, each with a name of its other differences.

    Groups without the key are under their experiment's name.
    """
    from lop_tui.figures import swept_setting

    groups_of_value: dict[str, list[tuple[str, Group]]] = {}
    for group in groups:
        setting = swept_setting(group, [one for one in groups if one.experiment == group.experiment])
        values = dict(part.partition("=")[::2] for part in setting.split(",") if "=" in part)
        value = group.method if key == "agent" else values.pop(key, group.experiment)
        title = f"{key.replace('_', ' ')} {value}" if value[:1].isdigit() else value
        words = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in values.items())
        groups_of_value.setdefault(title, []).append((words or group.experiment, group))
    return groups_of_value


def keys_to_show(groups: Sequence[Group], words: str, number: int, kind: str = "") -> list[str]:
    """Return the swept keys of a figure of `number` keys: the named ones, or all if that is their number.

    Raises:
        UserError: a wrong number of keys is swept or named, or a named one is not swept.
    """
    kind = kind or ("sensitivity" if number == 1 else "grid")
    swept: dict[str, bool] = {}  # key -> whether all its values are numbers
    for family in families(groups):
        for point in points(family):
            swept |= {key: is_number(value) and swept.get(key, True) for key, value in point.items()}
    if not swept:
        raise UserError(f"plot: --kind {kind}: no experiment here is swept; run one whose file has a list of values")
    named = [word for word in words.split(",") if word]
    for word in named:
        if word not in swept:
            raise UserError(
                f'plot: --over "{word}"{did_you_mean(word, swept)}: not swept here (there are {", ".join(swept)})'
            )
    keys = list(dict.fromkeys(named)) or list(swept)
    if len(keys) != number:
        example = ",".join(list(swept)[:number]) if len(swept) >= number else "KEY"
        there_are = f"these runs sweep {', '.join(swept)}"
        needs = "one key" if number == 1 else "two keys"
        raise UserError(f"plot: --kind {kind} shows {needs}, and {there_are}; name {needs}: --over {example}")
    return keys


def settings_along(
    groups: Sequence[Group], keys: Sequence[str], metric: str, select: Sequence[int] | None
) -> tuple[list["Settings"], list[str]]:
    """Return each method's settings that differ from its best one only in `keys`; and notes on those left out."""
    from lop_tui.figures import Settings

    settings, notes = [], []
    for family in families(groups):
        varied = {key for point in points(family) for key in point}
        choice = choose(family, metric, select_seeds=select)
        name = family_name(family[0])
        if choice is None:
            notes.append(f"left out: {name}, without a value of every selection seed")
            continue
        if not varied >= set(keys):
            missing = " and ".join(key for key in keys if key not in varied)
            notes.append(f"left out: {name}, which does not sweep {missing}")
            continue
        others = {key: value for key, value in _point_of(choice.group, family).items() if key not in keys}
        if others:
            fixed = ", ".join(f"{key}={value}" for key, value in others.items())
            notes.append(f"{name}: drawn at {fixed}, as in its best setting")
        settings.append(Settings(name, family[0], choice.group, along(family, keys, choice.group)))
    if not settings:
        raise UserError(f"plot: {'; '.join(notes)}")
    return settings, notes


def _point_of(group: Group, family: Sequence[Group]) -> dict[str, object]:
    return next(dict(point) for point, one in zip(points(family), family, strict=True) if one is group)


def one_experiment(groups: list[Group], name: str) -> list[Group]:
    """Return the settings of the experiment `name`, or of the only swept experiment."""
    if not name:
        swept = sorted({group.experiment for group in groups if group.setting != "default"})
        if len(swept) != 1:
            which = f"{', '.join(swept)} are" if swept else "no experiment here is"
            raise UserError(f"plot: --kind sweep: {which} swept; name one: lop plot --kind sweep bp")
        name = swept[0]
    there_are = sorted({group.experiment for group in groups})
    experiments = [name] if name in there_are else _experiments_of_method(groups, name)
    if len(experiments) != 1:
        which = f"{len(experiments)} experiments are" if experiments else "no runs are"
        raise UserError(f'plot: --kind sweep: {which} of "{name}"; name one of {", ".join(experiments or there_are)}')
    chosen = [group for group in groups if group.experiment == experiments[0]]

    from lop_tui.figures import swept_setting

    return sorted(chosen, key=lambda group: _by_size(swept_setting(group, chosen)))


def _experiments_of_method(groups: list[Group], method: str) -> list[str]:
    """Return the experiments that train the method."""
    return sorted({group.experiment for group in groups if group.method == method})


def _by_size(setting: str) -> list[tuple[float, str]]:
    """Sort key: settings by their numbers, descending."""
    order = []
    for part in setting.split(","):
        value = part.rpartition("=")[2]
        try:
            order.append((-float(value), ""))
        except ValueError:
            order.append((0.0, value))
    return order
