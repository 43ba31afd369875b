"""The part of the comparison in a frame: the difference of two settings."""

from lop_engine.analysis import Difference, compare, default_bin
from lop_tui.dashboard.drawing.axes import task_axis
from lop_tui.dashboard.registry import Material, Part


def _difference(material: Material, labels: tuple[str, str]) -> Difference | None:
    found = {group.label: group for group in material.groups}
    if not all(label in found for label in labels):
        return None
    one, other = (found[label] for label in labels)
    settings, metric = material.request.settings, material.metric
    done = min(max(run.tasks_recorded for run in group.runs) for group in (one, other))
    shown = round(task_axis(done, min(one.num_tasks, other.num_tasks)).high)
    return compare(one, other, metric, settings.bin_size or default_bin(shown))


#: Labels of the two settings whose difference is shown.
PARTS = (Part("difference", "compare", _difference),)
