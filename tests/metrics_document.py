"""docs/metrics.md, from the metrics' own docstrings: ``python -m tests.metrics_document > docs/metrics.md``."""

import inspect

from lop_engine.metrics import REGISTRY
from lop_engine.records import METRICS

INTRODUCTION = """\
# Metrics

After each recorded epoch (`metrics_every`) of each task, one number a seed. S is the seed axis, B a batch, F units.
Ranks, dormancy and gradient norm look at the first mini-batch of the epoch's order. The first seven are recorded by
default; `"metrics": [...]` in an experiment file chooses. A network without hidden layers (`linear`) has no ranks and
no dormancy. A metric of a seed that has diverged is null.

This page is made from the docstrings in `lop_engine/metrics/`; a test holds the two together.
"""


def build() -> str:
    """The whole page."""
    parts = [INTRODUCTION]
    for name, metric in REGISTRY.items():
        definition = inspect.getdoc(metric.function).partition("\n\nArgs:")[0]  # type: ignore[union-attr]
        default = " (default)" if name in METRICS else ""
        parts.append(f"## {name}{default}\n\n{definition}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    print(build(), end="")
