"""docs/metrics.md, from descriptions and docstrings: ``python -m pages.metrics`` writes it."""

import inspect
from collections.abc import Sequence
from importlib import import_module
from itertools import groupby
from typing import Any

from lop_engine.experiment.code import load
from lop_engine.experiment.components import Metric
from lop_engine.experiment.problems import CONTINUAL_IMAGENET
from lop_engine.experiment.registry import METRICS
from pages import DOCS
from pages.equations import METRICS as METRIC_EQUATIONS
from pages.equations import block

INTRODUCTION = """\
# Metrics

A metric is one number for each seed, measured after each recorded epoch of each task. `lop metrics` lists all metrics,
and `lop metrics effective_rank` describes one. Those marked (default) are recorded by default on Continual ImageNet;
`"metrics": [...]` in an experiment file chooses others. On this page, S is the axis of seeds, B a batch and F the units
of a layer; proportions have values from 0 to 1 and are shown in percent.

Ranks, dormant units and the gradient norm are measured on the first mini-batch in the epoch's order. Names of ranks
without a number (`rank`, `effective_rank`, `approximate_rank`, `stable_rank`) mean the last hidden layer, and
`dormant_proportion` and `dead_proportion` mean all hidden layers together. Names that end in `_1`, `_2`, ... mean one
hidden layer. A network without hidden layers (`linear`) has none of these metrics. The metrics of a diverged seed are
null.

Online Permuted MNIST measures ranks and dead units at the start of each task instead, before its first step, on the
first 2,000 images of the new task. By default it records them for all three hidden layers too. All are keys of the
task's record, so exports, notebooks and figures have them; the dashboard first shows those without a number.

`"metrics_every": N` records every Nth epoch and the last epoch of each task. The default, 1, records every epoch; 0
records only the last. `"curvature_every": N` does the same for the curvature alone, which takes far longer than
training an epoch: it is measured after recorded epochs that are a multiple of N, and after each task's last epoch. The
documents of other epochs have no `curvature` key. The default is 1, as in the reference; 0 measures the curvature only
after each task's last epoch. The key changes neither the training nor any other metric. A run keeps the value that it
began with, and seeds with different values may be averaged. `lop run --dry-run` says how long each choice takes.

This page is generated from the descriptions in `lop_engine/experiment/metrics.py` and the docstrings in
`lop_engine/metrics/`; a test compares them.
"""

COST = """\
It takes as long as {} training epochs if it is measured on all training images. `curvature_every` sets how often it is
measured, and `curvature_images` on how many images."""


def build() -> str:
    """The whole page: a section for each metric, and one for those that only differ in the layer."""
    groups = groupby(
        METRICS.values(), key=lambda metric: (metric.name.removesuffix(f"_{metric.layer}"), not metric.layer)
    )
    return "\n".join([INTRODUCTION, *(_section(list(several)) for _, several in groups)])


def _section(several: Sequence[Metric]) -> str:
    metric = several[0]
    definition = inspect.getdoc(_defined_by(metric)).partition("\n\nArgs:")[0]  # type: ignore[union-attr]
    needs = f" Needs {' and '.join(sorted(metric.needs))}." if metric.needs else ""
    default = " (default)" if metric.name in CONTINUAL_IMAGENET.metrics else ""
    cost = f"\n\n{COST.format(f'{metric.cost_in_epochs:g}')}" if metric.cost_in_epochs else ""
    summary, _, rest = definition.partition("\n\n")
    math = block(METRIC_EQUATIONS[metric.name]) + "\n" if metric.name in METRIC_EQUATIONS else ""
    heading = metric.heading if len(several) == 1 else metric.heading.replace(f"layer {metric.layer}", "layer N")
    text = f"Shown as *{heading}*.{needs}\n\n{summary}\n\n{math}{rest}{cost}"
    return f"## {', '.join(one.name for one in several)}{default}\n\n{text}\n"


def _defined_by(metric: Metric) -> Any:
    """Return the function with the metric's name beside its code, which may only prepare that function's arguments."""
    module = import_module(metric.code.partition(":")[0])
    return getattr(module, metric.name, None) or load(metric)


if __name__ == "__main__":
    (DOCS / "metrics.md").write_text(build())
