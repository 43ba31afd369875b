"""The query language, applied to generated runs."""

import string
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lop_engine.errors import QueryError
from lop_engine.experiment import lookup
from lop_engine.runs.directory import RunDir
from lop_engine.runs.query import KEYS, STATES, filter_runs, hint, parse_query
from lop_engine.runs.records import RunStatus
from lop_engine.runs.selection import select
from lop_engine.runs.views import RunView, Snapshot


def view(name, state="running", device="cpu", progress=0.5, **spec):
    experiment, setting, seed = name.split("/")
    directory = RunDir(Path("runs") / experiment / setting / f"seed_{int(seed):03d}")
    status = RunStatus(state, num_tasks=100, num_epochs=1, tasks_done=round(100 * progress), device=device)
    spec = {"agent": experiment, "step_size": 0.01, "num_tasks": 100, "num_showings": 1} | spec
    return RunView(directory, spec, status, state, {})


VIEWS = [
    view("cbp/default/0", state="finished", device="cuda:0", progress=1),
    view("cbp/default/3", state="failed", device="cuda:1", progress=0.2),
    view("bp/step_size=0.01,width=2/0"),
    view("bp/step_size=0.001,width=2/12", state="queued", device=None, progress=0),
    view("Mine/default/1", agent="bp", weight_decay=1e-5),
    view("old/default/2", agent="cbp", state="stopped", no_longer_known=1),
]


def test_brackets_in_names_match_literally():
    views = [view("layers/sizes=[50,2]/0"), view("layers/sizes=5/0"), view("a[b]/default/0")]
    for text in ("setting:sizes=?50?2?", "layers/sizes=[50,", "layers/sizes=[50", "setting:layers/sizes=[50*"):
        assert filter_runs(views, text) == (views[0],)
    assert filter_runs(views, "experiment:a[b]") == (views[2],)
    names = ["a[b]", "a[*", "a[b]/default", "a[b]/default/0"]
    assert [select(Snapshot(Path("runs"), tuple(views)), [name]) for name in names] == [[views[2]]] * 4


def names_matching(text):
    return [run.dir.name.replace("seed_", "") for run in filter_runs(VIEWS, text)]


CBP, BP = ["cbp/default/000", "cbp/default/003"], ["bp/step_size=0.01,width=2/000", "bp/step_size=0.001,width=2/012"]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("method:cbp", [*CBP, "old/default/002"]),
        ("method:l2", ["Mine/default/001"]),
        ("method:mine", []),
        ("method:l2,=cbp", [*CBP, "Mine/default/001", "old/default/002"]),
        ("method:?bp", [*CBP, "old/default/002"]),
        ("method:cb", []),
        ("experiment:*bp", CBP + BP),
        ("setting:step_size=0.01", BP[:1]),
        ("setting:0.001", BP[1:]),
        ("setting:step_size=0.01,width=2", BP),
        ("setting:cbp/default,bp/step_size=0.01?width=2", [*CBP, BP[0]]),
        ("setting:bp/default", []),
        ("setting:def*", [*CBP, "Mine/default/001", "old/default/002"]),
        ("seed:3", CBP[1:]),
        ("seed:1-3", [CBP[1], "Mine/default/001", "old/default/002"]),
        ("seed:<1,12", [CBP[0], *BP]),
        ("seed:>=3 seed:<=12 seed:>3", BP[1:]),
        ("state:failed,queued", [CBP[1], BP[1]]),
        ("-state:failed method:cbp", [CBP[0], "old/default/002"]),
        ("device:cuda", CBP),
        ("device:cuda:1", CBP[1:]),
        ("-device:*", BP[1:]),
        ("progress:<50%", [CBP[1], BP[1]]),
        ("progress:100", CBP[:1]),
        ("cbp/default", CBP),
        ("CBP -003", CBP[:1]),
        ("mine,old", ["Mine/default/001", "old/default/002"]),
        ("width=2/*2", BP[1:]),
        ("no such run", []),
    ],
)
def test_a_filter_selects_the_matching_runs(text, names):
    assert names_matching(text) == names


def test_an_empty_filter_matches_all_runs():
    assert parse_query("  \t").is_empty
    assert len(names_matching("")) == len(VIEWS)
    assert not parse_query("cbp").is_empty


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "sed:3",
            'unknown key "sed"; did you mean "seed"? (method, experiment, problem, setting, seed, state, '
            "device, progress)",
        ),
        ("cbp :x", 'unknown key ""'),
        ("state:runing", 'unknown state "runing"; did you mean "running"? (queued, running, finished,'),
        ("state:", '"state:" names nothing, for example state:running,queued'),
        ("method:,", '"method:," names nothing, for example method:cbp'),
        ("-", '"-" names nothing'),
        ("seed:three", 'seed "three": write a seed (3), a range (0-9)'),
        ("seed:9-3", 'seed "9-3": write'),
        ("seed:12345678", 'seed "12345678": write'),
        ("progress:half", 'progress "half": write a limit in percent'),
    ],
)
def test_an_invalid_filter_is_refused_with_an_explanation(text, message):
    with pytest.raises(QueryError) as caught:
        parse_query(text)
    assert message in str(caught.value)


def test_every_state_and_key_can_be_queried():
    assert sorted(
        run.state for run in VIEWS for state in STATES if parse_query(f"state:{state}").matches(run)
    ) == sorted(run.state for run in VIEWS)
    assert list(KEYS) == ["method", "experiment", "problem", "setting", "seed", "state", "device", "progress"]


words = st.builds(
    "{}{}:{}".format,
    st.sampled_from(["", "-", "--"]),
    st.sampled_from([*KEYS, "sed"]),
    st.text("0123456789<>=-,.%*?![]^" + string.ascii_letters, max_size=8),
)


@settings(max_examples=500, deadline=None, derandomize=True)
@given(st.text(max_size=40) | st.lists(words, max_size=3).map(" ".join))
@example("[!")
@example("[z-a]*,[]-\\")
def test_any_text_is_parsed_or_a_query_error(text):
    try:
        query = parse_query(text)
    except QueryError:
        return
    for run in VIEWS:
        query.matches(run)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(words)
def test_a_word_and_its_negation_partition_the_runs(word):
    try:
        plain, negated = names_matching(word), names_matching(f"-{word}")
    except QueryError:
        return
    if not word.startswith("-"):
        assert sorted(plain + negated) == sorted(names_matching(""))


def test_method_comes_from_the_spec_and_experiment_from_the_file_name():
    runs = [view("l2/default/0", agent="bp"), view("wd/default/0", agent="bp", weight_decay=1e-5), view("bp/default/0")]

    def experiments(text):
        return [run.experiment for run in filter_runs(runs, text)]

    assert experiments("method:l2 seed:0") == experiments("method:=l2") == ["wd"]
    assert experiments("experiment:l2") == ["l2"]
    assert experiments("method:bp") == ["l2", "bp"]
    assert experiments("-method:l2") == experiments("-method:=l2") == ["l2", "bp"]
    assert {run.experiment for run in select(Snapshot(Path("runs"), tuple(runs)), ["method:l2"])} == {"wd"}


def measured(name, nulls=None, **series):
    """Return a run with the values of metrics by task. The test accuracy was not finite in the tasks `nulls`."""
    arrays = {metric: np.array(values, dtype=float) for metric, values in series.items()}
    mask = {"test_accuracy": np.isin(np.arange(len(arrays["test_accuracy"])), nulls)} if nulls else {}
    spec = {"replacement_rate": 1e-4, "metrics": ["curvature"]} if name.startswith("cbp") else {}
    return replace(view(name, **spec), series=arrays, nulls=mask)


MEASURED = [
    measured("cbp/default/0", test_accuracy=[0.5, 0.9], curvature=[3.0, np.nan]),
    measured("cbp/step_size=0.001/1", test_accuracy=[0.9, 0.5], curvature=[2.0, 1.0]),
    measured("bp/default/0", test_accuracy=[0.6, np.nan], nulls=[1]),
    measured("bp/default/1", train_loss=[-0.25]),
]
NAMES = ["cbp 0", "cbp 1", "bp 0", "bp 1"]


def names_meeting(text):
    names = dict(zip(MEASURED, NAMES, strict=True))
    return [names[run] for run in filter_runs(MEASURED, text)]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("test_accuracy<0.55", ["cbp 1"]),
        ("test_accuracy:<0.55", ["cbp 1"]),
        ("test_accuracy < 0.55", ["cbp 1"]),
        ("test_accuracy<55%", ["cbp 1"]),
        ("test_accuracy>=0.5", ["cbp 0", "cbp 1"]),
        ("test_accuracy:0.9", ["cbp 0"]),
        ("test_accuracy:90%", ["cbp 0"]),
        ("test_accuracy:0.4-0.6", ["cbp 1"]),
        ("test_accuracy<0.2,>0.8", ["cbp 0"]),
        ("-test_accuracy<0.55", ["cbp 0"]),  # runs without a value match neither way
        ("curvature:3", ["cbp 0"]),  # the last recorded value, also of an earlier task
        ("train_loss<-0.2", ["bp 1"]),
        ("step_size:0.01", NAMES),
        ("step_size:1e-2", NAMES),
        ("step_size>=0.1", []),
        ("replacement_rate<1e-3", NAMES[:2]),
        ("replacement_rate:1e-5-1e-3 seed:0", NAMES[:1]),
        ("agent:cb* test_accuracy<1", NAMES[:2]),
        ("metrics:curvature", NAMES[:2]),
        ("config.step_size:0.01 metric.test_accuracy:0.9", NAMES[:1]),
        ("method:cbp seed:0-9 test_accuracy<0.55 step_size:0.01", ["cbp 1"]),
        ("seed<1", ["cbp 0", "bp 0"]),
        ("progress>=50%", NAMES),
    ],
)
def test_conditions_compare_the_last_recorded_value_of_a_metric_and_the_keys_of_a_run(text, names):
    assert names_meeting(text) == names


def test_spec_values_of_every_type_can_be_queried():
    run = view("bp/default/0", redo_optimizer_state=True, class_order=None, dataset="Synthetic", momentum=0)
    for text in ("redo_optimizer_state:true", "dataset:synth*", "momentum:0", "-momentum>0"):
        assert filter_runs([run], text), text
    for text in ("redo_optimizer_state:1", "dataset<1", "momentum:true", "class_order:x", "-class_order:x"):
        assert not filter_runs([run], text), text


def test_runs_that_only_lack_a_value_are_counted():
    assert parse_query("test_accuracy<0.95").notes(MEASURED) == [
        "2 runs have no value of test_accuracy and cannot match"
    ]
    assert parse_query("test_accuracy<1 seed:1").notes(MEASURED) == [
        "1 run has no value of test_accuracy and cannot match"
    ]
    assert parse_query("method:cbp test_accuracy<0.95").notes(MEASURED) == []
    assert parse_query("method:cbp").notes(MEASURED) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("test_acuracy<0.5", 'unknown key "test_acuracy"; did you mean "test_accuracy"? (method, experiment,'),
        (
            "accuracy<0.5",
            'unknown key "accuracy"; did you mean "train_accuracy", "test_accuracy" or "online_accuracy"?',
        ),
        ("stepsize:0.1", 'unknown key "stepsize"; did you mean "step_size"?'),
        ("test_accuracy<half", 'test_accuracy "<half": write a number (0.5), a range (0.1-0.5) or a limit (<0.5,'),
        ("test_accuracy:high", 'test_accuracy "high": write a number'),
        ("test_accuracy<", 'test_accuracy "<": write a number'),
        ("test_accuracy:", '"test_accuracy:" names nothing, for example test_accuracy<0.5'),
        ("step_size<tiny", 'step_size "<tiny": write a number'),
        ("test_accuracy<55", 'test_accuracy "55": it is a share from 0 to 1; write 0.55 or 55%'),
        ("curvature<5%", 'curvature "5%": it is not recorded in percent; write a number (0.5)'),
        ("state<running", '"state<running": state has no order; write state:running,queued'),
    ],
)
def test_an_invalid_condition_is_refused_with_an_explanation(text, message):
    with pytest.raises(QueryError) as caught:
        parse_query(text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cpb", '; did you mean "cbp"'),
        ("test_accuracy", '; write "test_accuracy<0.5" or "test_accuracy:0.5"'),
        ("step_size=0.3", '; write "step_size<0.5" or "step_size:0.5"'),
        ("state", '; write "state:running,queued"'),
        ("step_size:0.3", "; their step_size: 0.01"),
        ("srank>2", "; 4 runs have no value of srank and cannot match"),
        ("test_accuracy>0.95", "; 2 runs have no value of test_accuracy and cannot match"),
        ("curvature>10", "; 2 runs have no value of curvature and cannot match"),
        ("method:cbp curvature>10", "; their curvature: 1, 3"),
        ("method:cbp method:bp", "; for either write method:cbp,bp"),
        ("cbp/default/seed_000 seed:1", ""),
    ],
)
def test_a_filter_without_matches_gives_advice(text, message):
    assert not names_meeting(text)
    assert hint(MEASURED, text) == message


def test_a_name_of_both_a_metric_and_a_key_is_refused_with_both_spellings(monkeypatch):
    run = replace(view("bp/default/0", twice=0.5), series={"twice": np.array([0.1])})
    monkeypatch.setattr(lookup, "metric_names", lambda: ["twice"])
    monkeypatch.setattr(lookup, "key_names", lambda: ["twice"])
    with pytest.raises(QueryError, match=r"write metric\.twice or config\.twice"):
        parse_query("twice<0.3")
    assert filter_runs([run], "metric.twice<0.3")
    assert not filter_runs([run], "config.twice<0.3")
