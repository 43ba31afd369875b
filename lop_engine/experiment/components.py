"""Descriptions of the four kinds of component, and of optimisers. Their code is in other modules, loaded by name."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from lop_engine.experiment.fields import Fields

Need = Literal["labels", "images", "test set", "squared error", "hidden units", "linear layers at the end"]
"""Something that a problem or network may provide, and a component may need."""

HIDDEN_UNITS = frozenset[Need]({"hidden units"})
OF_NETWORKS = frozenset[Need]({"hidden units", "linear layers at the end"})
"""The needs that networks provide."""

Scale = Literal["linear", "percent", "log", "log percent"]
"""Scale of a y axis; `percent` shows a proportion 0 .. 1 as 0 .. 100."""

Unit = Literal["%", ""]
"""``%`` shows a proportion 0 .. 1 as 0 .. 100."""

Better = Literal["higher", "lower"]

COLUMNS = frozenset({"experiment", "setting", "seed", "task", "epoch", "method", "problem", "classes", "seconds"})
"""Columns of records and exports besides metrics; no metric or x unit may have these names."""


Count = int | str | Callable[[Any], int]
"""A number; the key that holds it; or a function that computes it from a `Spec` or a component's own keys."""


def count_of(count: Count, keys: Any) -> int:
    """Return the number of a `Count`."""
    if isinstance(count, int):
        return count
    number: int = getattr(keys, count) if isinstance(count, str) else count(keys)
    return number


def is_log(scale: Scale) -> bool:
    return scale.startswith("log")


def factor_of(scale: Scale) -> int:
    """Return the factor from a recorded value to the units of the scale."""
    return 100 if scale.endswith("percent") else 1


@dataclass(frozen=True)
class Module:
    """A file of a user's own component."""

    path: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Component:
    """A part of an experiment that is selected by name."""

    key: ClassVar[str]
    """The key of an experiment file that selects it."""

    name: str
    title: str
    """A short name for charts and tables."""
    sentence: str = ""
    """A description in one sentence."""
    source: str = ""
    """The paper: a key of sources.bib, or a complete BibTeX entry."""
    fields: type[Fields] = Fields
    """Its own keys."""
    needs: frozenset[Need] = frozenset()
    provides: frozenset[Need] = frozenset()
    code: Any = ""
    """What builds it: ``module:attribute``, which only a worker loads; in a user's own file, the object itself."""
    modules: tuple[Module, ...] = ()
    """Its source files, the one that describes it first; empty for lop's own components."""


@dataclass(frozen=True, kw_only=True)
class Problem(Component):
    """A stream of tasks with a loss and a score."""

    key: ClassVar[str] = "problem"

    headline: str
    """The metric that charts and tables show first."""
    network: str
    """The default network."""
    metrics: tuple[str, ...]
    """Metrics that are recorded by default."""
    charts: tuple[str, ...] = ()
    """Metrics that the dashboard shows first, in order; empty for the headline and the recorded ones."""
    together: tuple[str, ...] = ()
    """The headline and similar metrics, such as test and train accuracy, which share an axis; empty for the
    headline alone."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Default values of the experiment's keys."""
    derived: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None
    """Computes values that a file leaves out from other values; only for lop's own problems."""
    examples_per_task: Count
    """Training examples of a task, given a `Spec`; 0 while the data set is unknown."""
    examples_per_part: Count = 0
    """Examples after which a run may stop and resume within a task, for problems with long tasks that show each example
    once: such a task comes in parts (`problems.Task.make_part`). 0: a run stops only after an epoch."""
    start_metrics: tuple[str, ...] = ()
    """Metrics of hidden layers and weights that are measured at a task's start, before its first step, instead of after
    its epochs, if they are recorded. The task's record holds them."""
    start_examples: Count = 2000
    """Number of training examples of the new task for `start_metrics`: the first ones."""
    test_examples_per_task: Count = 0
    """Test examples of a task, given a `Spec`; 0 while the data set is unknown."""
    shapes: Callable[[Any], tuple[tuple[int, ...], int]] | None = None
    """Shape of an example's input, and number of outputs, given a `Spec`; None if only the code knows them. A GPU's
    memory is planned by them."""
    x_unit: str = "tasks"
    """Unit of the x axis: ``tasks``, or ``examples`` for problems with one long stream."""
    data: Any = ""
    """A function of a `Spec` and its seeds that looks at the files its data lie in, see `datasets.Data`; without torch.
    Or its ``module:attribute``. Empty for problems that read no files."""
    claims: str = ""
    """Module whose PROTOCOLS hold published results (`reproduction.claims.Protocol`); empty if there are none."""

    def num_examples(self, spec: Any) -> int:
        """Return `examples_per_task` of a spec."""
        return count_of(self.examples_per_task, spec)

    def num_test_examples(self, spec: Any) -> int:
        """Return `test_examples_per_task` of a spec."""
        return count_of(self.test_examples_per_task, spec)


@dataclass(frozen=True)
class Size:
    """GPU memory that a network needs."""

    num_parameters: int
    """Weights and biases."""
    example_bytes: int
    """Upper limit of the memory that a training step keeps for one example."""


@dataclass(frozen=True, kw_only=True)
class Network(Component):
    """A network, defined by its layers."""

    key: ClassVar[str] = "network"

    num_hidden: Count
    """Number of hidden layers, given the network's own fields."""
    size: Callable[[Any, tuple[int, ...], int], Size] | None = None
    """Size, given the network's own fields, an input's shape and the number of outputs; None if only the code knows."""


@dataclass(frozen=True, kw_only=True)
class Optimizer(Component):
    """An update rule."""

    key: ClassVar[str] = "opt"


@dataclass(frozen=True, kw_only=True)
class Method(Component):
    """A method: an addition to backprop."""

    key: ClassVar[str] = "agent"

    equation: str = ""
    """Its arithmetic as plain text, an equation per line. w is a weight, g the gradient that the optimiser gets."""
    colour: str = ""
    """``#0072B2``, from a palette for colour-blind readers; empty to use a free one."""
    has_own_update: bool = False
    """Whether it replaces the optimiser's update, so that `opt` and its keys do not apply."""
    mixes_settings: bool = False
    """Whether runs of different settings may share a stack: its code then reads run-dependent keys with `Setup.own`."""
    network: str = ""
    """The only network that it can train; empty for any."""
    also: Mapping[str, Callable[[Mapping[str, Any]], bool]] = field(default_factory=dict)
    """Other agents that select this method, each if its test of the file's values is true."""


@dataclass(frozen=True, kw_only=True)
class Metric(Component):
    """One number per run, measured after an epoch."""

    key: ClassVar[str] = "metrics"

    takes: tuple[str, ...]
    """Attributes of `MetricInputs` that its function takes, in order."""
    settings: tuple[Any, ...] = ()
    """Additional arguments of its function."""
    layer: int = 0
    """The hidden layer that it measures, from 1; 0 if it does not belong to one layer."""
    cost_in_epochs: float = 0
    """Cost in training epochs with all training images, for slow metrics. `curvature_every` says how often to measure
    them; all other metrics together take a small part of an epoch."""
    unit: Unit = ""
    scale: Scale = "linear"
    least: float = -math.inf
    """The lowest value that it can have. One in percent lies between 0 and 1 without it."""
    from_zero: bool = True
    """Whether a linear axis begins at 0, for metrics with this natural limit."""
    least_span: float = 0.0
    """The shortest axis, in units of the scale, so that noise does not look like a trend."""
    better: Better = "higher"
    """Which values are better, for headline metrics: the best setting has the best value."""

    @property
    def limits(self) -> tuple[float, float]:
        """The lowest and the highest value that it can have."""
        return (0.0, 1.0) if self.unit == "%" else (self.least, math.inf)

    @property
    def heading(self) -> str:
        """Return a chart's heading: ``test accuracy, %``, ``curvature, log scale``."""
        return ", ".join(filter(None, (self.title, self.unit, "log scale" if is_log(self.scale) else "")))

    @property
    def label(self) -> str:
        """Return an axis label for figures: ``test accuracy (%)``."""
        return f"{self.title} ({self.unit})" if self.unit else self.title

    @property
    def factor(self) -> int:
        """Return the factor from a recorded value to `unit`."""
        return 100 if self.unit == "%" else 1
