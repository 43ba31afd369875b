"""Query conditions on metrics and configuration keys: ``test_accuracy<0.55``, ``step_size:0.01``."""

import json
import math
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from lop_engine.errors import QueryError, did_you_mean
from lop_engine.experiment import lookup
from lop_engine.runs.views import RunView

COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "": math.isclose,
}
NUMBER = r"(?:[0-9]{1,30}(?:\.[0-9]{0,30})?|\.[0-9]{1,30})(?:e[+-]?[0-9]{1,3})?"
_LIMIT = re.compile(rf"([<>]=?|)([+-]?{NUMBER})(%?)")
_RANGE = re.compile(rf"({NUMBER})(%?)-({NUMBER})(%?)")


@dataclass(frozen=True)
class Field:
    """A metric or a configuration key."""

    name: str
    is_metric: bool

    def of(self, view: RunView) -> Any:
        """Return a metric's last recorded value (None if not finite) or a key's value; None if the run has neither."""
        return _last_recorded(view, self.name) if self.is_metric else view.spec.get(self.name)


def find_field(name: str, others: Sequence[str]) -> Field:
    """Return the metric or the key of that name.

    Args:
        others: names of other conditions, for the suggestions.
    Raises:
        QueryError: there is neither, or both.
    """
    known = {"metric": lookup.metric_names(), "config": lookup.key_names()}
    kind, _, rest = name.partition(".")
    if rest in known.get(kind, ()):
        return Field(rest, kind == "metric")
    kinds = [kind for kind, names in known.items() if name in names]
    if len(kinds) == 2:
        raise QueryError(f'"{name}" is a metric and a key of the configuration: write metric.{name} or config.{name}')
    if not kinds:
        near = _nearest(name.lower(), [*others, *known["metric"], *known["config"]])
        further = "" if near else "; also metrics (lop metrics) and keys of the configuration (lop show)"
        raise QueryError(f'unknown key "{name}"{near} ({", ".join(others)}){further}')
    return Field(name, kinds == ["metric"])


def _nearest(name: str, choices: Iterable[str]) -> str:
    """Return ``; did you mean "train_accuracy" or "test_accuracy"?``: names that contain it, else the nearest."""
    longer = [one for one in choices if len(name) > 2 and name in one]
    quoted = [f'"{one}"' for one in longer[:8]]
    if not quoted:
        return did_you_mean(name, choices)
    *others, last = quoted
    return f"; did you mean {', '.join(others)} or {last}?" if others else f"; did you mean {last}?"


def comparison(field: Field, text: str) -> Callable[[Any], bool]:
    """Return a test of a `field`'s value: a number, a limit, a range, or a pattern. Raises QueryError."""
    if limit := _LIMIT.fullmatch(text):
        compare, number = COMPARISONS[limit[1]], _number(field, limit[2], limit[3])
        return lambda value: any(
            compare(one, number) if _is_number(one) else as_text(one).lower() == text for one in _each(value)
        )
    if span := _RANGE.fullmatch(text):
        low, high = _number(field, span[1], span[2]), _number(field, span[3], span[4])
        return lambda value: any(_is_number(one) and low <= one <= high for one in _each(value))
    if field.is_metric or text[0] in "<>":
        raise QueryError(f'{field.name} "{text}": write a number (0.5), a range (0.1-0.5) or a limit (<0.5, >=0.5)')
    return lambda value: any(fits(as_text(one).lower(), text) for one in _each(value))


def _number(field: Field, digits: str, percent: str) -> float:
    """Parse a number in recorded units: for a share, 55% is 0.55. Raises QueryError."""
    number, is_share = float(digits), field.is_metric and lookup.metric(field.name).unit == "%"
    if percent and not is_share:
        raise QueryError(f'{field.name} "{digits}%": it is not recorded in percent; write a number (0.5)')
    if is_share and not percent and abs(number) > 1:
        raise QueryError(f'{field.name} "{digits}": it is a share from 0 to 1; write 0.55 or 55%')
    return number / 100 if percent else number


def fits(text: str, pattern: str) -> bool:
    """Whether `text` equals `pattern` literally, brackets included, or matches it as a shell pattern."""
    return text == pattern or fnmatchcase(text, pattern)


def in_short(field: Field, views: Iterable[RunView]) -> str:
    """Summarise the values in `views`: ``0.01, 0.001``, or ``0.2 to 0.85`` for many numbers; "" without any."""
    values = [value for view in views if (value := field.of(view)) is not None]
    numbers = sorted({value for value in values if _is_number(value)})
    texts = [as_text(one) for one in numbers] or sorted({as_text(value) for value in values})
    if numbers and len(texts) > 4:
        return f"{texts[0]} to {texts[-1]}"
    return ", ".join(texts[:8]) + (", ..." if len(texts) > 8 else "")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _each(value: Any) -> Sequence[Any]:
    """Yield a value, or the items of a list."""
    return [value, *value] if isinstance(value, list) else [value]


def as_text(value: Any) -> str:
    """Return a value as users type it."""
    return value if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else json.dumps(value)


def _last_recorded(view: RunView, metric: str) -> float | None:
    values = view.series.get(metric, np.empty(0))
    is_recorded = np.isfinite(values)
    if metric in view.nulls:
        is_recorded |= view.nulls[metric][: len(values)]
    places = np.flatnonzero(is_recorded)
    last = float(values[places[-1]]) if len(places) else math.nan
    return last if math.isfinite(last) else None
