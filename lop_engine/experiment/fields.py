"""Fields of components and experiments: the base class, and types that accept what JSON files contain."""

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

MAX_INT = 10**9
"""A larger number is a typing error."""


def integral(value: Any) -> Any:
    """JSON files may write 5000 as 5e3: an integral float is an int. A bool is not a number."""
    if isinstance(value, bool):
        raise PydanticCustomError("int_type", "a bool")
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _flag(value: Any) -> Any:
    """The reference writes true and 1 for the same thing."""
    return bool(value) if type(value) is int and value in (0, 1) else value


def _number_text(value: Any) -> Any:
    """The reference's generated files write ``"run_idx": "0"``."""
    return int(value) if isinstance(value, str) and re.fullmatch("[0-9]{1,9}", value) else value


Int = Annotated[int, BeforeValidator(integral), Field(le=MAX_INT)]
NumberText = BeforeValidator(_number_text)
Flag = Annotated[bool, BeforeValidator(_flag)]
Proportion = Annotated[float, Field(ge=0, le=1)]

PER_RUN = Field(json_schema_extra={"per_run": True})
"""Marks a number that runs of one stack may have different values of: ``age: Annotated[int, PER_RUN] = Field(...)``.

Only of a method or an optimiser, whose code reads it with `Setup.own`. Without the mark, runs with different values
train in different stacks.
"""


class Fields(BaseModel):
    """The keys of one part of an experiment: each with its bounds, default and help (`Field(description=...)`)."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


PerRun = Annotated[float, PER_RUN]
"""A real number that may differ between the runs of a stack."""
Decay = Annotated[float, PER_RUN, Field(ge=0, lt=1)]
"""Of a running mean; may differ between the runs of a stack."""


def is_per_run(fields: type[Fields], key: str) -> bool:
    """Whether runs of one stack may have different values of a key."""
    extra = fields.model_fields[key].json_schema_extra
    return isinstance(extra, dict) and bool(extra.get("per_run"))


def is_list(fields: type[Fields], key: str) -> bool:
    """Whether the value of a key is itself a list, so that a list is not a sweep."""
    annotation = fields.model_fields[key].annotation
    return getattr(annotation, "__origin__", annotation) in (tuple, list)
