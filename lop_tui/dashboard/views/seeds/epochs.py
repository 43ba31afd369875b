"""Inside one task: charts over its epochs."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lop_engine.analysis import Curve
from lop_engine.analysis.groups import OneProblem
from lop_engine.experiment import seen
from lop_engine.experiment.components import Metric
from lop_tui.dashboard.drawing.axes import Axis
from lop_tui.dashboard.drawing.chart import Chart, Line
from lop_tui.dashboard.rows import Style

MUTED = Style("#888888", ".")
"""Metrics of the headline's kind, such as the train accuracy, beside the headline in the setting's own colour."""

Documents = Sequence[dict[str, object]]


def epoch_charts(
    documents: Documents, style: Style, metric: str, num_epochs: int, shown: OneProblem
) -> tuple[Chart, ...]:
    """The headline over the epochs of a task, with the metrics of its kind; then `metric`, or if it is one of those,
    the first other one that was recorded.

    Args:
        documents: one task's of epochs.json, at least one.
        num_epochs: how far the x axis goes at least.
        shown: the problem.
    """
    recorded = set().union(*documents)
    together = [*(one for one in shown.problem.together[::-1] if one != shown.headline), shown.headline]
    first = _common_title(together)
    others = [one for one in (metric, *shown.charts) if one not in together and one in recorded]
    charts = []
    for measure, members in [(first, together), *((seen.metric(one), [one]) for one in others[:1])]:
        looks = [(one, style if one in (shown.headline, *others) else MUTED) for one in members if one in recorded]
        lines = tuple(_line(documents, one, measure.title, look) for one, look in looks)
        if any(len(line.x) for line in lines):
            last = max(int(line.x.max()) for line in lines if len(line.x))
            remark = "" if any(np.isfinite(line.curve.mean).any() for line in lines) else "not finite"
            axis = Axis(0, max(2, num_epochs, last))
            charts.append(Chart(measure, lines, axis, 1, "epochs", remark=remark))
    return tuple(charts)


def _common_title(metrics: Sequence[str]) -> Metric:
    """The last of `metrics`, by the words that all their titles end in: ``accuracy`` of test and train accuracy."""
    titles = [seen.metric(one).title.split() for one in metrics]
    common: list[str] = []
    for words in zip(*(title[::-1] for title in titles), strict=False):
        if len(set(words)) > 1:
            break
        common.insert(0, words[0])
    measure = seen.metric(metrics[-1])
    return replace(measure, title=" ".join(common) or measure.title)


def _line(documents: Documents, metric: str, title: str, style: Style) -> Line:
    """`title` is that of the chart: the line's name says only what it does not."""
    measured = [document for document in documents if metric in document]  # some epochs lack the metric
    x = np.array([_number(document.get("epoch")) + 1 for document in measured])
    values = np.array([_number(document.get(metric)) for document in measured])
    x, values = x[known := np.isfinite(x) & (x < 1e9)], values[known]
    curve = Curve(x, values, np.zeros(len(x)), np.ones(len(x), dtype=int), 1)
    own = seen.metric(metric).title
    name = own.removesuffix(title).strip() or own
    return Line(name, style.colour, style.marker, curve, x, num_seeds=1)


def _number(value: object) -> float:
    """NaN for what was not finite, and so is null."""
    return float(value) if isinstance(value, int | float) else float("nan")
