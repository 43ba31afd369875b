"""Describes a component for people: its keys with bounds and defaults, its file, its source as BibTeX."""

import importlib.util
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from lop_engine.experiment.components import Component, Method, Metric, Problem
from lop_engine.experiment.fields import MAX_INT, Fields, is_list

_ENTRY = re.compile(r"^@\w+\{([^,\s]+),.*?^\}", re.MULTILINE | re.DOTALL)
_VALUE = re.compile(r"^\s*(\w+)\s*=\s*(.*?),?\s*$", re.MULTILINE)


def bibtex(source: str) -> str:
    """Return the BibTeX entry of a component's `source`, a key of sources.bib or an entry itself; "" if missing."""
    source = source.strip()
    return source if source.startswith("@") else _entries().get(source, "")


def citation(source: str) -> str:
    """Return ``Dohare et al. 2024``, authors and year; `source` itself if it has no entry."""
    values = _values(bibtex(source))
    if not values:
        return source
    authors = [one.partition(",")[0].strip() for one in re.split(r"\s+and\s+", values.get("author", "")) if one.strip()]
    names = " & ".join(authors) if len(authors) < 3 else f"{authors[0]} et al."
    return " ".join(filter(None, (names, values.get("year", ""))))


def reference(source: str) -> str:
    """Return ``Dohare et al. 2024. Loss of plasticity in deep continual learning. Nature``."""
    values = _values(bibtex(source))
    place = values.get("journal") or values.get("booktitle") or values.get("publisher") or ""
    return ". ".join(filter(None, (citation(source), values.get("title", ""), place)))


@cache
def _entries() -> dict[str, str]:
    text = (files("lop_engine.experiment") / "sources.bib").read_text("utf-8")
    return {match[1]: match[0] for match in _ENTRY.finditer(text)}


def _values(entry: str) -> dict[str, str]:
    """Return the fields of an entry in the format of sources.bib: one per line, in braces or quotes."""
    fields = {key.lower(): value.strip('{}"') for key, value in _VALUE.findall(entry)}
    return {key: re.sub(r"[{}\\]", "", value) for key, value in fields.items()}


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
    """None if it is required, or if the default is null."""

    @property
    def takes(self) -> str:
        """Return its values as text: ``number, at least 0, at most 1``."""
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
        """Return ``0.9``, ``true``; ``-`` for none, and ``required``."""
        if self.required:
            return "required"
        if isinstance(self.default, bool):
            return str(self.default).lower()
        if isinstance(self.default, float):
            return f"{self.default:g}"
        return "-" if self.default in (None, "", ()) else str(self.default)


def keys_of(fields: type[Fields]) -> list[Key]:
    """Return the keys that a component declares, in order."""
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
    """Return the types of a union, without None."""
    if get_origin(annotation) in (Union, UnionType):
        return [one for one in get_args(annotation) if one is not NoneType]
    return [annotation]


def file_of(component: Component) -> str:
    """Return the file of a component's code; "" if it has none or that does not exist. Only imports its package."""
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
    """Return a component for JSON."""
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
    """Return what only components of a kind have."""
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
