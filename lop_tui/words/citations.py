"""The components that runs used, and their papers."""

from collections.abc import Iterable, Iterator

import lop_engine
from lop_engine.experiment.registry import METRICS
from lop_engine.experiment.stored import foreign_components, stored_spec
from lop_engine.runs.views import RunView

LOP = f"""% the program
@software{{lop,
  title = {{lop: a lab for loss of plasticity, in a terminal}},
  author = {{{{The lop contributors}}}},
  version = {{{lop_engine.__version__}}},
  year = {{2026}}
}}"""


def used_sources(runs: Iterable[RunView]) -> dict[str, list[str]]:
    """Return what runs used, by source: ``method cbp``, ``metric curvature``; own components without one under ""."""
    by_source: dict[str, dict[str, None]] = {}
    for source, name in (used for run in runs for used in _used(run)):
        by_source.setdefault(source, {})[name] = None
    return {source: list(names) for source, names in by_source.items()}


def _used(run: RunView) -> Iterator[tuple[str, str]]:
    spec = stored_spec(run.spec)
    if spec is None:
        yield from (("", name) for name in foreign_components(run.spec))
        return
    parts = spec.parts
    kinds = {"problem": parts.problem, "network": parts.network, "method": parts.method, "optimiser": parts.optimizer}
    named = [(kind, one) for kind, one in kinds.items() if one] + [("metric", METRICS[name]) for name in spec.metrics]
    for kind, one in named:
        if one.source or one.modules:  # losses and plain SGD need no citation
            yield one.source, f"{kind} {one.name}"


def entry(bibtex: str, names: Iterable[str]) -> str:
    """Return a BibTeX entry below a comment that names what it is cited for."""
    return f"% {', '.join(names)}\n{bibtex}"


def missing_source(source: str, names: Iterable[str]) -> str:
    """Return a note on components without a known paper."""
    of = f"the source {source} has no entry" if source else "no source is known"
    return f"note: {of}: {', '.join(names)}"
