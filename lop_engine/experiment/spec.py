"""A validated setting of an experiment: a problem, a network, a method with its optimiser, and what is recorded.

Keys are flat, as in the reference's files. Each belongs to one part: to the experiment as a whole (`Experiment`), or
to the component that declares it among its fields. Some keys may differ between the runs of a stack.
"""

from collections.abc import Collection, Hashable, Mapping, Sequence
from copy import copy
from itertools import chain
from typing import Any, TypeVar

from pydantic import ValidationError

from lop_engine.errors import ConfigError
from lop_engine.experiment.components import (
    Component,
    Metric,
    Problem,
    count_of,
)
from lop_engine.experiment.fields import Fields, is_per_run
from lop_engine.experiment.mistakes import explain, unknown_keys
from lop_engine.experiment.parts import BOOKKEEPING_KEYS, Experiment, InvalidSpecError, Parts, choose, is_known, renamed
from lop_engine.experiment.reference import DEFAULT
from lop_engine.experiment.registry import METRICS

F = TypeVar("F", bound=Fields)
FREE_KEYS = BOOKKEEPING_KEYS - {"checkpoint_every_s"} | {"stop_when"}
"""Keys that training does not read."""


class Spec:
    """Everything that determines a run's numbers, except its seed.

    A key is an attribute, whichever part owns it: `spec.num_tasks`, `spec.replacement_rate`. Immutable; equal if
    all keys are.

    What a file may leave open for its images (0 images, "auto", no checksum) is filled in before a run begins:
    `datasets.resolve`.

    Args:
        values: by key. Keys of components that are not used here are ignored, because run.json files of older versions
            contain the keys of all.
    Raises:
        InvalidSpecError: for the first error; says how many more there are.
    """

    parts: Parts
    _fields: tuple[Fields, ...]
    _values: dict[str, Any]
    differing: frozenset[str] = frozenset()
    """Keys without a value, see `without`."""
    _whole: "Spec | None" = None

    def __init__(self, **values: Any) -> None:
        values = renamed(values)
        self.parts = choose(values)
        own = self.parts.owners()
        values = dict(self.parts.problem.defaults) | _derived(self.parts.problem, values)
        values |= {"problem": self.parts.problem.name, "network": self.parts.network.name}
        values.setdefault("metrics", self.parts.problem.metrics)
        unknown = {key: value for key, value in values.items() if key not in own and not is_known(key)}
        if unknown:  # often a misspelling of a missing key
            raise InvalidSpecError(unknown_keys(unknown, own))
        self._fields = _validated(self.parts, values)
        optimizer = {"opt": self.parts.optimizer.name} if self.parts.optimizer else {}
        self._values = {key: value for fields in self._fields for key, value in fields} | optimizer
        self._hash = hash(hashable(self._values))
        _check_metrics(self)
        _check_parts(self)

    def __getattr__(self, key: str) -> Any:
        if not key.startswith("_"):
            if key in self._values:
                return self._values[key]
            for fields in self._fields:
                if hasattr(fields, key) and not hasattr(Fields, key):
                    return getattr(fields, key)
        if key in self.differing:
            raise AttributeError(f"the runs of this stack differ in key {key}; read it with Setup.own")
        raise AttributeError(f"no key {key} in this experiment")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Spec) and self._values == other._values

    def __hash__(self) -> int:
        return self._hash  # runs are looked up by spec, a hundred thousand times in a sweep

    def __repr__(self) -> str:
        return f"Spec({', '.join(f'{key}={value!r}' for key, value in self._values.items())})"

    def to_dict(self) -> dict[str, Any]:
        """Return all keys, flat, as in run.json."""
        return dict(self._values)

    def with_changes(self, **changes: Any) -> "Spec":
        """Return a copy with other values of some keys. Raises InvalidSpecError."""
        if self._whole:
            return self._whole.with_changes(**changes).without(self.differing)
        return Spec(**self._values | changes)

    def without(self, keys: Collection[str]) -> "Spec":
        """Return a copy without the values of keys that differ between the runs of a stack: reading one is an error."""
        shared = copy(self)
        shared._values = {key: value for key, value in self._values.items() if key not in keys}
        shared._fields = tuple(_without(fields, keys) for fields in self._fields)
        shared._whole = self
        shared.differing, shared._hash = frozenset(keys), hash(hashable(shared._values))
        return shared

    def own(self, fields: type[F]) -> F:
        """Return the keys that a component declares as `fields`, as an object of that class."""
        return next(one for one in self._fields if isinstance(one, fields))

    @property
    def defaults(self) -> dict[str, Any]:
        """Return the default values of the keys that have one, for these components."""
        fields = {key: one for own in self._fields for key, one in type(own).model_fields.items()}
        known = {key: one.default for key, one in fields.items() if not one.is_required()}
        parts = self.parts
        chosen = {"problem": DEFAULT, "network": parts.method.network or parts.problem.network}
        return known | dict(parts.problem.defaults) | chosen | {"metrics": parts.problem.metrics, "opt": "sgd"}

    @property
    def method(self) -> str:
        """Return the method's name: `l2` and `snp` may be spelled as `bp` with weight decay and perturbation."""
        return self.parts.method.name

    @property
    def components(self) -> tuple[Component, ...]:
        """Return its parts, the recorded metrics, and its problem's headline."""
        return (*self.parts, *(METRICS[name] for name in dict.fromkeys((*self.metrics, self.parts.problem.headline))))

    @property
    def num_hidden(self) -> int:
        """Return the number of hidden layers."""
        return count_of(self.parts.network.num_hidden, self._fields[2])

    @property
    def steps_per_epoch(self) -> int:
        """Return the mini-batches per epoch, including a short last one; 0 until the number of examples is known."""
        num_steps: int = -(-self.parts.problem.num_examples(self) // self.mini_batch_size)
        return num_steps

    @property
    def examples_per_part(self) -> int:
        """Return the examples after which a run may stop within an epoch, in whole batches; 0: only after epochs."""
        size = count_of(self.parts.problem.examples_per_part, self)
        return max(1, size // self.mini_batch_size) * int(self.mini_batch_size) if size else 0

    @property
    def num_parts(self) -> int:
        """Return the parts of a task after which a run may resume: its epochs, or the parts of its only epoch."""
        size = self.examples_per_part
        return -(-self.parts.problem.num_examples(self) // size) if size else int(self.num_showings)

    @property
    def steps_per_part(self) -> int:
        """Return the mini-batches of a part; a task's last part may have fewer. 0 until the examples are counted."""
        size = self.examples_per_part
        return min(size // self.mini_batch_size, self.steps_per_epoch) if size else self.steps_per_epoch

    @property
    def start_metrics(self) -> tuple[str, ...]:
        """Return the recorded metrics that are measured at a task's start."""
        at_start = self.parts.problem.start_metrics
        return tuple(name for name in self.metrics if name in at_start and self.measures(METRICS[name]))

    @property
    def steps_per_task(self) -> int:
        """Return the updates of a task; 0 until the number of examples is known."""
        return int(self.num_showings) * self.steps_per_epoch

    def measures(self, metric: Metric) -> bool:
        """Whether a metric can be measured on this problem and network."""
        provided = self.parts.problem.provides | self.parts.network.provides
        return metric.needs <= provided and metric.layer <= self.num_hidden

    def metrics_after(self, epoch: int) -> tuple[str, ...]:
        """Return the metrics to record after epoch `epoch` of a task, counted from 0; empty if it is not recorded.

        A task's last epoch is always recorded, with all metrics. A task in parts (`epoch` is then the part) is recorded
        at its end.
        """
        last = epoch + 1 == self.num_parts
        if not last and (self.examples_per_part or not _is_multiple(epoch + 1, self.metrics_every)):
            return ()
        slow_too = last or _is_multiple(epoch + 1, self.curvature_every)
        described = (METRICS[name] for name in self.metrics)
        return tuple(one.name for one in described if self.measures(one) and (slow_too or not one.cost_in_epochs))


def validate(values: Mapping[str, Any], where: str, source: Mapping[str, str] | None = None) -> Spec:
    """Return the validated Spec.

    Args:
        where: the place that an error names, unless `source` has the key's.
    Raises:
        ConfigError: for the first error; says how many more there are.
    """
    try:
        return Spec(**values)
    except InvalidSpecError as error:
        raise ConfigError(f"{(source or {}).get(error.key, where)}: {error}") from None


def hashable(values: Any) -> Any:
    """Convert values of keys to something hashable, equal for equal values: lists become tuples."""
    if isinstance(values, Mapping):
        return tuple((key, hashable(one)) for key, one in values.items())
    return tuple(map(hashable, values)) if isinstance(values, list | tuple) else values


def _validated(parts: Parts, values: Mapping[str, Any]) -> tuple[Fields, ...]:
    """Return the fields of the experiment, and of each of its parts in order. Raises InvalidSpecError."""
    errors: list[Any] = []
    validated = []
    classes: list[type[Fields]] = [Experiment, *(one.fields for one in parts)]
    for fields in classes:
        try:
            validated.append(fields(**{key: values[key] for key in fields.model_fields if key in values}))
        except ValidationError as error:
            errors += error.errors()
    if errors:
        more = len({one["loc"][0] for one in errors}) - 1
        raise InvalidSpecError(explain(errors[0]) + (f" (and {more} more)" if more else ""), str(errors[0]["loc"][0]))
    return tuple(validated)


def _without(fields: Fields, keys: Collection[str]) -> Fields:
    shared = fields.model_copy()
    for key in keys:
        shared.__dict__.pop(key, None)
    return shared


def _check_metrics(spec: Spec) -> None:
    if not any(spec.measures(METRICS[name]) for name in spec.metrics):
        network, problem = spec.parts.network, spec.parts.problem
        raise InvalidSpecError(
            f'key "metrics": none of these can be measured on problem {problem.name} with network {network.name}',
            "metrics",
        )


def _derived(problem: Problem, values: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return problem.derived(values) if problem.derived else dict(values)
    except ConfigError as error:
        raise InvalidSpecError(str(error)) from None


def _check_parts(spec: Spec) -> None:
    if spec.examples_per_part and spec.num_showings != 1:
        raise InvalidSpecError(
            f'key "num_showings": {spec.num_showings}: should be 1, because problem {spec.parts.problem.name} shows '
            "each example once",
            "num_showings",
        )


def _is_multiple(number: int, every: int) -> bool:
    return every > 0 and number % every == 0


def per_run_keys(spec: Spec) -> frozenset[str]:
    """Return the keys whose values may differ between runs of one stack."""
    method, optimizer = spec.parts.method, spec.parts.optimizer
    if not method.mixes_settings:
        return frozenset()
    classes: list[type[Fields]] = [Experiment, method.fields, *([optimizer.fields] if optimizer else [])]
    return frozenset(key for fields in classes for key in fields.model_fields if is_per_run(fields, key))


def stack_key(spec: Spec) -> Hashable:
    """Return a value that is equal for runs that may share a stack: it omits numbers of each run and bookkeeping.

    It contains the name of the method, not its spelling.
    """
    may_differ = per_run_keys(spec)
    shared = {key: value for key, value in spec.to_dict().items() if key not in may_differ | FREE_KEYS | {"agent"}}
    are_numbers = {key: isinstance(getattr(spec, key), int | float) for key in sorted(may_differ)}
    return hashable(shared), spec.method, hashable(are_numbers)


def common(specs: Sequence[Spec]) -> Spec:
    """Return a spec with the values that all share; reading another value is an error, unless training ignores it."""
    first, *others = dict.fromkeys(specs)
    values, different = first.to_dict(), [one.to_dict() for one in others]
    keys = [key for key in dict.fromkeys(chain(values, *different)) if key not in FREE_KEYS]
    missing = object()
    return first.without([key for key in keys if any(one.get(key, missing) != values.get(key) for one in different)])
