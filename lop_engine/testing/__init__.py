"""The rules for lop's methods, problems, networks and metrics, to check your own (docs/own-components.md).

    from lop_engine.testing import check_file
    check_file("my_method.py", tau=0.5)

checks every rule, and raises a RuleError that names the file, the class and the broken rule. It needs neither
pytest nor a checkout of lop. When a run starts, most of these rules are checked for components that are not lop's
(`lop_engine.testing.rules`).
"""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from lop_engine.errors import ConfigError, RuleError
from lop_engine.experiment.components import Component
from lop_engine.testing.course import begin, go_on, learner_of, tasks_of
from lop_engine.testing.rules import QUICK, RULES, Rule, apply
from lop_engine.testing.subject import SMALL, Subject, described_in, subjects_in, subjects_of
from lop_engine.training.learner import Learner

__all__ = [
    "QUICK",
    "RULES",
    "SMALL",
    "Rule",
    "RuleError",
    "Subject",
    "apply",
    "check",
    "check_component",
    "check_file",
    "described",
    "subjects_in",
    "subjects_of",
    "trained",
]


def check_file(path: str | PathLike[str], **settings: Any) -> None:
    """Check every rule for every component in a file.

    Args:
        settings: keys of the small experiment that it is checked in, such as the component's own, under which it acts
            within a few steps.
    Raises:
        RuleError: a component breaks a rule.
        ConfigError: the file describes no component, or the settings are invalid.
    """
    for subject in subjects_in(Path(path), **settings):
        check(subject)


def described(path: str | PathLike[str], name: str = "") -> Component:
    """Return the description in a file; the one of that name, if there are several. Raises ConfigError."""
    components = described_in(Path(path))
    for one in components:
        if name in ("", one.name) and (name or len(components) == 1):
            return one
    raise ConfigError(f"{path}: describes {', '.join(one.name for one in components)}; name one of them")


def trained(path: str | PathLike[str], name: str = "", seeds: Sequence[int] = (0, 1), **settings: Any) -> Learner:
    """Return a learner of a small experiment with a file's component after a few steps, for tests of its behaviour.

    Its `params`, `method`, `net`, `problem` and `forward` are those of a run. Arguments are as of `described` and
    `check_file`. Raises ConfigError.
    """
    subject = next(subjects_of(described(path, name), **settings))
    learner = learner_of(subject.spec, seeds)
    tasks = tasks_of(subject.spec, seeds)
    begin(learner, tasks)
    go_on(learner, tasks)
    return learner


def check_component(component: Component, **settings: Any) -> None:
    """Check every rule for a description, such as one of an installed package, like `check_file`."""
    for subject in subjects_of(component, **settings):
        check(subject)


def check(subject: Subject) -> None:
    """Check every rule in one experiment. Raises RuleError."""
    for rule in RULES[subject.component.key]:
        apply(rule, subject)
