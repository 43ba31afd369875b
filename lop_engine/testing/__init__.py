"""The rules that lop's methods, problems, networks and metrics keep, to check your own (docs/own-components.md).

    from lop_engine.testing import check_file
    check_file("my_method.py", tau=0.5)

checks every rule, and raises a RuleError that names the file, the class and the rule that it breaks. It needs neither
pytest nor a checkout of lop. When a run starts, most of these rules are checked for components that are not lop's own
(`lop_engine.testing.start`).
"""

from os import PathLike
from pathlib import Path
from typing import Any

from lop_engine.errors import RuleError
from lop_engine.experiment.components import Component
from lop_engine.testing.rules import QUICK, RULES, Rule, apply
from lop_engine.testing.subject import SMALL, Subject, subjects_in, subjects_of

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
    "subjects_in",
    "subjects_of",
]


def check_file(path: str | PathLike[str], **settings: Any) -> None:
    """Check every rule for every component that a file describes.

    Args:
        settings: keys of the small experiment that it is checked in, such as the component's own, under which it acts
            within a few steps.
    Raises:
        RuleError: a component breaks a rule.
        ConfigError: the file describes no component, or the settings are invalid.
    """
    for subject in subjects_in(Path(path), **settings):
        check(subject)


def check_component(component: Component, **settings: Any) -> None:
    """Check every rule for a description, such as one of an installed package. As `check_file`."""
    for subject in subjects_of(component, **settings):
        check(subject)


def check(subject: Subject) -> None:
    """Check every rule in one experiment. Raises RuleError."""
    for rule in RULES[subject.component.key]:
        apply(rule, subject)
