"""What there is to know of a component, for people: its keys with their bounds and defaults, its source, its file."""

import importlib.util
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from lop_engine.experiment.components import Component, Method, Metric, Problem
from lop_engine.experiment.fields import MAX_INT, Fields, is_list
from lop_engine.experiment.sources import bibtex, citation

_KINDS = {int: "whole number", float: "number", bool: "true or false", str: "text"}
_BOUNDS = {"gt": "greater than", "ge": "at least", "lt": "less than", "le": "at most"}


@dataclass(frozen=True)
class Key:
    """A key of an experiment file."""

    name: str
    help: str
    type: str
    """``whole number``, ``text``, ``one of``, ..."""
    choices: tuple[Any, ...]
    """The values of ``one of``."""
    minimum: float | None
    maximum: float | None
    exclusive_minimum: float | None
    exclusive_maximum: float | None
    required: bool
    default: Any
    """None if it is required, and where null is the default."""

    @property
    def takes(self) -> str:
        """Its values in words: ``number, at least 0, at most 1``."""
        if self.choices:
            return ", ".join(map(str, self.choices))
        bounds = {
            "gt": self.exclusive_minimum,
            "ge": self.minimum,
            "lt": self.exclusive_maximum,
            "le": self.maximum,
        }
        limits = [f"{_BOUNDS[kind]} {limit:g}" for kind, limit in bounds.items() if limit is not None]
        return ", ".join([self.type, *limits])

    @property
    def by_default(self) -> str:
        """``0.9``, ``true``; ``-`` for none, and ``required``."""
        if self.required:
            return "required"
        if isinstance(self.default, bool):
            return str(self.default).lower()
        if isinstance(self.default, float):
            return f"{self.default:g}"
        return "-" if self.default in (None, "") else str(self.default)


def keys_of(fields: type[Fields]) -> list[Key]:
    """The keys that a component declares, in their order."""
    return [_key(fields, name, field) for name, field in fields.model_fields.items()]


def _key(fields: type[Fields], name: str, field: FieldInfo) -> Key:
    limits = {kind: getattr(one, kind) for one in field.metadata for kind in _BOUNDS if hasattr(one, kind)}
    if limits.get("le") == MAX_INT:
        del limits["le"]
    types = _alternatives(field.annotation)
    choices = tuple(value for one in types if get_origin(one) is Literal for value in get_args(one))
    words = "list" if is_list(fields, name) else " or ".join(dict.fromkeys(_KINDS.get(one, "text") for one in types))
    required = field.is_required()
    return Key(
        name,
        field.description or "",
        "one of" if choices else words,
        choices,
        limits.get("ge"),
        limits.get("le"),
        limits.get("gt"),
        limits.get("lt"),
        required,
        None if required else field.get_default(call_default_factory=True),
    )


def _alternatives(annotation: Any) -> list[Any]:
    """The types of a union, without None."""
    if get_origin(annotation) in (Union, UnionType):
        return [one for one in get_args(annotation) if one is not NoneType]
    return [annotation]


def file_of(component: Component) -> str:
    """The file of a component's code; "" if it has none or that is not found. Imports no more than its package."""
    if component.modules:
        return component.modules[0].path
    module = component.code.partition(":")[0]
    package, *parts = module.split(".")
    spec = importlib.util.find_spec(package) if package else None
    folders = (spec.submodule_search_locations or []) if spec else []
    candidates: Iterable[Path] = (
        path
        for folder in folders
        for path in (Path(folder, *parts).with_suffix(".py"), Path(folder, *parts, "__init__.py"))
    )
    return next((str(path) for path in candidates if path.is_file()), spec.origin or "" if spec and not parts else "")


def as_dict(component: Component) -> dict[str, Any]:
    """A component as JSON has it."""
    return {
        "name": component.name,
        "title": component.title,
        "sentence": component.sentence,
        "source": component.source,
        "citation": citation(component.source),
        "bibtex": bibtex(component.source),
        "fields": [asdict(key) for key in keys_of(component.fields)],
        "needs": sorted(component.needs),
        "provides": sorted(component.provides),
        **_of_kind(component),
        "code": component.code,
        "file": file_of(component),
    }


def _of_kind(component: Component) -> Mapping[str, Any]:
    """What only components of a kind have."""
    if isinstance(component, Problem):
        return {
            "headline": component.headline,
            "x_unit": component.x_unit,
            "network": component.network,
            "metrics": list(component.metrics),
            "defaults": dict(component.defaults),
        }
    if isinstance(component, Method):
        return {
            "equation": component.equation,
            "colour": component.colour,
            "has_own_update": component.has_own_update,
            "network": component.network,
        }
    if isinstance(component, Metric):
        return {
            "unit": component.unit,
            "scale": component.scale,
            "layer": component.layer,
            "cost_in_epochs": component.cost_in_epochs,
        }
    return {}
