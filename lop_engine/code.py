"""The code of a component, found by the name in its description."""

from importlib import import_module
from typing import Any

from lop_engine.experiment.components import Component


def load(component: Component) -> Any:
    """Import what a description's `code` names."""
    return load_name(component.code)


def load_name(code: str) -> Any:
    """Import ``module:attribute``."""
    module, _, attribute = code.partition(":")
    return getattr(import_module(module), attribute)
