"""Experiment files: valid contents, defaults, and the message for every mistake."""

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lop_engine.errors import ConfigError
from lop_engine.experiment.parts import Experiment
from lop_engine.experiment.registry import REGISTRIES
from lop_engine.experiment.run import load_runs
from lop_engine.experiment.spec import Spec, validate
from lop_engine.experiment.sweep import parse_seeds, read_config
from tests.experiment.conftest import SMALL

REFERENCE = {
    "_comment": "as the reference writes it",
    "_comment_runs": ["30 runs", {"in": "the paper"}],
    "agent": "cbp",
    "opt": "sgd",
    "step_size": [0.01, 0.001, 1e-4],
    "momentum": 0.9,
    "weight_decay": 0,
    "perturb_scale": 0,
    "replacement_rate": 3e-4,
    "decay_rate": 0.99,
    "util_type": "adaptable_contribution",
    "maturity_threshold": 100,
    "net_type": 1,
    "num_tasks": 5e3,
    "num_classes": 2,
    "num_showings": 250,
    "mini_batch_size": 100,
    "new_heads": 1,
    "num_runs": 30,
    "use_gpu": 1,
    "run_idx": 0,
    "data_dir": "data/cbp/",
    "data_file": "output.pkl",
    "model_version": 1,
}


def test_a_file_of_the_reference_is_read_unchanged(load):
    runs = load(REFERENCE)
    assert len(runs) == 3 * 30
    assert [run.setting for run in runs[::30]] == ["step_size=0.01", "step_size=0.001", "step_size=0.0001"]
    assert [run.seed for run in runs[:30]] == list(range(30))
    assert {run.experiment for run in runs} == {"bp"}
    spec = runs[30].spec
    of_no_part = ("_comment", "_comment_runs", "perturb_scale")
    stated = {key: value for key, value in REFERENCE.items() if key not in of_no_part}
    assert {key: getattr(spec, key) for key in stated} == stated | {"step_size": 0.001}
    assert type(spec.num_tasks) is int
    assert spec.new_heads is True


def test_the_defaults_are_those_of_the_reference(load):
    spec = load(SMALL | {"agent": "cbp"})[0].spec
    assert load(SMALL | {"agent": "snp"})[0].spec.perturb_scale == 0
    defaults = {
        "opt": "sgd", "momentum": 0, "weight_decay": 0, "replacement_rate": 1e-4,
        "decay_rate": 0.99, "util_type": "contribution", "maturity_threshold": 100, "net_type": 1, "num_classes": 2,
        "mini_batch_size": 100, "new_heads": True, "num_runs": 1, "normalisation": "auto",
        "problem": "continual_imagenet", "network": "conv_net",
    }  # fmt: skip
    assert {key: getattr(spec, key) for key in defaults} == defaults


@pytest.mark.parametrize(
    ("keys", "method"),
    [
        ({"agent": "bp"}, "bp"),
        ({"agent": "l2", "weight_decay": 3e-6}, "l2"),
        ({"agent": "bp", "weight_decay": 3e-6}, "l2"),
        ({"agent": "snp", "weight_decay": 1e-5, "perturb_scale": 1e-5}, "snp"),
        ({"agent": "bp", "weight_decay": 1e-5, "perturb_scale": 1e-5}, "snp"),
        ({"agent": "bp", "perturb_scale": 1e-5}, "snp"),
        ({"agent": "cbp"}, "cbp"),
        ({"agent": "cbp", "net_type": 2}, "cbp2"),
        ({"agent": "cbp", "net_type": 2.0, "weight_decay": 1e-5}, "cbp2"),
        ({"agent": "linear"}, "linear"),
    ],
)
def test_the_method_follows_from_agent_or_other_keys(keys, method):
    assert validate(SMALL | keys, "here").method == method


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"stepsize": 1}, 'unknown key "stepsize" (value 1); did you mean "step_size"?'),
        ({"Momentum": 1}, 'unknown key "Momentum" (value 1); did you mean "momentum"?'),
        ({"zzz": [1, 2]}, 'unknown key "zzz" (value [1, 2])'),
        ({"a\nb\ud800": 1}, r'unknown key "a\nb\ud800" (value 1)'),
        ({"step_size": -1}, 'key "step_size": -1: should be greater than 0'),
        ({"step_size": [0.1, -1]}, 'key "step_size": -1: should be greater than 0'),
        ({"step_size": "0.1"}, 'key "step_size": "0.1": should be a number; write it without the quotes'),
        ({"step_size": "big"}, 'key "step_size": "big": should be a number'),
        ({"step_size": True}, 'key "step_size": true: should be a number'),
        ({"step_size": None}, 'key "step_size": null: should be a number'),
        ({"step_size": {"a": 1}}, 'key "step_size": {"a": 1}: should be one value, or one list to sweep over'),
        ({"step_size": [[1]]}, 'key "step_size": [1]: should be one value, or one list to sweep over'),
        ({"step_size": []}, 'key "step_size" sweeps over an empty list; give at least one value'),
        ({"step_size": float("nan")}, 'key "step_size": NaN: should be a finite number'),
        ({"step_size": float("inf")}, 'key "step_size": Infinity: should be a finite number'),
        ({"step_size": 10**400}, f'key "step_size": {"1" + "0" * 56}...: should be a number'),
        ({"num_tasks": 2.5}, 'key "num_tasks": 2.5: should be a whole number'),
        ({"num_tasks": "5"}, 'key "num_tasks": "5": should be a whole number; write it without the quotes'),
        ({"num_tasks": True}, 'key "num_tasks": true: should be a whole number'),
        ({"num_tasks": 0}, 'key "num_tasks": 0: should be at least 1'),
        ({"num_tasks": 10**10}, 'key "num_tasks": 10000000000: should be at most 1000000000'),
        ({"num_tasks": 1e300}, 'key "num_tasks": 1e+300: should be at most 1000000000'),
        ({"momentum": 1}, 'key "momentum": 1: should be less than 1'),
        ({"agent": "cbp", "replacement_rate": 1.5}, 'key "replacement_rate": 1.5: should be at most 1'),
        ({"agent": "bpp"}, 'key "agent": "bpp": should be a name that lop methods lists; did you mean "bp"?'),
        ({"opt": "ADAM"},
         'key "opt": "ADAM": should be one of sgd, rmsprop, adam, adamW, adam_gnt, muon; did you mean "adam"?'),
        ({"opt": 3}, 'key "opt": 3: should be one of sgd, rmsprop, adam, adamW, adam_gnt, muon'),
        ({"agent": "cbp", "net_type": 3}, 'key "net_type": 3: should be one of 1, 2'),
        (
            {"agent": "cbp", "net_type": "2"},
            'key "net_type": "2": should be one of 1, 2; write it without the quotes',
        ),
        ({"agent": "cbp", "net_type": True}, 'key "net_type": true: should be a whole number'),
        ({"new_heads": 2}, 'key "new_heads": 2: should be true or false'),
        ({"new_heads": "true"}, 'key "new_heads": "true": should be true or false; write it without the quotes'),
        ({"data_dir": 5}, 'key "data_dir": 5: should be a string'),
        ({"dataset": "\ud800"}, r'key "dataset": "\ud800": holds a character that cannot be printed'),
        ({"model_version": None}, 'key "model_version": null: should be a string'),
        ({"num_tasks": 0, "momentum": -1, "width": 0}, 'key "num_tasks": 0: should be at least 1 (and 2 more)'),
    ],
)  # fmt: skip
def test_a_message_names_the_key_the_value_and_what_is_valid(mistake, keys, message):
    assert mistake(SMALL | keys) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; an experiment file is one JSON object"),
        (" \n", "is empty; an experiment file is one JSON object"),
        ("{}", 'key "agent" is missing'),
        ('{"agent": "bp"}', 'key "step_size" is missing (and 2 more)'),
        ("[1]", "an experiment file must be one JSON object, not a list"),
        ("null", "an experiment file must be one JSON object, not null"),
        ('"bp"', "an experiment file must be one JSON object, not a string"),
        ("true", "an experiment file must be one JSON object, not true or false"),
        ("1.5", "an experiment file must be one JSON object, not a number"),
        ('{"a": 1,\n "a": 2}', 'duplicate key "a"'),
        ('{\n  "a" 1\n}', "line 2, column 7: not valid JSON: Expecting ':' delimiter"),
        ('{"a": 1 "b": 2}', "line 1, column 9: not valid JSON: Expecting ',' delimiter"),
        ('{"a": 1} x', "line 1, column 10: not valid JSON: Extra data"),
        ("[" * 100_000, "nested too deeply to be an experiment file"),
        ('{"step_size":' * 100_000, "nested too deeply to be an experiment file"),
        ('{"step_size": ' + "1" * 5000 + "}", "holds a number with thousands of digits"),
        ("\0\0\0", "line 1, column 1: not valid JSON: Expecting value"),
    ],
    ids=lambda text: text[:20],
)
def test_a_file_that_is_not_a_json_object_is_refused(mistake, text, message):
    assert mistake(text) == message


def test_comments_may_be_duplicated_and_contain_anything(load):
    text = '{"_comment": 1, "_comment": NaN, "_comment2": {"a": [[]]}, ' + json.dumps(SMALL)[1:]
    assert load(text)[0].spec == Spec(**SMALL)


def test_a_byte_order_mark_is_ignored(load):
    assert len(load("\ufeff" + json.dumps(SMALL))) == 1


def test_a_misspelt_key_is_named_before_a_missing_one(mistake):
    content = {key: value for key, value in SMALL.items() if key != "num_showings"} | {"num_showing": 2}
    assert mistake(content) == 'unknown key "num_showing" (value 2); did you mean "num_showings"?'
    with pytest.raises(ConfigError, match=r'^here: unknown key "num_showing"'):
        validate(content, "here")


def test_unreadable_files_are_refused(path, tmp_path):
    path.write_text("{}")
    for name, message in [
        ("pb.json", 'no such file; did you mean "bp.json"?'),
        ("nowhere/x.json", "no such file"),
        ("", "cannot be read: Is a directory"),
        ("bp.json/x.json", "cannot be read: Not a directory"),
    ]:
        with pytest.raises(ConfigError) as error:
            load_runs(tmp_path / name)
        assert str(error.value) == f"{tmp_path / name}: {message}"
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ConfigError, match="cannot be read: not UTF-8 text"):
        load_runs(path)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


KEYS = {"opt", *Experiment.model_fields} | {
    key for registry in REGISTRIES.values() for one in registry.values() for key in one.fields.model_fields
}


any_key = st.sampled_from(sorted(KEYS)) | st.text(st.characters(), max_size=5)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(json_values | st.dictionaries(any_key, json_values, max_size=5).map(lambda keys: SMALL | keys))
@example(SMALL | {"num_runs": 2**63})
def test_any_json_is_read_or_refused(content):
    read_or_refused(json.dumps(content).encode())


@pytest.mark.parametrize("depth", range(50, 1000, 50))
def test_nested_lists_of_any_depth_are_refused(mistake, depth):
    for key in ["step_size", "stepsize"]:
        text = json.dumps(SMALL | {"step_size": 1, key: "HERE"}).replace('"HERE"', "[" * depth + "]" * depth)
        assert mistake(text)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text() | st.binary() | st.text('{}[]",:0123.eE-+ntfNI\\u'))
def test_any_text_is_read_or_refused(content):
    read_or_refused(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))


def read_or_refused(content):
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "x.json"
        path.write_bytes(content)
        try:
            runs = load_runs(path)
        except ConfigError as error:
            message = str(error)
            assert message.startswith(f"{path}: ")
            assert message.isprintable()
            return
        # An accepted spec can be written and read again.
        for run in runs[:3]:
            again = json.loads(json.dumps(run.spec.to_dict()))
            assert validate(again, "again") == run.spec
            run.setting.encode()


def test_read_config_drops_comments_and_keeps_the_order(path):
    path.write_text('{"b": [1], "_comment": 0, "_commentary": 1, "a": 2}')
    assert list(read_config(path).items()) == [("b", [1]), ("a", 2)]


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("3", [0, 1, 2]),
        ("1", [0]),
        ("7,", [7]),
        ("0,3,5-9", [0, 3, 5, 6, 7, 8, 9]),
        ("9,2-3, 3", [2, 3, 9]),
        ("4-4", [4]),
        ("1000000,", [1_000_000]),
    ],
)
def test_seeds_are_parsed_from_numbers_ranges_and_counts(text, seeds):
    assert parse_seeds(text) == seeds
    assert parse_seeds("100000") == list(range(100_000))


def test_a_file_of_the_reference_s_generator_trains_its_own_seed(load, tmp_path):
    generated = SMALL | {
        "num_runs": 30,
        "index": 4,
        "run_idx": "7",
        "data_dir": "data/bp/4/",
        "data_file": "data/bp/4/7",
    }
    notes: list[str] = []
    (run,) = load(generated, notes=notes)
    assert run.seed == 7
    assert run.setting == "default"
    assert notes == [f"{tmp_path / 'bp.json'}: only seed 7 (run_idx) is trained; use --seeds 30 for all"]
    notes.clear()
    assert [run.seed for run in load(generated, seeds=[0, 1], notes=notes)] == [0, 1]
    assert notes == [f"{tmp_path / 'bp.json'}: --seeds replaces the file's seed 7 (run_idx)"]
    notes.clear()
    load(generated, seeds=[7], notes=notes)
    assert not notes
    assert [run.seed for run in load(SMALL | {"num_runs": 3, "run_idx": 0})] == [0, 1, 2]


def test_adamw_may_be_written_in_any_case(load):
    assert {load(SMALL | {"opt": word})[0].spec.opt for word in ("adamw", "AdamW", "ADAMW", "adamW")} == {"adamW"}
    assert load(SMALL | {"opt": "adamw"})[0].spec.to_dict()["opt"] == "adamW"


def test_momentum_is_refused_for_optimisers_without_it(load):
    notes: list[str] = []
    runs = load(SMALL | {"opt": ["adam", "adamw", "sgd"], "momentum": [0, 0.9]}, notes=notes)
    assert [run.setting for run in runs] == ["opt=adam", "opt=adamw", "opt=sgd,momentum=0", "opt=sgd,momentum=0.9"]
    assert not notes


def test_every_key_that_begins_with_an_underscore_is_a_comment(load):
    content = SMALL | {"_": 1, "_note": [1, {"a": 2}], "__doc__": "x", "_step_size": [1, 2]}
    assert [run.spec for run in load(content, overrides={"_why": "tried"})] == [Spec(**SMALL)]


@pytest.mark.parametrize(
    ("key", "ours"),
    [
        ("lr", "step_size"), ("learning_rate", "step_size"), ("LearningRate", "step_size"),
        ("learning-rate", "step_size"),
        ("batch_size", "mini_batch_size"), ("epochs", "num_showings"), ("seed", "num_runs"), ("seeds", "num_runs"),
        ("wd", "weight_decay"), ("optimizer", "opt"),
        ("stpe_size", "step_size"), ("num_task", "num_tasks"), ("weightdecay", "weight_decay"), ("agnet", "agent"),
        ("dropout", None), ("rate", None), ("gamma", None), ("layers", None), ("x", None), ("size", None),
        ("features", None), ("hidden", None), ("type", None), ("scale", None), ("decay", None),
    ],
)  # fmt: skip
def test_an_unknown_key_has_a_hint_only_if_it_resembles_a_key_or_is_known_elsewhere(mistake, key, ours):
    hint = f'; did you mean "{ours}"?' if ours else ""
    message = mistake(SMALL | {key: 3})
    assert message.startswith(f'unknown key "{key}" (value 3){hint}')
    assert ours or "did you mean" not in message


def test_unknown_keys_are_named_in_one_message(load, tmp_path):
    with pytest.raises(ConfigError) as error:
        load(SMALL | {"lr": 0.1, "zzz": [1, 2], "momentun": 0.5}, overrides={"epochs": 3})
    assert str(error.value) == (
        f'{tmp_path / "bp.json"}: 3 unknown keys: "lr" (value 0.1, did you mean "step_size"?), "zzz" (value [1, 2]), '
        '"momentun" (value 0.5, did you mean "momentum"?); --set: unknown key "epochs" (value 3); '
        'did you mean "num_showings"?'
    )
    with pytest.raises(ConfigError, match=r"30 unknown keys: .* and 10 more$"):
        load(SMALL | {f"zzz{number}": 1 for number in range(30)})
