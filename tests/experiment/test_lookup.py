"""What views read from run.json about components that are not installed, also if it is malformed."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lop_engine.analysis import group_runs
from lop_engine.analysis.groups import one_problem
from lop_engine.experiment import lookup
from lop_engine.runs.directory import write_json
from lop_engine.runs.reading import RunsReader
from tests.helpers import make_run
from tests.toys import REGRESSION, STREAM, described, make_toy


@pytest.fixture(autouse=True)
def _forget_components(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "from_run_json", {kind: {} for kind in lookup.from_run_json})


def test_run_json_describes_the_components_of_other_packages(tmp_path: Path) -> None:
    make_toy(tmp_path)
    (group,) = group_runs(RunsReader(tmp_path).read().runs)
    assert (group.method, group.problem.title, group.problem.x_unit) == ("dropout", "Toy regression", "examples")
    assert (group.x_per_task, lookup.method("dropout").colour) == (500, "#AA3377")
    assert lookup.metric("toy_error").heading == "squared error, log scale"
    assert lookup.metric("never_described").heading == "never described"


@pytest.mark.parametrize(
    ("metric", "components", "expected"),
    [
        ("dormant_proportion", STREAM, "a flat network has no hidden units"),
        ("dormant_proportion", REGRESSION, ""),
        ("test_accuracy", STREAM, "Toy stream has no test set"),
        ("online_accuracy", STREAM, ""),
        ("dormant_proportion", {"problem": STREAM["problem"], "network": {"name": "linear"}}, ""),
        ("dormant_proportion", {"network": 7, "problem": []}, ""),
    ],
)
def test_the_reason_why_a_metric_is_missing_is_given(metric: str, components: Any, expected: str) -> None:
    if components.get("network") == {"name": "linear"}:
        expected = "a linear network has no hidden units"
    assert lookup.why_unmeasured(metric, {"agent": "dropout"}, components) == expected


def test_a_linear_network_is_recognised_from_the_spec() -> None:
    spec = {"agent": "linear", "step_size": 0.01, "num_tasks": 2, "num_showings": 1}
    assert lookup.why_unmeasured("stable_rank", spec, {}) == "a linear network has no hidden units"
    assert lookup.why_unmeasured("stable_rank", spec | {"agent": "bp"}, {}) == ""


def test_an_unreadable_run_belongs_to_the_problem_of_its_setting(tmp_path: Path) -> None:
    broken = make_toy(tmp_path, "toy", 0)
    make_toy(tmp_path, "toy", 1)
    lost = make_run(tmp_path, "another")
    for run in (broken, lost):
        run.run_json.write_text("[")
    problem = one_problem(RunsReader(tmp_path).read().runs)
    assert (problem.problem.name, problem.others) == ("toy_regression", ())
    assert [run.dir for run in problem.runs] == [lost, broken, problem.runs[2].dir]
    toy = group_runs(problem.runs)[1]
    assert (toy.method, toy.problem.name, toy.x_per_task) == ("dropout", "toy_regression", 500)


def test_other_problems_are_listed_in_order(tmp_path: Path) -> None:
    make_run(tmp_path, "bp")
    make_toy(tmp_path, "regression")
    make_toy(tmp_path, "stream", components=STREAM)
    runs = RunsReader(tmp_path).read().runs
    assert one_problem(runs).problem.name == "continual_imagenet"
    assert one_problem(runs, "toy_regression").others == (("toy_stream", 1), ("continual_imagenet", 1))
    assert one_problem(runs, "gone").problem.name == "continual_imagenet"


def test_an_undescribed_problem_shows_its_recorded_metrics(tmp_path: Path) -> None:
    make_toy(tmp_path, components={"problem": {"name": "secret"}}, metrics=["b_loss", "train_loss"])
    problem = one_problem(RunsReader(tmp_path).read().runs)
    assert (problem.problem.title, problem.headline, problem.charts) == (
        "secret",
        "train_loss",
        ["train_loss", "b_loss"],
    )


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*"ab", "name", "title"]), inner),
    max_leaves=6,
)


@st.composite
def malformed(draw: st.DrawFn) -> Any:
    """Draw the components of a regression, with some parts replaced by other values."""
    content: dict[str, Any] = {
        **REGRESSION,
        "metrics": [described("toy_error", "[bold]error[/"), draw(anything)],
    }
    for kind in draw(st.lists(st.sampled_from([*content]), max_size=3)):
        inner = content[kind]
        if isinstance(inner, dict) and draw(st.booleans()):
            content[kind] = inner | {draw(st.sampled_from([*inner, "charts"])): draw(anything)}
        else:
            content[kind] = draw(anything)
    return content


@settings(max_examples=150, deadline=None)
@given(components=malformed() | anything)
def test_malformed_descriptions_are_ignored(tmp_path_factory: pytest.TempPathFactory, components: Any) -> None:
    tmp_path = tmp_path_factory.mktemp("runs")
    for known in lookup.from_run_json.values():
        known.clear()
    run = make_toy(tmp_path)
    write_json(run.run_json, {"spec": {"agent": "x", "num_tasks": 40}, "seed": 0, "components": components})
    (view,) = RunsReader(tmp_path).read().runs
    assert view.problem is None
    of_problem = one_problem([view])
    (group,) = group_runs(of_problem.runs)
    assert all(isinstance(text, str) and text.isprintable() for text in (group.problem.title, group.problem.x_unit))
    assert lookup.method(group.method).colour in ("", "#AA3377")
    assert all(isinstance(name, str) for name in of_problem.charts)
    assert isinstance(lookup.why_unmeasured("dormant_proportion", view.spec, view.components), str)
