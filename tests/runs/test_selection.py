"""Selecting runs by name: the meaning of each form, and ambiguous names."""

import re
import shlex

import pytest

from lop_engine.errors import LaunchError
from lop_engine.runs.directory import find_runs
from lop_engine.runs.reading import RunsReader
from lop_engine.runs.selection import select
from tests.cli.test_views import lop, refused
from tests.helpers import make_run


def names_selected(runs_dir, *selectors) -> set[str]:
    return {view.dir.name.replace("seed_", "") for view in select(RunsReader(runs_dir).read(), selectors)}


def spellings(runs_dir, selector) -> list[set[str]]:
    """Return the runs selected by each spelling that the refusal of `selector` advises."""
    with pytest.raises(LaunchError) as refused:
        select(RunsReader(runs_dir).read(), [selector])
    message = str(refused.value)
    assert message.startswith(f'"{selector}" names a')
    (advised,) = re.findall(r"write (\S+) for the \w+ \(\d+ runs?\) or (\S+) for the", message)
    return [names_selected(runs_dir, *shlex.split(one)) for one in advised]


@pytest.fixture
def runs_dir(tmp_path):
    """Make two seeds of experiment `0`, an experiment named like a range of seeds, and bp with a setting named 1."""
    for name in (
        "0/default/0",
        "0/default/1",
        "3-7/default/0",
        "bp/1/5",
        "bp/default/1",
        "bp/default/0",
        "snp/default/0",
    ):
        experiment, setting, seed = name.split("/")
        make_run(tmp_path / "runs", experiment, int(seed), setting=setting, num_tasks=1)
    return tmp_path / "runs"


ZEROS = {"0/default/000", "3-7/default/000", "bp/default/000", "snp/default/000"}


@pytest.mark.parametrize(
    ("selector", "first", "second"),
    [
        ("0", {"0/default/000", "0/default/001"}, ZEROS),
        ("3-7", {"3-7/default/000"}, {"bp/1/005"}),
        ("bp/1", {"bp/1/005"}, {"bp/default/001"}),
        ("[0]", {"0/default/000", "0/default/001"}, ZEROS),
    ],
)
def test_an_ambiguous_name_is_refused_and_both_advised_spellings_work(runs_dir, selector, first, second):
    assert spellings(runs_dir, selector) == [first, second]


def test_a_pattern_that_matches_all_seeds_and_an_experiment_is_refused_as_ambiguous(runs_dir):
    assert spellings(runs_dir, "s*")[0] == {"snp/default/000"}


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("0/default", {"0/default/000", "0/default/001"}),
        ("0/*", {"0/default/000", "0/default/001"}),
        ("seed_000", ZEROS),
        ("*/*/0", ZEROS),
        ("0/0", {"0/default/000"}),
        ("5", {"bp/1/005"}),
        ("4-6", {"bp/1/005"}),
        ("3-7/default", {"3-7/default/000"}),
        ("*/*/3-7", {"bp/1/005"}),
        ("method:snp", {"snp/default/000"}),
        ("method:=SNP", {"snp/default/000"}),
        ("method:snp,bp", {"snp/default/000", "bp/default/000", "bp/default/001", "bp/1/005"}),
    ],
)
def test_unambiguous_names_select_their_runs(runs_dir, selector, names):
    assert names_selected(runs_dir, selector) == names


def test_a_path_selects_the_experiment_even_if_a_seed_has_its_name(runs_dir, monkeypatch):
    assert names_selected(runs_dir, str(runs_dir / "0")) == {"0/default/000", "0/default/001"}
    monkeypatch.chdir(runs_dir)
    assert names_selected(runs_dir, "./0") == {"0/default/000", "0/default/001"}
    assert spellings(runs_dir, "0")[1] == ZEROS
    assert names_selected(runs_dir, "bp/default/") == {"bp/default/000", "bp/default/001"}
    assert names_selected(runs_dir, "5") == {"bp/1/005"}
    monkeypatch.chdir(runs_dir / "bp")
    assert names_selected(runs_dir, "default") == {"bp/default/000", "bp/default/001"}


def test_a_name_whose_meanings_select_the_same_runs_is_accepted(tmp_path):
    make_run(tmp_path, "0", 0, num_tasks=1)
    assert names_selected(tmp_path, "0") == {"0/default/000"}
    assert names_selected(tmp_path, "*") == {"0/default/000"}


def test_an_experiment_named_like_a_method_it_does_not_train_is_distinguished_from_the_method(tmp_path):
    make_run(tmp_path, "l2", 0, num_tasks=1, spec={"agent": "bp"})
    make_run(tmp_path, "decay", 0, num_tasks=1, spec={"agent": "bp", "weight_decay": 1e-5})
    assert spellings(tmp_path, "l2") == [{"l2/default/000"}, {"decay/default/000"}]
    make_run(tmp_path, "cbp", 0, num_tasks=1)
    make_run(tmp_path, "slow", 0, num_tasks=1, spec={"agent": "cbp"})
    assert names_selected(tmp_path, "cbp") == {"cbp/default/000"}  # experiments win over methods
    assert names_selected(tmp_path, "method:cbp") == {"cbp/default/000", "slow/default/000"}


@pytest.mark.parametrize(
    "command", [["rm", "0", "--yes"], ["stop", "0"], ["show", "0"], ["logs", "0"], ["compare", "0", "bp"]]
)
def test_no_command_acts_on_an_ambiguous_name(runs_dir, monkeypatch, capsys, command):
    before = sorted(runs_dir.rglob("*"))
    output = refused(monkeypatch, capsys, *command, "--runs-dir", runs_dir)
    assert "write '0/*' for the experiment (2 runs) or '*/*/0' for the seed (4 runs)" in output
    assert sorted(runs_dir.rglob("*")) == before


def test_each_spelling_removes_what_it_names(runs_dir):
    for spelling, left in (("0/*", 5), ("*/*/0", 2)):
        assert "removed" in lop("rm", spelling, "--yes", "--runs-dir", runs_dir)
        assert len(list(find_runs(runs_dir))) == left
