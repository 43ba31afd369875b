"""Which runs may train in one stack, and what they have in common."""

from collections.abc import Hashable, Sequence
from itertools import chain

from lop_engine.experiment.fields import Fields, is_per_run
from lop_engine.experiment.parts import BOOKKEEPING_KEYS, Experiment
from lop_engine.experiment.spec import Spec, hashable

FREE_KEYS = BOOKKEEPING_KEYS - {"checkpoint_every_s"} | {"stop_when"}
"""Keys that the training of a stack does not read."""


def per_run_keys(spec: Spec) -> frozenset[str]:
    """The keys of which runs of one stack may have different values."""
    method, optimizer = spec.parts.method, spec.parts.optimizer
    if not method.mixes_settings:
        return frozenset()
    classes: list[type[Fields]] = [Experiment, method.fields, *([optimizer.fields] if optimizer else [])]
    return frozenset(key for fields in classes for key in fields.model_fields if is_per_run(fields, key))


def stack_key(spec: Spec) -> Hashable:
    """Equal for runs that may share a stack: all that is neither a number of each run nor bookkeeping.

    The name of the method is part of it, not its spelling.
    """
    may_differ = per_run_keys(spec)
    shared = {key: value for key, value in spec.to_dict().items() if key not in may_differ | FREE_KEYS | {"agent"}}
    are_numbers = {key: isinstance(getattr(spec, key), int | float) for key in sorted(may_differ)}
    return hashable(shared), spec.method, hashable(are_numbers)


def common(specs: Sequence[Spec]) -> Spec:
    """A spec with the values that all have; reading one that differs is an error, unless no training reads it."""
    first, *others = dict.fromkeys(specs)
    values, different = first.to_dict(), [one.to_dict() for one in others]
    keys = [key for key in dict.fromkeys(chain(values, *different)) if key not in FREE_KEYS]
    missing = object()
    return first.without([key for key in keys if any(one.get(key, missing) != values.get(key) for one in different)])
