"""Which rules hold for which kind of component."""

from collections.abc import Callable, Mapping

from lop_engine.errors import UserError, memory_error, why
from lop_engine.testing import learning, metrics, networks, problems, resuming, seeds, settings, steps
from lop_engine.testing.subject import Subject

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
"""By the key of an experiment file that names a component: what is checked when a run starts."""

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
    """Check a rule; an error in the component's code is a RuleError, too. Raises RuleError."""
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
