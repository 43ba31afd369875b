"""Every registered component has a complete description and existing code."""

import inspect
import re

import pytest

from lop_engine.experiment.code import load
from lop_engine.experiment.components import Component, Method, Metric, Problem
from lop_engine.experiment.registry import METHODS, METRICS, NETWORKS, REGISTRIES
from lop_engine.metrics.inputs import MetricInputs
from tests.helpers import ROOT

SOURCES = re.findall(r"^@\w+\{(\w+),$", (ROOT / "lop_engine/experiment/sources.bib").read_text(), re.MULTILINE)
#: Components from textbooks, without a source.
WITHOUT_SOURCE = {"sgd", "train_loss"}

COMPONENTS = [one for registry in REGISTRIES.values() for one in registry.values()]


def label(component: Component) -> str:
    return f"{component.key} {component.name}"


@pytest.mark.parametrize("component", COMPONENTS, ids=label)
def test_a_component_has_title_sentence_source_and_described_keys(component):
    assert component.title
    assert "\n" not in component.title
    assert component.sentence.endswith(".")
    assert (component.source in SOURCES) != (component.name in WITHOUT_SOURCE), "a key of sources.bib"
    for key, field in component.fields.model_fields.items():
        assert field.description, key
        assert field.description.endswith("."), key
        assert not field.is_required(), f"{key} has no default"


@pytest.mark.parametrize("component", COMPONENTS, ids=label)
def test_the_code_of_a_component_can_be_loaded(component):
    code = load(component)
    assert callable(code)
    assert inspect.getmodule(code).__doc__


@pytest.mark.parametrize("method", METHODS.values(), ids=label)
def test_a_method_has_a_unique_colour(method: Method):
    assert re.fullmatch("#[0-9A-F]{6}", method.colour)
    assert [one.name for one in METHODS.values() if one.colour == method.colour] == [method.name]
    assert method.network in ("", *NETWORKS)


@pytest.mark.parametrize("method", METHODS.values(), ids=label)
def test_methods_md_has_the_equations_of_a_method(method: Method):
    page = (ROOT / "docs/methods.md").read_text()
    section = page.partition(f"### {method.name}: ")[2].partition("\n#")[0]
    assert method.equation
    for line in method.equation.splitlines():
        assert f"\n    {line}\n" in section


@pytest.mark.parametrize("metric", METRICS.values(), ids=label)
def test_a_metric_takes_existing_metric_inputs(metric: Metric):
    known = {*MetricInputs.__dataclass_fields__, *vars(MetricInputs)}
    assert metric.takes
    assert set(metric.takes) <= known
    parameters = inspect.signature(load(metric)).parameters.values()
    required = [one for one in parameters if one.default is one.empty]
    assert len(required) <= len(metric.takes) + len(metric.settings) <= len(parameters)


@pytest.mark.parametrize("problem", REGISTRIES["problem"].values(), ids=label)
def test_a_problem_names_components_that_exist(problem: Problem):
    assert problem.headline in METRICS
    assert problem.network in NETWORKS
    assert set(problem.metrics) | set(problem.charts) <= METRICS.keys()
    assert not problem.claims or inspect.ismodule(__import__(problem.claims, fromlist=["PROTOCOLS"]))


def test_every_source_is_known_and_listed_once():
    assert {one.source for one in COMPONENTS} - {""} <= set(SOURCES)
    assert len(SOURCES) == len(set(SOURCES))


def test_no_two_components_of_a_kind_share_a_title():
    for kind, registry in REGISTRIES.items():
        titles = [one.title for one in registry.values()]
        assert len(titles) == len(set(titles)), kind
