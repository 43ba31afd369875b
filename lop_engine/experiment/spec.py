"""One validated setting of an experiment: a problem, a network, a method with its optimiser, and what is recorded.

Keys are flat, as in the reference's files. Each belongs to one part: to the experiment as a whole (`Experiment`), or
to the component that declares it among its fields.
"""

from collections.abc import Collection, Iterator, Mapping
from copy import copy
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_core import PydanticCustomError

from lop_engine.errors import ConfigError, did_you_mean
from lop_engine.experiment.components import (
    OF_NETWORKS,
    Component,
    Method,
    Metric,
    Network,
    Optimizer,
    Problem,
    count_of,
)
from lop_engine.experiment.fields import Fields, Flag, Int, NumberText, PerRun
from lop_engine.experiment.mistakes import explain, shown, unknown_keys
from lop_engine.experiment.reference import DEFAULT, problem_of
from lop_engine.experiment.registry import METHODS, METRICS, NETWORKS, OPTIMIZERS, PROBLEMS, Registry
from lop_engine.experiment.renamed import renamed

Precision = Literal["fp32", "tf32", "bf16", "fp64"]
F = TypeVar("F", bound=Fields)
C = TypeVar("C", bound=Component)


def _metrics(value: Any) -> Any:
    names = list(value) if isinstance(value, (list, tuple)) else [value]
    if not names or len(set(map(str, names))) < len(names):
        raise PydanticCustomError("metrics", "should be a list of different metrics")
    for name in names:
        if METRICS.find(name) is None:
            raise PydanticCustomError("literal_error", "a metric", {"expected": ", ".join(METRICS)})
    return tuple(names)


def _rules(value: Any) -> Any:
    rules = list(value) if isinstance(value, (list, tuple)) else [value]
    if not all(isinstance(rule, str) and rule.strip() for rule in rules):
        raise PydanticCustomError("rules", 'should be a list of rules, such as ["test_accuracy<0.55 for 100 tasks"]')
    return tuple(dict.fromkeys(" ".join(rule.split()) for rule in rules))


class Experiment(Fields):
    """The keys of every experiment."""

    agent: str = Field(description="The method.")
    problem: str = Field(description="The stream of tasks.")
    network: str = Field(description="The network.")
    step_size: PerRun = Field(gt=0, description="Of the optimiser.")
    weight_decay: PerRun = Field(0.0, ge=0, description="Of the optimiser; with agent bp it means L2 regularisation.")
    num_tasks: Int = Field(ge=1, description="Tasks, one after another.")
    num_showings: Int = Field(ge=1, description="Epochs of a task.")
    mini_batch_size: Int = Field(100, ge=1, description="Examples in a step.")
    precision: Precision = Field("fp32", description="Of the training step.")
    metrics: Annotated[tuple[str, ...], BeforeValidator(_metrics)] = Field(description="What is recorded.")
    metrics_every: Int = Field(1, ge=0, description="Record every Nth epoch and each task's last; 0: only the last.")
    curvature_every: Int = Field(1, ge=0, description="The same for slow metrics alone.")
    curvature_images: Int = Field(0, ge=0, description="Examples for the curvature; 0 means all.")
    stop_when: Annotated[tuple[str, ...], BeforeValidator(_rules)] = Field(
        (), description="Rules that end a run early (docs/queries.md)."
    )
    checkpoint_every_s: float = Field(60.0, ge=0, description="Longest time between checkpoints, in seconds.")
    num_runs: Int = Field(1, ge=1, description="Number of seeds, unless --seeds says otherwise.")
    use_gpu: Flag = Field(True, description="Train on a GPU if there is one.")
    run_idx: Annotated[Int, NumberText] = Field(0, ge=0, description="Seed of a file that is for one run.")
    index: Annotated[Int, NumberText] = Field(0, ge=0, description="In the reference's files; has no effect.")
    data_dir: str = Field("", description="In the reference's files; has no effect.")
    data_file: str = Field("", description="In the reference's files; has no effect.")
    model_version: str | float = Field("", description="In the reference's files; has no effect.")


#: Keys that never change a run's numbers: they may differ between a run and its file.
BOOKKEEPING_KEYS = frozenset(
    {"num_runs", "use_gpu", "run_idx", "index", "data_dir", "data_file", "model_version", "checkpoint_every_s"}
)

#: How long a run is, and what is measured of it: neither changes a value that two runs both have.
EXTENT_KEYS = frozenset({"num_tasks", "metrics", "metrics_every", "curvature_every", "stop_when"})


MOST_NAMES = 12
"""That an error message lists."""


class InvalidSpecError(ConfigError):
    """What is wrong with the values of an experiment, and the key that it is about."""

    def __init__(self, text: str, key: str = "") -> None:
        super().__init__(text)
        self.key = key


@dataclass(frozen=True)
class Parts:
    """The components that the values of an experiment choose."""

    problem: Problem
    network: Network
    method: Method
    optimizer: Optimizer | None
    """None if the method has its own update."""

    def __iter__(self) -> Iterator[Component]:
        yield from (one for one in (self.problem, self.network, self.method, self.optimizer) if one)

    def owners(self) -> dict[str, str]:
        """By key, the part that it belongs to. Raises ConfigError if two parts have a key of the same name."""
        owners = dict.fromkeys(Experiment.model_fields, "every experiment") | {"opt": "every optimiser"}
        if self.optimizer is None:
            del owners["opt"]
        for one in self:
            for key in one.fields.model_fields:
                if key in owners:
                    raise InvalidSpecError(
                        f'key "{key}" belongs to both {owners[key]} and {one.key} {one.name}; one must rename it',
                        key,
                    )
                owners[key] = f"{one.key} {one.name}"
        return owners


def choose(values: Mapping[str, Any]) -> Parts:
    """The components that `values` name, or by default have. Raises InvalidSpecError."""
    if "agent" not in values:
        raise InvalidSpecError('key "agent" is missing', "agent")
    problem = _choice(PROBLEMS, values["problem"] if "problem" in values else _problem_of(values), "problem")
    method = _choice(METHODS, method_name(values), "agent")
    network = _choice(NETWORKS, values.get("network", method.network or problem.network), "network")
    optimizer = None if method.has_own_update else _choice(OPTIMIZERS, _opt(values.get("opt", "sgd")), "opt")
    if method.network and network.name != method.network:
        raise InvalidSpecError(
            f'key "network": {shown(network.name)}: agent {method.name} trains a {method.network} network', "network"
        )
    for one in (network, method):
        lacking = one.needs - problem.provides - network.provides
        if lacking:
            other = f"network {network.name}" if lacking & OF_NETWORKS else f"problem {problem.name}"
            raise InvalidSpecError(
                f"{one.key} {one.name} needs {' and '.join(sorted(lacking))}, and {other} has none", one.key
            )
    return Parts(problem, network, method, optimizer)


def method_name(values: Mapping[str, Any]) -> str:
    """The method that an agent means: bp with weight decay is l2, with noise snp; cbp with net_type 2 is cbp2."""
    agent = values.get("agent")
    for name in METHODS:
        test = METHODS[name].also.get(agent) if isinstance(agent, str) else None
        if test and test(values):
            return name
    return agent  # type: ignore[return-value]


def agents_of(agent: str) -> list[Method]:
    """The methods that an agent may mean, depending on other keys."""
    found = METHODS.find(agent)
    return ([found] if found else []) + [one for one in METHODS.values() if agent in one.also]


def _problem_of(values: Mapping[str, Any]) -> str:
    try:
        return problem_of(values, PROBLEMS)
    except ConfigError as error:
        raise InvalidSpecError(str(error), "problem") from None


def _opt(value: Any) -> Any:
    return "adamW" if isinstance(value, str) and value.lower() == "adamw" else value


def _choice(registry: Registry[C], name: Any, key: str) -> C:
    found = registry.find(name)
    if found is None:
        names = registry.names
        hint = did_you_mean(name.lower(), names) if isinstance(name, str) else ""
        listed = f"one of {', '.join(names)}" if len(names) <= MOST_NAMES else f"a name that lop {registry.kind}s lists"
        raise InvalidSpecError(f'key "{key}": {shown(name)}: should be {listed}{hint}', key)
    return found


class Spec:
    """Everything that decides a run's numbers, except its seed.

    A key is an attribute, whichever part it belongs to: `spec.num_tasks`, `spec.replacement_rate`. Immutable; equal if
    all keys are.

    What a file may leave to its images (0 images, "auto", no checksum) is filled in before a run begins:
    `datasets.resolve`.

    Args:
        values: by key. Keys of components that are not used here are ignored, because run.json files of older versions
            hold the keys of all.
    Raises:
        InvalidSpecError: for the first mistake; says how many more there are.
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
        return self._hash  # runs are looked up by it, a hundred thousand in a sweep

    def __repr__(self) -> str:
        return f"Spec({', '.join(f'{key}={value!r}' for key, value in self._values.items())})"

    def to_dict(self) -> dict[str, Any]:
        """All keys, flat, as run.json holds them."""
        return dict(self._values)

    def with_changes(self, **changes: Any) -> "Spec":
        """The same with other values of some keys. Raises InvalidSpecError."""
        if self._whole:
            return self._whole.with_changes(**changes).without(self.differing)
        return Spec(**self._values | changes)

    def without(self, keys: Collection[str]) -> "Spec":
        """The same without the values of some keys, in which the runs of a stack differ: reading one is an error."""
        shared = copy(self)
        shared._values = {key: value for key, value in self._values.items() if key not in keys}
        shared._fields = tuple(_without(fields, keys) for fields in self._fields)
        shared._whole = self
        shared.differing, shared._hash = frozenset(keys), hash(hashable(shared._values))
        return shared

    def own(self, fields: type[F]) -> F:
        """The keys that a component declares as `fields`, as an object of that class."""
        return next(one for one in self._fields if isinstance(one, fields))

    @property
    def defaults(self) -> dict[str, Any]:
        """By key, the value of an experiment with these components that does not name it; only keys that have one."""
        fields = {key: one for own in self._fields for key, one in type(own).model_fields.items()}
        known = {key: one.default for key, one in fields.items() if not one.is_required()}
        parts = self.parts
        chosen = {"problem": DEFAULT, "network": parts.method.network or parts.problem.network}
        return known | dict(parts.problem.defaults) | chosen | {"metrics": parts.problem.metrics, "opt": "sgd"}

    @property
    def method(self) -> str:
        """The method's name: `l2` and `snp` may be spelled as `bp` with weight decay and perturbation."""
        return self.parts.method.name

    @property
    def components(self) -> tuple[Component, ...]:
        """Its parts, the metrics that are recorded, and its problem's headline."""
        return (*self.parts, *(METRICS[name] for name in dict.fromkeys((*self.metrics, self.parts.problem.headline))))

    @property
    def num_hidden(self) -> int:
        """Hidden layers of the network."""
        return count_of(self.parts.network.num_hidden, self._fields[2])

    @property
    def steps_per_epoch(self) -> int:
        """Mini-batches an epoch, the short last one included; 0 until the number of examples is known."""
        num_steps: int = -(-self.parts.problem.num_examples(self) // self.mini_batch_size)
        return num_steps

    @property
    def examples_per_part(self) -> int:
        """Examples after which a run may stop within an epoch, a whole number of batches; 0: only after epochs."""
        size = count_of(self.parts.problem.examples_per_part, self)
        return max(1, size // self.mini_batch_size) * int(self.mini_batch_size) if size else 0

    @property
    def num_parts(self) -> int:
        """Parts of a task after which a run may stop and resume: its epochs, or the parts of its only epoch."""
        size = self.examples_per_part
        return -(-self.parts.problem.num_examples(self) // size) if size else int(self.num_showings)

    @property
    def steps_per_part(self) -> int:
        """Mini-batches of a part; the last part of a task may have fewer. 0 until the number of examples is known."""
        size = self.examples_per_part
        return min(size // self.mini_batch_size, self.steps_per_epoch) if size else self.steps_per_epoch

    @property
    def start_metrics(self) -> tuple[str, ...]:
        """The recorded metrics that are measured at a task's start."""
        at_start = self.parts.problem.start_metrics
        return tuple(name for name in self.metrics if name in at_start and self.measures(METRICS[name]))

    @property
    def steps_per_task(self) -> int:
        """Updates of a task; 0 until the number of examples is known."""
        return int(self.num_showings) * self.steps_per_epoch

    def measures(self, metric: Metric) -> bool:
        """Whether a metric can be measured on this problem and network."""
        provided = self.parts.problem.provides | self.parts.network.provides
        return metric.needs <= provided and metric.layer <= self.num_hidden

    def metrics_after(self, epoch: int) -> tuple[str, ...]:
        """The metrics to record after epoch `epoch` of a task, counted from 0; empty if it is not recorded.

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
        where: the place that an error names, unless `source` says where the key came from.
    Raises:
        ConfigError: for the first mistake; says how many more there are.
    """
    try:
        return Spec(**values)
    except InvalidSpecError as error:
        raise ConfigError(f"{(source or {}).get(error.key, where)}: {error}") from None


def hashable(values: Any) -> Any:
    """Values of keys as something that has a hash, equal for equal values: lists become tuples."""
    if isinstance(values, Mapping):
        return tuple((key, hashable(one)) for key, one in values.items())
    return tuple(map(hashable, values)) if isinstance(values, list | tuple) else values


def is_known(key: str) -> bool:
    """Whether any component, or every experiment, has a key of that name."""
    return key == "opt" or key in Experiment.model_fields or bool(owners_of(key))


def owners_of(key: str) -> list[Component]:
    """The components that have a key of that name."""
    return [
        one
        for registry in (PROBLEMS, NETWORKS, METHODS, OPTIMIZERS)
        for one in registry.values()
        if key in one.fields.model_fields
    ]


def _validated(parts: Parts, values: Mapping[str, Any]) -> tuple[Fields, ...]:
    """The fields of the experiment, and of each of its parts in order. Raises InvalidSpecError."""
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
