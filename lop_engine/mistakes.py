"""What is wrong with a value that somebody typed, in plain words and on one line."""

import json
import re
from collections.abc import Iterable
from typing import Any

from lop_engine.errors import did_you_mean

#: By pydantic's name for the mistake: what the value should be.
_SHOULD_BE = {
    "int_type": "should be a whole number",
    "float_type": "should be a number",
    "finite_number": "should be a finite number",
    "bool_type": "should be true or false",
    "string_type": "should be a string",
    "greater_than": "should be greater than {gt:.10g}",
    "greater_than_equal": "should be at least {ge:.10g}",
    "less_than": "should be less than {lt:.10g}",
    "less_than_equal": "should be at most {le:.10g}",
}


def explain(error: Any, known_keys: Iterable[str]) -> str:
    """One entry of pydantic's ``ValidationError.errors()``, for a person: key, value, what it should be."""
    kind, key, value = error["type"], str(error["loc"][0]), error["input"]
    if kind == "extra_forbidden":
        return unknown_key(key, value, known_keys)
    if kind == "missing":
        return f'key "{key}" is missing'
    hint = ""
    if kind == "literal_error":
        choices = re.findall(r"[^',\s]+", error["ctx"]["expected"].replace(" or ", ", "))
        reason = f"should be one of {', '.join(choices)}"
        if value not in choices:
            hint = did_you_mean(str(value).lower(), choices)
    else:
        reason = _SHOULD_BE.get(kind, error["msg"]).format(**error.get("ctx", {}))
    if isinstance(value, str) and kind != "string_type" and _is_quoted(value):
        hint = "; write it without the quotes"
    return f'key "{key}": {shown(value)}: {reason}{hint}'


def unknown_key(key: str, value: Any, known_keys: Iterable[str]) -> str:
    return f"unknown key {shown(key)} (value {shown(value)}){did_you_mean(key.lower(), known_keys)}"


def shown(value: Any) -> str:
    """A value as JSON has it, cut to 60 characters."""
    try:
        text = json.dumps(value)
    except RecursionError:
        return "..."
    return text if len(text) <= 60 else text[:57] + "..."


def kind_of(value: Any) -> str:
    """What JSON calls a value that is not an object."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, list):
        return "a list"
    return "a string" if isinstance(value, str) else "a number"


def _is_quoted(text: str) -> bool:
    """Whether a string is a number, true or false that somebody has put in quotes."""
    return bool(re.fullmatch(r"true|false|-?[0-9.]+(e[+-]?[0-9]+)?", text, re.IGNORECASE))
