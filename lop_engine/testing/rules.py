"""The rules for each kind of component.

When a run starts, a worker checks the components that are not lop's own: on the CPU, with a small stack of seeds.
"""

import random
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch

from lop_engine.errors import RuleError, UserError, memory_error, why
from lop_engine.experiment.components import Metric
from lop_engine.experiment.registry import is_own
from lop_engine.experiment.spec import Spec
from lop_engine.runs.files import log
from lop_engine.testing import learning, metrics, networks, problems, resuming, seeds, settings, steps
from lop_engine.testing.subject import SMALL, Subject

Rule = Callable[[Subject], object]
"""Raises RuleError if a component breaks it."""

_STEP: tuple[Rule, ...] = (
    steps.has_seed_axis,
    steps.changes_in_place,
    steps.never_waits,
    resuming.state_is_whole,
    seeds.neighbours_have_no_effect,
    seeds.a_seed_is_the_same_alone,
    steps.can_be_replayed,
)

QUICK: Mapping[str, tuple[Rule, ...]] = {
    "problem": (problems.tasks_have_their_shapes, problems.tasks_are_functions_of_seed_and_task, *_STEP),
    "network": (
        networks.seeds_start_apart,
        networks.layers_are_as_described,
        networks.evaluation_changes_nothing,
        *_STEP,
    ),
    "agent": (*_STEP, settings.settings_do_not_mix),
    "opt": (*_STEP, settings.settings_do_not_mix),
    "metrics": (metrics.is_a_number_for_each_seed, metrics.changes_nothing, metrics.depends_on_one_seed),
}
"""Rules that are checked when a run starts, by the key of an experiment file that names a component."""

_LONG: tuple[Rule, ...] = (resuming.resumes, learning.lowers_the_loss)

RULES: Mapping[str, tuple[Rule, ...]] = {
    "problem": (*QUICK["problem"], problems.there_are_as_many_tasks_as_asked_for, *_LONG),
    "network": (*QUICK["network"], *_LONG),
    "agent": (*QUICK["agent"], *_LONG),
    "opt": (*QUICK["opt"], *_LONG),
    "metrics": QUICK["metrics"],
}
"""All rules."""


def apply(rule: Rule, subject: Subject) -> None:
    """Check a rule; turns an error in the component's code into a RuleError. Raises RuleError."""
    try:
        rule(subject)
    except UserError:
        raise
    except Exception as error:
        if memory_error(error):
            raise
        name = getattr(rule, "__name__", "").replace("_", " ")
        raise subject.broken(
            f"{type(error).__name__}: {why(error)}", f'the traceback says more (while checking "{name}")', error
        ) from error


def check_own_components(spec: Spec) -> None:
    """Check a spec's components that are not lop's own.

    A problem comes first, then the network with a method that is known to follow the rules, then the method, then
    metrics, so that an error names the component that breaks the rule.

    Raises:
        RuleError: says which rule is broken; the traceback is in the log.
    """
    subjects = list(_subjects(spec))
    if not subjects:
        return
    from lop_engine.testing.course import forget_problems
    from lop_engine.testing.rules import QUICK, apply

    try:
        with _random_numbers_kept():
            for subject in subjects:
                for rule in QUICK[subject.component.key]:
                    apply(rule, subject)
    except RuleError as error:
        log("".join(traceback.format_exception(error)))
        raise
    finally:
        forget_problems()


def _subjects(whole: Spec) -> Iterator[Subject]:
    spec = _smaller(whole)
    problem, network, method = spec.parts.problem, spec.parts.network, spec.parts.method
    plain = spec.with_changes(agent="bp") if is_own(method) and not method.network else spec
    for one, chosen in ((problem, plain), (network, plain), (method, spec)):
        if is_own(one):
            yield Subject(one, chosen)
    for metric in spec.components:
        if isinstance(metric, Metric) and is_own(metric) and spec.measures(metric):
            yield Subject(metric, spec)


def _smaller(spec: Spec) -> Spec:
    """Return the spec with a smaller network, if it is one of lop's."""
    fields = {} if is_own(spec.parts.network) else spec.parts.network.fields.model_fields
    sizes = {key: min(SMALL[key], getattr(spec, key)) for key in ("width", "num_features") if key in fields}
    return spec.with_changes(**sizes) if sizes else spec


@contextmanager
def _random_numbers_kept() -> Iterator[None]:
    """Context that restores Python's, numpy's and torch's global generators."""
    python, numbers = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numbers)
