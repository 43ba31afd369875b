"""Every registered component passes the rules of `lop_engine.testing`, which users apply to their own components.

A method is checked on the paper's network; `make test-long` adds every optimiser, and `tests/engine/test_methods.py`
every network with every option.
"""

import itertools
from collections.abc import Iterable

import pytest

from lop_engine.experiment.components import Component
from lop_engine.experiment.registry import METHODS, METRICS, NETWORKS, PROBLEMS
from lop_engine.testing import RULES, Subject, apply, subjects_of
from tests.engine.test_methods import make_spec
from tests.methods import with_optimizers

SMALL_PROBLEMS = {
    "permuted_mnist": {"num_features": 8, "num_tasks": 2, "change_after": 250},
    "slowly_changing_regression": {"flip_after": 40},
}
"""Settings of problems whose defaults take long."""


def name_of(value: object) -> str:
    return getattr(value, "__name__", "") or str(value)


def pairs(components: Iterable[str], key: str) -> pytest.MarkDecorator:
    """Parametrize with every component of a kind and every rule.

    All optimisers but SGD are long tests, except for bp.
    """
    cases = [
        pytest.param(name, rule, marks=pytest.mark.long if " " in name and not name.startswith("bp ") else ())
        for name, rule in itertools.product(components, RULES[key])
    ]
    return pytest.mark.parametrize(("name", "rule"), cases, ids=name_of)


def check(component: Component, rule, **settings) -> None:
    for subject in subjects_of(component, **settings):
        apply(rule, subject)


@pairs(with_optimizers(), "agent")
def test_every_method_passes_every_rule(name, rule):
    settings = with_optimizers()[name]
    method = METHODS[name.partition(" ")[0]]
    changes = {"metrics": ["train_loss", "test_accuracy", "weight_magnitude"]}
    if method.has_own_update:
        changes["step_size"] = 0.1  # without momentum
    apply(rule, Subject(method, make_spec(settings, **changes)))


@pairs(NETWORKS, "network")
def test_every_network_passes_every_rule(name, rule):
    check(NETWORKS[name], rule, **({"agent": "linear"} if name == "linear" else {}))


@pairs(PROBLEMS, "problem")
def test_every_problem_passes_every_rule(name, rule):
    check(PROBLEMS[name], rule, **SMALL_PROBLEMS.get(name, {}))


@pairs(METRICS, "metrics")
def test_every_metric_passes_every_rule(name, rule):
    check(METRICS[name], rule)
