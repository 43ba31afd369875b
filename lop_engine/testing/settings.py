"""The rule of methods that mix settings: a run does not depend on the numbers of other runs in its stack."""

from collections.abc import Sequence

import torch

from lop_engine.errors import ConfigError
from lop_engine.experiment.spec import Spec, per_run_keys, stack_key
from lop_engine.testing.course import State, begin, go_on, learner_of, of_seeds, tasks_of
from lop_engine.testing.subject import Subject

FACTORS = (1.0, 0.5, 0.25)
"""Factors of a key's value, one for each run."""
SEEDS = (7, 7, 9)
TOLERANCE = 1e-9
"""In double precision, where only the order of additions differs."""

ADVICE = "read it with setup.own(...), fit it with runs.like, and never take one run's value for all"


def settings_do_not_mix(subject: Subject) -> None:
    """Check that runs with different numbers each learn the same as alone. Raises RuleError."""
    spec = subject.spec.with_changes(precision="fp64")
    numbers = [key for key in sorted(per_run_keys(spec)) if getattr(spec, key) is not None]
    keys = [key for key in numbers if _varied(spec, [key])]
    if not keys or not _first_apart(_varied(spec, keys)):
        return
    for key in keys:
        if wrong := _first_apart(_varied(spec, [key])):
            raise subject.broken(f'settings mix: "{wrong}" depends on the {key} of the other runs in the stack', ADVICE)


def _varied(spec: Spec, keys: Sequence[str]) -> list[Spec]:
    """Return a spec for each run with multiples of some keys; empty if those are not valid."""
    values = {key: getattr(spec, key) for key in keys}
    try:
        specs = [
            spec.with_changes(**{key: type(value)(value * factor) for key, value in values.items()})
            for factor in FACTORS
        ]
    except ConfigError:
        return []
    is_one_stack = len(set(map(stack_key, specs))) == 1
    return specs if is_one_stack and len(set(specs)) > 1 else []


def _first_apart(specs: list[Spec]) -> str | None:
    """Return the first tensor of a run that differs in the stack, or None."""
    seeds = SEEDS[: len(specs)]
    together = _trained(specs, seeds, range(len(specs)))
    for run, expected in enumerate(together):
        [alone] = _trained(specs, seeds, [run])
        if alone.keys() != expected.keys():
            return min(alone.keys() ^ expected.keys())
        for name, tensor in alone.items():
            other = expected[name].double()
            if not torch.allclose(tensor.double(), other, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True):
                return name.removeprefix("mechanism.")
    return None


def _trained(specs: list[Spec], seeds: tuple[int, ...], runs: Sequence[int]) -> list[State]:
    """Return the state and losses of some runs after a few steps together."""
    tasks = [of_seeds(task, list(runs)) for task in tasks_of(specs[0], seeds)]
    learner = learner_of([specs[run] for run in runs], [seeds[run] for run in runs])
    losses = torch.cat([begin(learner, tasks), go_on(learner, tasks)])
    return [learner.state_of(place) | {"the loss": losses[:, place]} for place in range(len(tasks[0].facts))]
