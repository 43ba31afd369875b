"""Sweeps, names of settings, seeds and overrides: valid and refused input."""

import json
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lop_engine.errors import ConfigError
from lop_engine.experiment.run import load_runs
from lop_engine.experiment.sweep import describe_seeds, expand_sweep, parse_overrides, parse_seeds
from tests.experiment.conftest import SMALL


def test_a_sweep_is_the_cartesian_product_in_file_order(load):
    runs = load({"opt": ["sgd", "adam"]} | SMALL | {"step_size": [0.1, 1e-05], "weight_decay": [0]}, seeds=[4, 2])
    assert [run.name for run in runs[::2]] == [
        "bp/opt=sgd,step_size=0.1,weight_decay=0/4",
        "bp/opt=sgd,step_size=1e-05,weight_decay=0/4",
        "bp/opt=adam,step_size=0.1,weight_decay=0/4",
        "bp/opt=adam,step_size=1e-05,weight_decay=0/4",
    ]
    assert [run.seed for run in runs[:2]] == [4, 2]
    assert [(run.spec.opt, run.spec.step_size) for run in runs[2:6:2]] == [("sgd", 1e-05), ("adam", 0.1)]


def test_without_a_list_the_setting_is_default(load):
    assert [run.name for run in load(SMALL)] == ["bp/default/0"]


def test_different_settings_have_different_names(load, mistake):
    runs = load(SMALL | {"step_size": [0.1, 0.10000001]})
    assert [run.setting for run in runs] == ["step_size=0.1", "step_size=0.10000001"]
    message = mistake(SMALL | {"step_size": [0.5, 1, 1.0]})
    assert message == 'key "step_size" sweeps over 1 twice: [0.5, 1, 1.0]'


def test_names_are_safe_as_directories(load):
    (run,) = load(SMALL | {"data_dir": ["../a b/c"]})
    assert run.setting == "data_dir=.._a_b_c"


def test_an_override_replaces_and_sweeps(load):
    runs = load(SMALL | {"step_size": [1, 2]}, overrides={"step_size": 0.5, "num_tasks": [3, 4]})
    assert [(run.setting, run.spec.step_size) for run in runs] == [("num_tasks=3", 0.5), ("num_tasks=4", 0.5)]


def test_a_mistake_in_an_override_is_not_reported_as_one_of_the_file(load):
    for overrides, message in [
        ({"num_task": 3}, '--set: unknown key "num_task" (value 3); did you mean "num_tasks"?'),
        ({"num_tasks": "x"}, '--set: key "num_tasks": "x": should be a whole number'),
        ({"num_tasks": []}, '--set: key "num_tasks" sweeps over an empty list; give at least one value'),
    ]:
        with pytest.raises(ConfigError) as error:
            load(SMALL, overrides=overrides)
        assert str(error.value) == message


def test_a_sweep_that_is_too_large_is_refused_at_once(mistake):
    values = [n / 1000 + 0.001 for n in range(50)]
    keys = ["step_size", "momentum", "weight_decay", "perturb_scale", "replacement_rate", "decay_rate"]
    assert "makes more than 100000 settings" in mistake(SMALL | {"agent": ["snp", "cbp"]} | dict.fromkeys(keys, values))
    assert "more than 100000 runs" in mistake(SMALL | {"num_runs": 10**9})
    assert "more than 100000 runs" in mistake(SMALL | {"num_runs": 99_999, "momentum": [0, 0.9]})
    assert "too long for a directory" in mistake(SMALL | {"data_dir": ["x" * 300]})


def test_expand_sweep_does_not_change_its_argument():
    raw = {"a": [1, 2], "b": "x"}
    settings = expand_sweep(raw, "here", {}, takes_list=lambda key: False)
    assert [setting.name({"a"}, "here") for setting in settings] == ["a=1", "a=2"]
    assert [setting.values for setting in settings] == [{"a": 1, "b": "x"}, {"a": 2, "b": "x"}]
    assert raw == {"a": [1, 2], "b": "x"}


@pytest.mark.parametrize(
    "text", ["", "0", "a", "-1", "1-", "5-3", ",", "1,,2", "1.5", "3 ", "1-2-3", "1e3", "٣", "0-9999999", "9999999"]
)  # fmt: skip
def test_invalid_seeds_are_refused(text):
    with pytest.raises(ConfigError) as error:
        parse_seeds(text)
    assert str(error.value).startswith(f'--seeds "{text}": ')


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.sets(st.integers(0, 40), min_size=1))
def test_formatted_seeds_parse_to_the_same_seeds(seeds):
    assert parse_seeds(describe_seeds(seeds)) == sorted(seeds)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text("0123456789,- ", max_size=12) | st.text())
def test_any_seeds_are_read_or_refused(text):
    try:
        seeds = parse_seeds(text)
    except ConfigError:
        return
    assert seeds == sorted(set(seeds))
    assert seeds


def test_overrides_are_parsed_as_json_or_text():
    assert parse_overrides(
        ["num_tasks=50", "step_size=[0.1, 0.2]", "agent=cbp", " data_dir =a=b", "new_heads=false", "dataset="]
    ) == {
        "num_tasks": 50,
        "step_size": [0.1, 0.2],
        "agent": "cbp",
        "data_dir": "a=b",
        "new_heads": False,
        "dataset": "",
    }
    deep = "[" * 100_000
    assert parse_overrides([f"dataset={deep}"]) == {"dataset": deep}


@pytest.mark.parametrize("assignment", ["num_tasks", "=5", " =5", ""])
def test_invalid_overrides_are_refused(assignment):
    with pytest.raises(ConfigError) as error:
        parse_overrides([assignment])
    assert str(error.value) == f'--set "{assignment}": write key=value, for example --set num_tasks=50'


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("data_dir", ["a/b", "a_b", "a b", "a+b"]),
        ("data_dir", ["\x7f".replace("\x7f", "?"), "*", "_"]),
        ("model_version", ["1", 1, "1.5", 1.5, "True"]),
        ("model_version", [1e16, "1e+16", 1e-5, "1e-05"]),
        ("step_size", [0.1, 0.1 + 2**-55, 0.30000000000000004, 0.3, 1e9, 1e10]),
        ("weight_decay", [0.0, 5e-324, 1]),
        ("new_heads", [True, 0]),
    ],
)
def test_different_values_have_different_names_in_any_order(load, key, values):
    names = {}
    for order in (values, values[::-1]):
        runs = load(SMALL | {key: order})
        values_by_name = {run.setting: getattr(run.spec, key) for run in runs}
        assert len(values_by_name) == len(values)
        assert all(re.fullmatch(r"[\w.+=-]+", setting) for setting in values_by_name)
        assert not names or names == values_by_name
        names = values_by_name


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.floats(0, 1e300, exclude_min=True) | st.integers(1, 10**12), min_size=1, max_size=6))
def test_a_sweep_has_a_name_for_each_number_or_is_refused_for_equal_ones(values):
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "x.json"
        path.write_text(json.dumps(SMALL | {"step_size": values}))
        if len({float(value) for value in values}) < len(values):
            with pytest.raises(ConfigError, match='key "step_size" sweeps over'):
                load_runs(path)
        else:
            assert len({run.setting for run in load_runs(path)}) == len(values)


def test_names_of_ordinary_values_are_unchanged(load):
    swept = {
        "step_size": ([0.01, 1, 2.0, 1e-05, 1e16], ["0.01", "1", "2", "1e-05", "1e+16"]),
        "new_heads": ([True, False], ["True", "False"]),
        "data_dir": (["a b", "c/d", "e"], ["a_b", "c_d", "e"]),
        "data_file": (["a b", "a_b"], None),
    }
    for key, (values, names) in swept.items():
        settings = [run.setting for run in load(SMALL | {key: values})]
        if names:
            assert settings == [f"{key}={name}" for name in names]
        else:
            assert settings[1] == f"{key}=a_b"


@pytest.mark.parametrize(
    ("key", "values", "error"),
    [
        ("new_heads", [True, 1], "true and 1"),
        ("new_heads", [0, False], "0 and false"),
        ("step_size", [0.5, 1, 1.0], "1 twice: [0.5, 1, 1.0]"),
        ("weight_decay", [0.0, -0.0], "0 twice: [0.0, -0.0]"),
        ("opt", ["adamw", "adamW"], '"adamw" and "adamW"'),
        ("data_dir", ["x" * 70, "y", "x" * 70], "x" * 70),
        ("num_tasks", [3, 1000000000, 1e9], "1000000000 and 1000000000.0"),
    ],
)
def test_equal_values_are_refused_and_both_are_shown(mistake, key, values, error):
    message = mistake(SMALL | {"mini_batch_size": [10, 20], key: values})
    assert message.startswith(f'key "{key}" sweeps over ')
    assert error in message
