"""The run table of a frame, as numbers and text."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from lop_engine.analysis import Curve, Group
from lop_engine.experiment.components import Metric, Scale, factor_of
from lop_engine.runs.records import State
from lop_engine.runs.views import RunView
from lop_tui.dashboard.drawing.chart import Style
from lop_tui.words import formats
from lop_tui.words.formats import with_error
from lop_tui.words.runs import last_value

#: In display order: states that need attention come first.
STATES: tuple[State, ...] = ("failed", "lost", "diverged", "ended-by-rule", "stopped", "running", "queued", "finished")


@dataclass(frozen=True)
class Row:
    """One setting of one method in the table."""

    label: str
    short_label: str
    method: str
    """The name of the method; empty if no run.json could be read."""
    is_named_after_method: bool
    """Whether the label begins with the method's name."""
    style: Style
    states: tuple[tuple[State, int], ...]
    tasks: str
    """Tasks done, from the slowest to the fastest seed: ``110-120/150``."""
    tasks_done: int
    """Summed over all seeds, like `tasks_total` and `tasks_per_min`."""
    tasks_total: int
    progress: float
    measure: Metric
    """The headline metric of the problem."""
    value: str
    """The final value (`analysis.windows`), mean +- standard error over seeds; "" if missing."""
    value_seeds: str
    """``n=1/4`` if the value lacks seeds."""
    tasks_per_min: float | None
    eta_s: float | None
    device: str
    """Devices of its running seeds, else the last ones used: ``cpu``, ``cuda:0 cuda:1``."""
    is_drawn: bool = True
    """Whether it has lines in the charts."""
    is_pinned: bool = False


def count_states(runs: Sequence[RunView]) -> tuple[tuple[State, int], ...]:
    """Count the runs in each state that occurs, in the order of STATES."""
    counts = Counter(run.state for run in runs)
    return tuple((state, counts[state]) for state in STATES if counts[state])


def short_labels(groups: Sequence[Group]) -> dict[str, str]:
    """Return short labels: what distinguishes each setting from the others of its experiment on the screen.

    With one swept key this is the value, ``bp 0.01``; with several the initials of those that vary among `groups`,
    ``l2 ss=0.01 wd=0.001``.
    """
    labels = {}
    for group in groups:
        family = [one for one in groups if one.experiment == group.experiment and one.setting != "default"]
        labels[group.label] = _short_label(group, [_parts_of(one) for one in family])
    return labels


def _short_label(group: Group, family: Sequence[dict[str, str]]) -> str:
    if group.setting == "default":
        return group.experiment
    parts = _parts_of(group)
    varied = [key for key in parts if len({one.get(key) for one in family}) > 1] or list(parts)
    if len(parts) == 1 or len(varied) == 1:
        words = [parts[key] or key for key in varied]
    else:
        names = _initials({key for one in family for key in one})
        words = [f"{names[key]}={parts[key]}" for key in varied]
    return f"{group.experiment} {' '.join(words)}"


def _parts_of(group: Group) -> dict[str, str]:
    """Return values by key, as in the setting's name."""
    return {key: value for key, _, value in (part.partition("=") for part in group.setting.split(","))}


def _initials(keys: Collection[str]) -> dict[str, str]:
    """Return ``ss`` for ``step_size``; the whole key if two have the same initials."""
    short = {key: "".join(word[:1] for word in key.split("_")) for key in keys}
    return {key: key if list(short.values()).count(one) > 1 else one for key, one in short.items()}


def build_row(group: Group, style: Style, measure: Metric, short_label: str) -> Row:
    """Make the row of a group: its progress, and its value of `measure`."""
    value, value_seeds = last_value(group, measure)
    tasks_per_min = sum(_tasks_per_min(run) for run in group.runs if run.state == "running")
    return Row(
        label=group.label,
        short_label=short_label,
        method=group.method,
        is_named_after_method=group.method in (group.experiment, ""),
        style=style,
        states=count_states(group.runs),
        tasks=formats.tasks([run.tasks_done for run in group.runs], group.num_tasks),
        tasks_done=sum(run.tasks_done for run in group.runs),
        tasks_total=sum(run.num_tasks for run in group.runs),
        progress=float(np.mean([run.progress for run in group.runs])),
        measure=measure,
        value=value,
        value_seeds=value_seeds,
        tasks_per_min=tasks_per_min or None,
        eta_s=_eta_s(group, tasks_per_min),
        device=_devices(group),
    )


def _tasks_per_min(run: RunView) -> float:
    return 60 * (run.status.epochs_per_s or 0) / max(1, run.status.num_epochs)


def _eta_s(group: Group, tasks_per_min: float) -> float | None:
    """Return seconds until all seeds end: of the slowest running one, or of all remaining work at the current rate."""
    running = [run.status.eta_s for run in group.runs if run.state == "running"]
    known = [eta_s for eta_s in running if eta_s is not None]
    if not tasks_per_min or len(known) < len(running):
        return None
    unfinished = [run for run in group.runs if run.state in ("queued", "running")]
    tasks_left = sum(run.num_tasks * (1 - run.progress) for run in unfinished)
    return max(*known, 60 * tasks_left / tasks_per_min)


def _devices(group: Group) -> str:
    devices = [(run.state, run.status.device) for run in group.runs if run.status.device]
    running = [device for state, device in devices if state == "running"]
    return " ".join(sorted(set(running or [device for _, device in devices])))


def value_at(curve: Curve, point: int, num_seeds: int, scale: Scale) -> tuple[str, str]:
    """Return mean +- standard error at a point, and ``n=1/4`` if it lacks seeds; empty without points.

    A single seed has no standard error.
    """
    if not len(curve.mean):
        return "", ""
    factor = factor_of(scale)
    mean, error = curve.mean[point] * factor, curve.standard_error[point] * factor
    num_present = curve.num_seeds[point]
    if factor == 100:
        value = f"{mean:.1f} ± {error:.1f}" if num_present > 1 else f"{mean:.1f}"
    else:
        value = with_error(mean, error)
    return value, "" if num_present == num_seeds else f"n={num_present}/{num_seeds}"
