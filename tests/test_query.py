"""The filter language, over runs made for it."""

import string
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lop_engine.errors import QueryError
from lop_engine.runs.directory import RunDir
from lop_engine.runs.query import KEYS, STATES, filter_runs, parse_query
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


def found(text):
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
def test_a_filter_finds(text, names):
    assert found(text) == names


def test_an_empty_filter_finds_everything():
    assert parse_query("  \t").is_empty
    assert len(found("")) == len(VIEWS)
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
def test_a_mistake_is_explained(text, message):
    with pytest.raises(QueryError) as caught:
        parse_query(text)
    assert message in str(caught.value)


def test_every_state_and_key_can_be_asked_for():
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
def test_any_text_is_a_filter_or_a_query_error(text):
    try:
        query = parse_query(text)
    except QueryError:
        return
    for run in VIEWS:
        query.matches(run)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(words)
def test_a_word_and_its_negation_divide_the_runs(word):
    try:
        plain, negated = found(word), found(f"-{word}")
    except QueryError:
        return
    if not word.startswith("-"):
        assert sorted(plain + negated) == sorted(found(""))


def test_a_method_is_what_the_spec_says_and_an_experiment_what_its_file_is_called():
    runs = [view("l2/default/0", agent="bp"), view("wd/default/0", agent="bp", weight_decay=1e-5), view("bp/default/0")]

    def experiments(text):
        return [run.experiment for run in filter_runs(runs, text)]

    assert experiments("method:l2 seed:0") == experiments("method:=l2") == ["wd"]
    assert experiments("experiment:l2") == ["l2"]
    assert experiments("method:bp") == ["l2", "bp"]
    assert experiments("-method:l2") == experiments("-method:=l2") == ["l2", "bp"]
    assert {run.experiment for run in select(Snapshot(Path("runs"), tuple(runs)), ["method:l2"])} == {"wd"}
