"""Look up descriptions of components by name, for display, without importing their code.

lop's own components are registered. Other components of a run are described in its run.json; `remember` adds these
descriptions when a run.json is read, so runs whose components are not installed can be shown too.
"""

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

from lop_engine.experiment.components import Better, Component, Method, Metric, Need, Problem, Scale, Unit
from lop_engine.experiment.parts import Experiment, method_name
from lop_engine.experiment.reference import DEFAULT
from lop_engine.experiment.registry import METHODS, METRICS, NETWORKS, PROBLEMS, REGISTRIES
from lop_engine.experiment.spec import Spec
from lop_engine.experiment.stored import method_keys
from lop_engine.text import plain

#: The fields of each kind of component that run.json holds.
_SHOWN = {
    "problem": ("name", "title", "headline", "metrics", "charts", "together", "x_unit", "provides"),
    "network": ("name", "title", "provides"),
    "method": ("name", "title", "colour"),
    "metrics": ("name", "title", "unit", "scale", "from_zero", "least_span", "cost_in_epochs", "better", "needs"),
}
_LONGEST = 200
"""Most characters of a title."""
_LARGEST = 1e9
"""Limit of a metric's shortest axis and of its cost."""

from_run_json: dict[str, dict[str, Any]] = {"problem": {}, "method": {}, "metrics": {}}
_remembered_keys: dict[str, None] = {}


def for_run_json(spec: Spec) -> dict[str, Any]:
    """Return the entry ``components`` of run.json, so that the run can be viewed without its components' code."""
    parts = spec.parts
    content: dict[str, Any] = {
        kind: _shown(one, kind)
        for kind, one in (("problem", parts.problem), ("network", parts.network), ("method", parts.method))
    }
    content["method_keys"] = sorted(method_keys(spec))
    content["network_keys"] = sorted(parts.network.fields.model_fields)
    shown = dict.fromkeys((*spec.metrics, *parts.problem.metrics, parts.problem.headline, *parts.problem.together))
    content["metrics"] = [_shown(METRICS[name], "metrics") for name in shown]
    content["defaults"] = {key: value for key, value in spec.defaults.items() if key in spec.to_dict()}
    content["steps_per_task"] = spec.steps_per_task
    if own := _own_files((*parts, *(METRICS[name] for name in shown))):
        content["own_files"] = own
    if parts.problem.x_unit != "tasks":
        content["x_per_task"] = parts.problem.num_examples(spec) * spec.num_showings
    return content


def _own_files(components: Iterable[Component]) -> dict[str, dict[str, str]]:
    """Return the file name of each component from a user's own file, by key and name."""
    file_names: dict[str, dict[str, str]] = {}
    for one in components:
        if one.modules:
            file_names.setdefault(one.key, {})[one.name] = Path(one.modules[0].path).name
    return file_names


def own_components(components: Any) -> list[str]:
    """List the components from users' own files in a run.json's ``components``: ``agent my_redo``, ``metric drift``."""
    own = components.get("own_files") if isinstance(components, dict) else None
    kinds = own.items() if isinstance(own, dict) else ()
    return [f"{'metric' if key == 'metrics' else key} {name}" for key, files in kinds for name in files]


def with_own_files(values: Mapping[str, Any], components: Mapping[str, Any]) -> dict[str, Any]:
    """Replace the names of own components in a run.json's spec by ``./file.py:name``, where it has their files.

    Args:
        values: the spec.
        components: the entry ``components`` of run.json.
    """
    own = components.get("own_files")
    named = dict(values)
    for key, files in own.items() if isinstance(own, dict) else ():
        paths = {name: f"./{Path(str(file)).name}:{name}" for name, file in files.items()}
        value = named.get(key)
        if isinstance(value, str):
            named[key] = paths.get(value, value)
        elif isinstance(value, list | tuple):
            named[key] = [paths.get(one, one) for one in value]
    return named


def remember(content: Any, values: Mapping[str, Any] = MappingProxyType({})) -> None:
    """Add the descriptions in a run.json; malformed ones are ignored.

    Args:
        content: the entry ``components`` of run.json.
        values: its spec.
    """
    _remembered_keys.update(dict.fromkeys(values))
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
                if one["name"] not in from_run_json[kind]:
                    from_run_json[kind][one["name"]] = _MAKERS[kind](one)


def metric(name: str) -> Metric:
    """Return the description of a metric; its title is the name if it is unknown."""
    known = METRICS[name] if name in METRICS else from_run_json["metrics"].get(name)
    return known or Metric(name=name, title=plain(name.replace("_", " ")), takes=())


def method(name: str) -> Method:
    known = METHODS[name] if name in METHODS else from_run_json["method"].get(name)
    return known or Method(name=name, title=plain(name))


def problem(name: str) -> Problem:
    """Return the description of a problem; its title is the name if it is unknown."""
    known = PROBLEMS[name] if name in PROBLEMS else from_run_json["problem"].get(name)
    unknown = Problem(name=name, title=plain(name), headline="", network="", metrics=(), examples_per_task=lambda _: 0)
    return known or unknown


def metric_names() -> list[str]:
    """Return the names of all metrics known so far, lop's own first."""
    return list(dict.fromkeys([*METRICS, *from_run_json["metrics"]]))


def key_names() -> list[str]:
    """Return all configuration keys known so far, lop's own first."""
    of_components = (one.fields.model_fields for registry in REGISTRIES.values() for one in registry.values())
    return list(dict.fromkeys(chain(Experiment.model_fields, ["opt"], *of_components, _remembered_keys)))


def why_unmeasured(name: str, values: Mapping[str, Any], components: Mapping[str, Any]) -> str:
    """Return why a metric cannot be measured in a run: ``a linear network has no hidden units``; "" if it can.

    Args:
        values: the spec in run.json.
        components: the entry ``components`` of run.json.
    """
    problem, network = (_provider(kind, values, components) for kind in ("problem", "network"))
    if problem is None or network is None:
        return ""
    lacking = metric(name).needs - problem[1] - network[1]
    if "hidden units" in lacking:
        return f"a {network[0]} network has no hidden units"
    return f"{problem[0]} has no {' and no '.join(sorted(lacking))}" if lacking else ""


def _provider(
    kind: Literal["problem", "network"], values: Mapping[str, Any], components: Mapping[str, Any]
) -> tuple[str, frozenset[Need]] | None:
    """Return the title of a run's problem or network and what it provides; None if unknown."""
    known: Mapping[str, Component] = PROBLEMS if kind == "problem" else NETWORKS
    with suppress(TypeError, KeyError):
        content = components[kind] if kind in components else {"name": _usual(kind, values)}
        if content["name"] in known:
            return known[content["name"]].title, known[content["name"]].provides
        return _plain(content["title"]), _needs(content["provides"])
    return None


def _usual(kind: str, values: Mapping[str, Any]) -> Any:
    """Return the name of the problem or network of a run.json without descriptions (older versions of lop)."""
    name = method_name(values)
    of_method = METHODS[name].network if name in METHODS else ""
    usual = DEFAULT if kind == "problem" else of_method or PROBLEMS[DEFAULT].network
    return values.get(kind, usual)


def _shown(one: Component, kind: str) -> dict[str, Any]:
    values = {name: getattr(one, name) for name in _SHOWN[kind]}
    return {name: sorted(value) if isinstance(value, frozenset) else value for name, value in values.items()}


def _checked(content: Mapping[str, Any], **expected: type | tuple[type, ...]) -> dict[str, Any]:
    """Return the entries of a description after checking their types. Raises TypeError, KeyError."""
    for name, types in expected.items():
        if not isinstance(content[name], types):
            raise TypeError(name)
    shown = {name: _plain(content[name]) for name in ("title", "x_unit") if name in expected}
    return {name: content[name] for name in expected} | shown


def _plain(text: str) -> str:
    """Return a title as one line. Raises TypeError."""
    if not isinstance(text, str) or not text or len(text) > _LONGEST:
        raise TypeError("not a title")
    return plain(text)


def _needs(names: Any) -> frozenset[Need]:
    return frozenset(one for one in get_args(Need) if isinstance(names, list | tuple) and one in names)


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
    if not 0 <= values["least_span"] <= _LARGEST:
        raise TypeError("least_span")
    cost = content.get("cost_in_epochs", 0)
    is_cost = isinstance(cost, number) and 0 <= cost <= _LARGEST
    needs = _needs(content.get("needs"))
    return Metric(**values, cost_in_epochs=cost if is_cost else 0, needs=needs, takes=())


def _method(content: Mapping[str, Any]) -> Method:
    values = _checked(content, name=str, title=str, colour=str)
    if values["colour"] and not re.fullmatch("#[0-9a-fA-F]{6}", values["colour"]):
        raise TypeError("colour")
    return Method(**values)


def _problem(content: Mapping[str, Any]) -> Problem:
    values = _checked(content, name=str, title=str, headline=str, x_unit=str)
    metrics, charts, together = (tuple(map(str, content.get(key) or ())) for key in ("metrics", "charts", "together"))
    return Problem(
        **values,
        metrics=metrics,
        charts=charts,
        together=together,
        provides=_needs(content.get("provides")),
        network="",
        examples_per_task=lambda spec: 0,
    )


_MAKERS = {"problem": _problem, "method": _method, "metrics": _metric}
