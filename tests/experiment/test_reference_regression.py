"""Files of the reference for Slowly-Changing Regression are trained as its code trains them, with notes that say so."""

import json
from pathlib import Path

import pytest

from lop_engine.errors import ConfigError
from lop_engine.experiment.run import load_runs

FILES = {
    name.removeprefix("slowly_changing_regression/"): content
    for name, content in json.loads((Path(__file__).parent / "reference_files.json").read_text()).items()
    if name.startswith("slowly_changing_regression/")
}
CBP = FILES["sgd/cbp/relu.json"]


def load(tmp_path, content, **overrides):
    path, notes = tmp_path / "x.json", []
    path.write_text(json.dumps(content))
    runs = load_runs(path, overrides=overrides, notes=notes)
    return runs, [note.removeprefix(f"{path}: ") for note in notes]


def test_a_cbp_file_of_the_reference_has_maturity_10_and_random_replacement(tmp_path):
    runs, notes = load(tmp_path, CBP)
    spec = runs[0].spec
    assert len(runs) == 5
    assert (spec.maturity_threshold, spec.accrual, spec.flip_one) == (10, "bernoulli", False)
    assert (spec.num_features, spec.activation, spec.util_type) == (5, "relu", "adaptable_contribution")
    assert any(note.startswith("maturity_threshold 100 runs as 10, as in the reference") for note in notes)
    assert any(note.startswith("budget_accrual is bernoulli") for note in notes)
    assert any(note.startswith("without flip_one all slow bits are drawn anew") for note in notes)


@pytest.mark.parametrize(("accumulate", "accrual"), [(True, "eligible"), (False, "bernoulli")])
def test_the_keys_mt_and_accumulate_are_read(tmp_path, accumulate, accrual):
    runs, notes = load(tmp_path, CBP | {"mt": 50, "maturity_threshold": 50, "accumulate": accumulate})
    assert (runs[0].spec.maturity_threshold, runs[0].spec.accrual) == (50, accrual)
    assert not any("runs as" in note for note in notes)


def test_adam_with_cbp_runs_as_the_adam_of_the_reference(tmp_path):
    runs, notes = load(tmp_path, CBP | {"opt": "adam", "weight_decay": 0.1})
    assert runs[0].spec.opt == "adam_gnt"
    assert any(note.startswith("opt adam runs as adam_gnt") for note in notes)
    assert "left out: weight_decay, which the reference's cbp does not read" in notes
    assert load(tmp_path, FILES["adam/bp/linear.json"])[0][0].spec.opt == "adam"


def test_overrides_win_over_the_reference_s_behaviour(tmp_path):
    runs, _ = load(tmp_path, CBP, maturity_threshold=100, budget_accrual="eligible", flip_one=True)
    assert {(run.spec.maturity_threshold, run.spec.accrual, run.spec.flip_one) for run in runs} == {
        (100, "eligible", True)
    }


def test_the_number_of_tasks_is_the_number_of_blocks(tmp_path):
    assert load(tmp_path, FILES["flip_one/relu.json"])[0][0].spec.num_tasks == 300
    assert load(tmp_path, CBP | {"num_data_points": 25_000})[0][0].spec.num_tasks == 3
    with pytest.raises(ConfigError, match='"num_data_points" and "flip_after": should be numbers above 0'):
        load(tmp_path, CBP | {"num_data_points": "many"})


def test_a_file_of_lop_follows_the_paper():
    spec = load_runs(Path("scr/cbp"))[0].spec
    assert (spec.maturity_threshold, spec.accrual, spec.flip_one) == (100, "eligible", True)


def test_an_unsupported_initialisation_is_refused(tmp_path):
    with pytest.raises(ConfigError, match='key "init": lecun: lop only has kaiming'):
        load(tmp_path, CBP | {"init": "lecun"})
