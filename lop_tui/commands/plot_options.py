"""What is wrong with the options of `lop plot`, and what its words mean."""

import math
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import cast

from lop_engine.analysis.curves import BANDS, Band
from lop_engine.errors import UserError, did_you_mean

KINDS = ("tasks", "sweep", "methods", "sensitivity", "grid", "metrics", "seeds", "within-task")
STYLES = ("paper", "screen")

#: Of a PNG, either way: more is a slip of the keyboard and fills the memory.
MOST_DOTS = 20_000


def one_of(option: str, word: str, choices: Collection[str]) -> None:
    """Refuse a word that an option does not take. Raises UserError."""
    if word not in choices:
        raise UserError(f'plot: {option} "{word}"{did_you_mean(word, choices)} (there are {", ".join(choices)})')


def band_of(word: str) -> Band:
    """The band of that name. Raises UserError."""
    one_of("--band", word, BANDS)
    return cast(Band, word)


def inches_of(size: str, dpi: int | None) -> tuple[float, float] | None:
    """Width and height; None where nothing is said. Raises UserError, also for more dots than a PNG may have."""
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
    """Refuse a kind that is unknown, and options of another kind. Raises UserError."""
    one_of("--kind", kind, KINDS)
    if heatmap and kind != "seeds":
        raise UserError("plot: --heatmap shows single seeds; add --kind seeds")
    if over and kind not in ("sensitivity", "grid"):
        raise UserError("plot: --over names the swept keys to show; add --kind sensitivity or --kind grid")
    if at and kind != "within-task":
        raise UserError("plot: --at names the tasks to look into; add --kind within-task")


def experiment_among(words: Sequence[str], known: Collection[str]) -> tuple[str, list[str]]:
    """The experiment that one of `words` names, by itself or by its file, and the other words; '' for none.

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
    """The metrics that `words` name, each once; ``all`` means `every`. Raises UserError for one that is not `known`."""
    metrics = list(every) if list(words) == ["all"] else list(dict.fromkeys(words))
    for metric in metrics:
        if metric not in known:
            raise UserError(f'plot: no metric "{metric}"{did_you_mean(metric, known)} (there are {", ".join(known)})')
    return metrics


def task_range(text: str) -> tuple[float, float]:
    """The first and last task of ``A-B``, ``A-`` or ``-B``; all where nothing is said. Raises UserError."""
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
    """The tasks of ``1,1000,2000``, rising; none where nothing is said. Raises UserError."""
    if not re.fullmatch(r"([1-9][0-9]{0,8}(,[1-9][0-9]{0,8}){0,5})?", text):
        raise UserError(f'plot: --at "{text}": write one to six tasks, counted from 1: 1,1000,2000')
    return sorted({int(task) for task in text.split(",") if task})
