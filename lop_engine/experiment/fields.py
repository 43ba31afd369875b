"""Fields of components and experiments: the base class, and types that accept what JSON files contain.

`schema_of` and `fields_of` pass them between processes: from a pydantic model to its JSON schema, and back to a model
with the same checks.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model
from pydantic_core import PydanticCustomError

MAX_INT = 10**9
"""A larger number is a typing error."""


def integral(value: Any) -> Any:
    """JSON files may write 5000 as 5e3: an integral float is an int. A bool is not a number."""
    if isinstance(value, bool):
        raise PydanticCustomError("int_type", "a bool")
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _flag(value: Any) -> Any:
    """The reference uses true and 1 interchangeably."""
    return bool(value) if type(value) is int and value in (0, 1) else value


def _number_text(value: Any) -> Any:
    """The reference's generated files write ``"run_idx": "0"``."""
    return int(value) if isinstance(value, str) and re.fullmatch("[0-9]{1,9}", value) else value


Int = Annotated[int, BeforeValidator(integral), Field(le=MAX_INT)]
NumberText = BeforeValidator(_number_text)
Flag = Annotated[bool, BeforeValidator(_flag)]
Proportion = Annotated[float, Field(ge=0, le=1)]

PER_RUN = Field(json_schema_extra={"per_run": True})
"""Marks a number that may differ between runs of a stack: ``age: Annotated[int, PER_RUN] = Field(...)``.

Only of a method or an optimiser, whose code reads it with `Setup.own`. Without the mark, runs with different values
train in different stacks.
"""


class Fields(BaseModel):
    """The keys of one part of an experiment: each with its bounds, default and help (`Field(description=...)`)."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


PerRun = Annotated[float, PER_RUN]
"""A real number that may differ between the runs of a stack."""
Decay = Annotated[float, PER_RUN, Field(ge=0, lt=1)]
"""Decay of a running mean; may differ between the runs of a stack."""


def is_per_run(fields: type[Fields], key: str) -> bool:
    """Whether runs of one stack may have different values of a key."""
    extra = fields.model_fields[key].json_schema_extra
    return isinstance(extra, dict) and bool(extra.get("per_run"))


def is_list(fields: type[Fields], key: str) -> bool:
    """Whether the value of a key is itself a list, so that a list is not a sweep."""
    annotation = fields.model_fields[key].annotation
    return getattr(annotation, "__origin__", annotation) in (tuple, list)


#: Pydantic's name of each JSON schema keyword. A bound behind a validator keeps pydantic's name in the schema.
_BOUNDS = {"minimum": "ge", "maximum": "le", "exclusiveMinimum": "gt", "exclusiveMaximum": "lt"} | {
    name: name for name in ("ge", "le", "gt", "lt")
}


def schema_of(fields: type[Fields]) -> dict[str, Any]:
    """Return the JSON schema of a component's own keys."""
    return fields.model_json_schema()


def fields_of(name: str, schema: Mapping[str, Any]) -> type[Fields]:
    """Return a model with the keys, types, bounds, defaults and help of a JSON schema.

    The worker checks what the schema cannot express, such as the model's own validators.
    """
    required = set(schema.get("required", ()))
    keys: dict[str, Any] = {}
    for key, one in schema.get("properties", {}).items():
        default = ... if key in required else one.get("default")
        mark: dict[str, Any] = {"per_run": bool(one.get("per_run"))}
        keys[key] = (_type(one), Field(default, description=one.get("description"), json_schema_extra=mark))
    return create_model(name, __base__=Fields, **keys)


def _type(one: Mapping[str, Any]) -> Any:
    if "anyOf" in one:
        options = [_type(option) for option in one["anyOf"]]
        union = options[0]
        for option in options[1:]:
            union = union | option
        return union
    if "enum" in one:
        choice: Any = Literal[tuple(one["enum"])]
        are_numbers = all(isinstance(value, int) for value in one["enum"])
        return Annotated[choice, BeforeValidator(integral)] if are_numbers else choice
    if "const" in one:
        return Literal[one["const"]]
    bounds: dict[str, Any] = {}
    for theirs, ours in _BOUNDS.items():
        if theirs in one:
            tighter = max if ours.startswith("g") else min
            bounds[ours] = tighter(one[theirs], bounds.get(ours, one[theirs]))
    kinds: dict[str, Any] = {"number": float, "string": str, "boolean": Flag, "null": None, "array": list[Any]}
    if one.get("type") == "integer":
        return Annotated[int, BeforeValidator(integral), Field(**bounds)]
    kind = kinds.get(one.get("type", ""), Any)
    return Annotated[kind, Field(**bounds)] if bounds else kind
