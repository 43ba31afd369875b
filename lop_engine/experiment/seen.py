"""Components as viewers show them: by name, without loading anybody's code.

lop's own are known. What a run names besides is described in its run.json, and remembered when that is read.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, get_args

from lop_engine.experiment.components import Better, Component, Method, Metric, Problem, Scale, Unit
from lop_engine.experiment.registry import METHODS, METRICS, PROBLEMS
from lop_engine.experiment.spec import Spec
from lop_engine.experiment.stored import method_keys

#: What run.json says of a component of each kind.
_SHOWN = {
    "problem": ("name", "title", "headline", "metrics", "charts", "together", "x_unit"),
    "network": ("name", "title"),
    "method": ("name", "title", "colour"),
    "metrics": ("name", "title", "unit", "scale", "from_zero", "least_span", "cost_in_epochs", "better"),
}

_remembered: dict[str, dict[str, Any]] = {"problem": {}, "method": {}, "metrics": {}}


def described(spec: Spec) -> dict[str, Any]:
    """What run.json holds of a spec's components, for those who view the run without them."""
    parts = spec.parts
    found: dict[str, Any] = {
        kind: _shown(one, kind)
        for kind, one in (("problem", parts.problem), ("network", parts.network), ("method", parts.method))
    }
    found["method_keys"] = sorted(method_keys(spec))
    shown = dict.fromkeys((*spec.metrics, *parts.problem.metrics, parts.problem.headline, *parts.problem.together))
    found["metrics"] = [_shown(METRICS[name], "metrics") for name in shown]
    found["steps_per_task"] = spec.steps_per_task
    if parts.problem.x_unit != "tasks":
        found["x_per_task"] = parts.problem.examples_per_task(spec) * spec.num_showings
    return found


def remember(content: Any) -> None:
    """Take up the descriptions in a run.json. What is not well-formed there is passed over."""
    if not isinstance(content, Mapping):
        return
    metrics = content.get("metrics")
    ones: list[Any]
    for kind, ones in (
        ("problem", [content.get("problem")]),
        ("method", [content.get("method")]),
        ("metrics", metrics if isinstance(metrics, list) else []),
    ):
        for one in ones:
            with suppress(TypeError, KeyError):
                if one["name"] not in _remembered[kind]:
                    _remembered[kind][one["name"]] = _MAKERS[kind](one)


def metric(name: str) -> Metric:
    """A metric of that name; an unknown one is shown by its name."""
    found = METRICS[name] if name in METRICS else _remembered["metrics"].get(name)
    return found or Metric(name=name, title=name.replace("_", " "), takes=())


def method(name: str) -> Method:
    found = METHODS[name] if name in METHODS else _remembered["method"].get(name)
    return found or Method(name=name, title=name)


def problem(name: str) -> Problem:
    """A problem of that name; of an unknown one nothing is shown but the name."""
    found = PROBLEMS[name] if name in PROBLEMS else _remembered["problem"].get(name)
    return found or Problem(name=name, title=name, headline="", network="", metrics=(), examples_per_task=lambda _: 0)


def metric_names() -> list[str]:
    """Every metric that is known by now, lop's own first."""
    return list(dict.fromkeys([*METRICS, *_remembered["metrics"]]))


def _shown(one: Component, kind: str) -> dict[str, Any]:
    return {name: getattr(one, name) for name in _SHOWN[kind]}


def _checked(content: Mapping[str, Any], **expected: type | tuple[type, ...]) -> dict[str, Any]:
    """The entries of a description, each of its type. Raises TypeError, KeyError."""
    for name, types in expected.items():
        if not isinstance(content[name], types):
            raise TypeError(name)
    return {name: content[name] for name in expected}


def _metric(content: Mapping[str, Any]) -> Metric:
    number = (int, float)
    values = _checked(content, name=str, title=str, unit=str, scale=str, from_zero=bool, least_span=number)
    for key, default, choices in (
        ("unit", "", get_args(Unit)),
        ("scale", "linear", get_args(Scale)),
        ("better", "higher", get_args(Better)),
    ):
        values[key] = content.get(key, default)
        if values[key] not in choices:
            raise TypeError(key)
    cost = content.get("cost_in_epochs", 0)
    return Metric(**values, cost_in_epochs=cost if isinstance(cost, number) else 0, takes=())


def _method(content: Mapping[str, Any]) -> Method:
    values = _checked(content, name=str, title=str, colour=str)
    if values["colour"] and not re.fullmatch("#[0-9a-fA-F]{6}", values["colour"]):
        raise TypeError("colour")
    return Method(**values)


def _problem(content: Mapping[str, Any]) -> Problem:
    values = _checked(content, name=str, title=str, headline=str, x_unit=str)
    metrics, charts, together = (tuple(map(str, content.get(key) or ())) for key in ("metrics", "charts", "together"))
    return Problem(
        **values, metrics=metrics, charts=charts, together=together, network="", examples_per_task=lambda spec: 0
    )


_MAKERS = {"problem": _problem, "method": _method, "metrics": _metric}
