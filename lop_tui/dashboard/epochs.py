"""Inside one task: charts over its epochs."""

from collections.abc import Sequence

import numpy as np

from lop_engine.analysis import Curve
from lop_engine.experiment import seen
from lop_tui.dashboard.drawing.axes import Axis
from lop_tui.dashboard.drawing.chart import Chart, Line
from lop_tui.dashboard.rows import Style

MUTED = Style("#888888", ".")
"""The accuracy on the training images, beside that on the test images in the setting's own colour."""

Documents = Sequence[dict[str, object]]


def epoch_charts(documents: Documents, style: Style, metric: str, num_epochs: int) -> tuple[Chart, ...]:
    """Train and test accuracy over the epochs of a task; then `metric`, or the curvature if that is an accuracy.

    Args:
        documents: one task's of epochs.json, at least one.
        num_epochs: how far the x axis goes at least.
    """
    other = "curvature" if metric.endswith("accuracy") else metric
    parts = [("test_accuracy", (("train_accuracy", MUTED), ("test_accuracy", style))), (other, ((other, style),))]
    charts = []
    for name, members in parts:
        lines = tuple(_line(documents, one, look) for one, look in members if any(one in row for row in documents))
        if any(len(line.x) for line in lines):
            last = max(int(line.x.max()) for line in lines if len(line.x))
            remark = "" if any(np.isfinite(line.curve.mean).any() for line in lines) else "not finite"
            axis = Axis(0, max(2, num_epochs, last))
            charts.append(Chart(seen.metric(name), lines, axis, 1, "epochs", remark=remark))
    return tuple(charts)


def _line(documents: Documents, metric: str, style: Style) -> Line:
    measured = [document for document in documents if metric in document]  # some epochs lack the metric
    x = np.array([_number(document.get("epoch")) + 1 for document in measured])
    values = np.array([_number(document.get(metric)) for document in measured])
    x, values = x[known := np.isfinite(x) & (x < 1e9)], values[known]
    curve = Curve(x, values, np.zeros(len(x)), np.ones(len(x), dtype=int), 1)
    name = seen.metric(metric).title.removesuffix(" accuracy")
    return Line(name, style.colour, style.marker, curve, x, num_seeds=1)


def _number(value: object) -> float:
    """NaN for what was not finite, and so is null."""
    return float(value) if isinstance(value, int | float) else float("nan")
