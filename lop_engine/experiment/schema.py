"""Own keys across processes: from a pydantic model to its JSON schema, and back to a model that checks the same."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, create_model

from lop_engine.experiment.fields import Fields, Flag, integral

#: By JSON schema's name, pydantic's. A bound behind a validator keeps pydantic's name in the schema.
_BOUNDS = {"minimum": "ge", "maximum": "le", "exclusiveMinimum": "gt", "exclusiveMaximum": "lt"} | {
    name: name for name in ("ge", "le", "gt", "lt")
}


def schema_of(fields: type[Fields]) -> dict[str, Any]:
    """The JSON schema of a component's own keys."""
    return fields.model_json_schema()


def fields_of(name: str, schema: Mapping[str, Any]) -> type[Fields]:
    """A model with the keys, types, bounds, defaults and help of a JSON schema.

    What the schema cannot say, such as a validator of the model's own, is left to the worker to check.
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
