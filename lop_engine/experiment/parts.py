"""The keys of every experiment, and the components that its values select."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from lop_engine.errors import ConfigError, did_you_mean
from lop_engine.experiment.components import (
    OF_NETWORKS,
    Component,
    Method,
    Network,
    Optimizer,
    Problem,
)
from lop_engine.experiment.fields import Fields, Flag, Int, NumberText, PerRun
from lop_engine.experiment.mistakes import shown
from lop_engine.experiment.reference import problem_of
from lop_engine.experiment.registry import METHODS, METRICS, NETWORKS, OPTIMIZERS, PROBLEMS, Registry

Precision = Literal["fp32", "tf32", "bf16", "fp64"]
C = TypeVar("C", bound=Component)
MOST_NAMES = 12
"""Most names that an error message lists."""
#: Keys that had other names in earlier versions: files and run.json may contain either name.
_NAMES = {"redo_tau": "redo_threshold", "upgd_beta_utility": "upgd_utility_decay"}


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
    step_size: PerRun = Field(gt=0, description="Step size of the optimiser.")
    weight_decay: PerRun = Field(
        0.0, ge=0, description="Weight decay of the optimiser; with agent bp it means L2 regularisation."
    )
    num_tasks: Int = Field(ge=1, description="Number of tasks.")
    num_showings: Int = Field(ge=1, description="Epochs per task.")
    mini_batch_size: Int = Field(100, ge=1, description="Examples per step.")
    precision: Precision = Field("fp32", description="Precision of the training step.")
    metrics: Annotated[tuple[str, ...], BeforeValidator(_metrics)] = Field(description="Metrics to record.")
    metrics_every: Int = Field(1, ge=0, description="Record every Nth epoch and each task's last; 0: only the last.")
    curvature_every: Int = Field(
        1, ge=0, description="The same as metrics_every, for the curvature and other slow metrics."
    )
    curvature_images: Int = Field(0, ge=0, description="Examples for the curvature; 0 means all.")
    stop_when: Annotated[tuple[str, ...], BeforeValidator(_rules)] = Field(
        (), description="Rules that end a run early (docs/queries.md)."
    )
    checkpoint_every_s: float = Field(60.0, ge=0, description="Longest time between checkpoints, in seconds.")
    num_runs: Int = Field(1, ge=1, description="Number of seeds, unless --seeds says otherwise.")
    use_gpu: Flag = Field(True, description="Train on a GPU if there is one.")
    run_idx: Annotated[Int, NumberText] = Field(0, ge=0, description="Seed to train, in a file for a single run.")
    index: Annotated[Int, NumberText] = Field(0, ge=0, description="In the reference's files; has no effect.")
    data_dir: str = Field("", description="In the reference's files; has no effect.")
    data_file: str = Field("", description="In the reference's files; has no effect.")
    model_version: str | float = Field("", description="In the reference's files; has no effect.")


#: Keys that never change a run's numbers: they may differ between a run and its file.
BOOKKEEPING_KEYS = frozenset(
    {"num_runs", "use_gpu", "run_idx", "index", "data_dir", "data_file", "model_version", "checkpoint_every_s"}
)

#: Keys for the length of a run and its measurements: they never change a value that two runs share.
EXTENT_KEYS = frozenset({"num_tasks", "metrics", "metrics_every", "curvature_every", "stop_when"})


def renamed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the same with current names. If a key is given twice, the later value counts."""
    return {_NAMES.get(key, key): value for key, value in values.items()}


class InvalidSpecError(ConfigError):
    """An error in the values of an experiment, with its key."""

    def __init__(self, text: str, key: str = "") -> None:
        super().__init__(text)
        self.key = key


@dataclass(frozen=True)
class Parts:
    """The components that the values of an experiment select."""

    problem: Problem
    network: Network
    method: Method
    optimizer: Optimizer | None
    """None if the method has its own update."""

    def __iter__(self) -> Iterator[Component]:
        yield from (one for one in (self.problem, self.network, self.method, self.optimizer) if one)

    def owners(self) -> dict[str, str]:
        """Return the part that owns each key. Raises ConfigError if two parts have a key of the same name."""
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
    """Return the components that `values` name, or the defaults. Raises InvalidSpecError."""
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
    """Return the method of an agent: bp with weight decay is l2, with noise snp; cbp with net_type 2 is cbp2."""
    agent = values.get("agent")
    for name in METHODS:
        test = METHODS[name].also.get(agent) if isinstance(agent, str) else None
        if test and test(values):
            return name
    return agent  # type: ignore[return-value]


def agents_of(agent: str) -> list[Method]:
    """Return the methods that an agent may mean, depending on other keys."""
    method = METHODS.find(agent)
    return ([method] if method else []) + [one for one in METHODS.values() if agent in one.also]


def _problem_of(values: Mapping[str, Any]) -> str:
    try:
        return problem_of(values, PROBLEMS)
    except ConfigError as error:
        raise InvalidSpecError(str(error), "problem") from None


def _opt(value: Any) -> Any:
    return "adamW" if isinstance(value, str) and value.lower() == "adamw" else value


def _choice(registry: Registry[C], name: Any, key: str) -> C:
    component = registry.find(name)
    if component is None:
        names = registry.names
        hint = did_you_mean(name.lower(), names) if isinstance(name, str) else ""
        listed = f"one of {', '.join(names)}" if len(names) <= MOST_NAMES else f"a name that lop {registry.kind}s lists"
        raise InvalidSpecError(f'key "{key}": {shown(name)}: should be {listed}{hint}', key)
    return component


def is_known(key: str) -> bool:
    """Whether any component, or every experiment, has a key of that name."""
    return key == "opt" or key in Experiment.model_fields or bool(owners_of(key))


def owners_of(key: str) -> list[Component]:
    """Return the components that have a key of that name."""
    return [
        one
        for registry in (PROBLEMS, NETWORKS, METHODS, OPTIMIZERS)
        for one in registry.values()
        if key in one.fields.model_fields
    ]
