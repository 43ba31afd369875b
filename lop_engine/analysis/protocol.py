"""Whether the seeds of one name are one experiment: a mean over what differs would mean nothing."""

from collections.abc import Iterable, Mapping
from typing import Any

from lop_engine.analysis.groups import Group
from lop_engine.errors import UserError
from lop_engine.spec import BOOKKEEPING_KEYS, Spec

#: How long a run is, and what is measured of it: neither changes a value that two runs both have.
EXTENT_KEYS = frozenset({"num_tasks", "metrics", "metrics_every", "curvature_every"})

_ABSENT = object()


def refuse_mixed(groups: Iterable[Group]) -> None:
    """Refuse groups whose seeds differ in more than the seed.

    Keys that never change a run's numbers may differ, and so may how long it is and what is measured of it. A run
    whose spec cannot be read is passed over.

    Raises:
        UserError: naming the two runs, the first key that differs and both values.
    """
    for group in groups:
        runs = [run for run in group.runs if run.spec]
        for run in runs[1:]:
            for key in _differing(runs[0].spec, run.spec):
                ours, theirs = (_said(one.spec, key) for one in (runs[0], run))
                raise UserError(
                    f"{run.dir.name} and {runs[0].dir.name} are no seeds of one experiment: {key} is {theirs} in the "
                    f'first and {ours} in the second; leave one out (--where "-seed:{run.seed}")'
                )


def _differing(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    known = [key for key in Spec.model_fields if key not in BOOKKEEPING_KEYS | EXTENT_KEYS]
    more = sorted((ours.keys() | theirs.keys()) - Spec.model_fields.keys())  # of another version
    return [key for key in (*known, *more) if _value(ours, key) != _value(theirs, key)]


def _value(spec: Mapping[str, Any], key: str) -> Any:
    """A key that a spec does not name has its default."""
    if key in spec or key not in Spec.model_fields:
        return spec.get(key, _ABSENT)
    return Spec.model_fields[key].get_default()


def _said(spec: Mapping[str, Any], key: str) -> str:
    value = _value(spec, key)
    return "not given" if value is _ABSENT else repr(value)
