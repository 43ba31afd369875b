"""Keys of an experiment file: which component owns each, which have an effect, and sweeps over components."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import Field

from lop_engine.errors import ConfigError
from lop_engine.experiment.components import Method, Network
from lop_engine.experiment.fields import Fields
from lop_engine.experiment.problems import CONTINUAL_IMAGENET
from lop_engine.experiment.registry import METHODS, NETWORKS, PROBLEMS
from lop_engine.experiment.run import load_runs
from lop_engine.experiment.spec import Spec, validate

SMALL = {"agent": "bp", "step_size": 0.01, "num_tasks": 10, "num_showings": 2}
REFERENCE_FILES = json.loads((Path(__file__).parent / "reference_files.json").read_text())


@pytest.fixture
def load(tmp_path):
    """Return a function that writes an experiment file and reads it; `load.notes` has the notes of the last file."""

    def load(content, name="x.json", **overrides):
        path = tmp_path / name
        path.write_text(json.dumps(content))
        notes = []
        runs = load_runs(path, overrides=overrides, notes=notes)
        load.notes = [note.removeprefix(f"{path}: ") for note in notes]
        return runs

    load.notes = []
    return load


@pytest.fixture
def mistake(load, tmp_path):
    def mistake(content, **overrides):
        with pytest.raises(ConfigError) as error:
            load(content, **overrides)
        assert "\n" not in str(error.value)
        return str(error.value).replace(f"{tmp_path}/", "")

    return mistake


class Damping(Fields):
    damping: float = Field(0.5, ge=0)


class Activation(Fields):
    activation: str = "relu"


@pytest.fixture
def temporary_components(monkeypatch):
    """Register a method with its own field, one with a field of the ConvNet, one with its own update, and a network."""
    code = "lop_engine.methods.method:Method"
    for one in (
        Method(name="damped", title="damped", fields=Damping, code=code),
        Method(name="clashing", title="clashing", fields=Activation, code=code),
        Method(name="own", title="own update", fields=Damping, has_own_update=True, code=code),
    ):
        monkeypatch.setitem(METHODS.by_name, one.name, one)
    net = Network(
        name="damped_net",
        title="damped net",
        fields=Damping,
        provides=frozenset({"hidden units"}),
        code="lop_engine.networks.linear:build",
        num_hidden=lambda own: 1,
    )
    monkeypatch.setitem(NETWORKS.by_name, net.name, net)


def test_two_components_with_the_same_key_are_both_named(temporary_components, mistake):
    assert mistake(SMALL | {"agent": "clashing", "activation": "tanh"}) == (
        'x.json: key "activation" belongs to both network conv_net and agent clashing; one must rename it'
    )
    message = mistake(SMALL | {"agent": "damped", "network": "damped_net"})
    assert "network damped_net and agent damped" in message
    with pytest.raises(ConfigError, match="both network conv_net and agent clashing"):
        Spec(**SMALL | {"agent": "clashing"})
    # Methods may share the name of a key, because only one method is chosen.
    assert Spec(**SMALL | {"agent": "damped", "damping": 2.0}).damping == 2
    assert Spec(**SMALL | {"agent": "own", "damping": 3.0}).damping == 3


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"agent": "cbp", "redo_scores": "train"},
            "redo_scores belongs to agent redo; this file's agent is cbp",
        ),
        (
            {"damping": 1.0, "decay_rate": 0.5, "num_features": 5, "beta_1": 0.5},
            "damping belongs to network damped_net and agent damped and agent own; "
            "decay_rate belongs to agent cbp; num_features belongs to network mlp; "
            "beta_1 belongs to agent adaupgd and opt adam and opt adamW and opt adam_gnt and opt muon; "
            "this file's network is conv_net and agent is bp and opt is sgd",
        ),
        (
            {"agent": ["bp", "l2"], "weight_decay": 0, "decay_rate": 0.5},
            "decay_rate belongs to agent cbp; this file's agent is bp, l2",
        ),
        (
            {"agent": "own", "opt": "sgd", "momentum": 0.9},
            "opt belongs to agents that use an optimiser; momentum belongs to opt sgd and opt rmsprop; "
            "this file's agent is own, which has its own update",
        ),
    ],
)  # fmt: skip
def test_keys_of_other_components_are_refused_with_their_owners(temporary_components, mistake, keys, message):
    assert mistake(SMALL | keys) == f"x.json: {message}"


def test_messages_distinguish_keys_of_the_file_and_of_set(mistake):
    assert mistake(SMALL | {"decay_rate": 0.5}, num_features=3) == (
        "x.json: decay_rate belongs to agent cbp; this file's agent is bp; "
        "--set: num_features belongs to network mlp; this file's network is conv_net"
    )


def test_a_message_about_an_option_s_key_names_the_option(monkeypatch, load, tmp_path):
    plain = replace(CONTINUAL_IMAGENET, name="plain", fields=Fields, claims="")
    monkeypatch.setitem(PROBLEMS.by_name, "plain", plain)
    load(SMALL | {"problem": "plain"})
    with pytest.raises(ConfigError) as error:
        load_runs(tmp_path / "x.json", overrides={"dataset": "/images"}, options={"dataset": "--data"})
    assert str(error.value) == (
        "--data: dataset belongs to problem continual_imagenet and problem permuted_mnist; this file's problem is plain"
    )


def test_keys_without_effect_are_dropped_with_a_note_from_files_of_the_reference(load, mistake):
    marked = SMALL | {"num_runs": 2, "replacement_rate": 1e-4, "perturb_scale": 0, "net_type": 1}
    assert {run.spec for run in load(marked)} == {Spec(**SMALL, num_runs=2)}
    assert load.notes == [
        "left out: replacement_rate belongs to agent cbp and agent cbp2; net_type belongs to agent cbp and agent cbp2; "
        "this file's agent is bp"
    ]
    # A value that switches nothing on needs no note; lop's own keys and those of --set are always refused.
    assert load(SMALL | {"perturb_scale": 0, "replacement_rate": 0})
    assert not load.notes
    assert "redo_scores belongs to agent redo" in mistake(marked | {"redo_scores": "train"})
    assert mistake(marked, replacement_rate=0.5) == (
        "--set: replacement_rate belongs to agent cbp and agent cbp2; this file's agent is bp"
    )
    assert mistake(SMALL, replacement_rate=0).startswith("--set: replacement_rate belongs to")


def test_a_hint_prefers_keys_of_the_file_and_else_names_the_owner(mistake):
    assert mistake(SMALL | {"momentun": 0.9}).endswith('; did you mean "momentum"?')
    assert mistake(SMALL | {"replacment_rate": 0.1}).endswith(
        '; did you mean "replacement_rate" of agent cbp and agent cbp2?'
    )
    owners = "agent adaupgd and opt adam and opt adamW and opt adam_gnt and opt muon"
    assert mistake(SMALL | {"beta1": 0.9}).endswith(f'; did you mean "beta_1" of {owners}?')
    assert mistake(SMALL | {"opt": "adam", "beta1": 0.9}).endswith('; did you mean "beta_1"?')
    assert mistake(SMALL | {"hidden_activation": "tanh"}).endswith('; did you mean "activation"?')
    assert mistake(SMALL | {"noise_std": 0.1}).endswith('; did you mean "perturb_scale"?')


@pytest.mark.parametrize("name", REFERENCE_FILES)
def test_the_reference_s_files_are_recognised(name, load, mistake):
    problem, title = {
        "imagenet": ("continual_imagenet", "Continual ImageNet"),
        "permuted_mnist": ("permuted_mnist", "Online Permuted MNIST"),
        "slowly_changing_regression": ("slowly_changing_regression", "Slowly-Changing Regression"),
        "incremental_cifar": ("incremental_cifar", "Class-Incremental CIFAR-100"),
    }[name.partition("/")[0]]
    content = REFERENCE_FILES[name]
    if problem == "permuted_mnist":
        assert {run.spec.problem for run in load(content)} == {problem}
    elif problem == "continual_imagenet":
        assert {run.spec.problem for run in load(content)} == {problem}
        assert not load.notes
        one = {key: value[0] if isinstance(value, list) else value for key, value in content.items()}
        load(one | {"index": 0, "run_idx": "3", "data_file": "data/0/3", "perturb_scale": 0, "decay_rate": 0.9})
        assert sum(map(len, load.notes)) < 300
    elif problem == "slowly_changing_regression" and not content["gen_prob_data"]:
        runs = load(content)
        assert {run.spec.problem for run in runs} == {problem}
        assert {run.spec.num_tasks * run.spec.flip_after for run in runs} == {content["num_data_points"]}
    elif problem == "slowly_changing_regression":
        assert "only generates the data of other experiments (gen_prob_data)" in mistake(content)
    else:
        message = mistake(content)
        assert message.startswith(f"x.json: is a file of the reference's {title} (")
        assert message.endswith("), which lop cannot train; lop problems lists those it can")


@pytest.mark.parametrize(
    ("keys", "problems"),
    [
        ({"num_classes": 2, "flip_after": 10}, "num_classes of Continual ImageNet; flip_after of Slowly-Changing"),
        ({"change_after": 5, "use_cbp": True}, "change_after of Online Permuted MNIST; use_cbp of Class-Incremental"),
        ({"num_runs": 3, "to_log": True}, "to_log of Slowly-Changing Regression; to_log of Online Permuted MNIST"),
    ],
)
def test_keys_of_several_problems_are_refused(mistake, keys, problems):
    message = mistake({"agent": "bp", "step_size": 0.01} | keys)
    assert message.startswith(f"x.json: the keys fit several problems ({problems}")
    assert message.endswith('name one with "problem"')
    refused = mistake(SMALL | keys | {"problem": "continual_imagenet"})
    assert "unknown key" in refused or "belongs to problem" in refused


def test_keys_that_problems_share_do_not_change_the_default_problem(load, mistake):
    mlp = {"network": "mlp", "num_features": 5, "num_hidden_layers": 2, "num_runs": 2}
    assert {run.spec.problem for run in load(SMALL | mlp)} == {"continual_imagenet"}
    assert mistake(SMALL | {"num_features": 5}) == (
        "x.json: num_features belongs to network mlp; this file's network is conv_net"
    )
    # A key of --set does not decide the kind of file.
    with pytest.raises(ConfigError, match=r"^here: is a file of the reference's Class-Incremental CIFAR-100"):
        validate({"agent": "bp", "step_size": 0.01, "use_cbp": True}, "here")
    assert mistake(SMALL, change_after=5).startswith("--set: change_after belongs to problem permuted_mnist")


def test_an_unknown_problem_and_a_sweep_over_problems_are_refused(load, mistake):
    assert load(SMALL | {"problem": "continual_imagenet"})[0].spec == load(SMALL)[0].spec == Spec(**SMALL)
    assert mistake(SMALL | {"problem": "continual_imagenett"}) == (
        'x.json: key "problem": "continual_imagenett": should be one of continual_imagenet, '
        "slowly_changing_regression, permuted_mnist; "
        'did you mean "continual_imagenet"?'
    )
    message = mistake(SMALL | {"problem": ["continual_imagenet"]})
    assert message.startswith('x.json: key "problem": ["continual_imagenet"]: should be one problem; write a file for')


def settings(runs):
    return [run.setting for run in runs]


def test_a_sweep_over_agents_gives_each_its_own_keys(load):
    runs = load(
        SMALL
        | {"agent": ["bp", "cbp"], "replacement_rate": [1e-4, 1e-3], "step_size": [0.1, 0.01], "util_type": "weight"}
    )
    assert settings(runs) == [
        "agent=bp,step_size=0.1",
        "agent=bp,step_size=0.01",
        "agent=cbp,step_size=0.1,replacement_rate=0.0001",
        "agent=cbp,step_size=0.1,replacement_rate=0.001",
        "agent=cbp,step_size=0.01,replacement_rate=0.0001",
        "agent=cbp,step_size=0.01,replacement_rate=0.001",
    ]  # fmt: skip
    assert [run.spec.method for run in runs] == ["bp"] * 2 + ["cbp"] * 4
    assert runs[5].spec == Spec(
        **SMALL | {"agent": "cbp", "step_size": 0.01, "replacement_rate": 1e-3, "util_type": "weight"}
    )
    assert not load.notes


def test_a_sweep_over_agents_with_set(load, mistake):
    runs = load(SMALL, agent=["bp", "cbp"], decay_rate=0.5)
    assert settings(runs) == ["agent=bp", "agent=cbp"]
    assert runs[1].spec.decay_rate == 0.5
    assert mistake(SMALL, agent=["bp", "l2"], decay_rate=0.5).startswith("--set: decay_rate belongs to agent cbp")


def test_a_method_chosen_by_another_key_has_only_its_own_keys(load, mistake):
    layered = SMALL | {"agent": "cbp", "net_type": 2, "decay_rate": 0.9}
    assert mistake(layered) == 'x.json: key "decay_rate": 0.9: has no effect with method cbp2; leave it out'
    assert mistake(SMALL | {"agent": "cbp"}, net_type=2, util_type="weight").startswith(
        '--set: key "util_type": "weight"'
    )
    assert load(layered | {"num_runs": 1})[0].spec == Spec(**SMALL | {"agent": "cbp", "net_type": 2})
    assert load.notes == ["left out: decay_rate 0.9, which has no effect with method cbp2"]
    runs = load(layered | {"net_type": [1, 2], "decay_rate": [0.9, 0.99]})
    assert settings(runs) == ["net_type=1,decay_rate=0.9", "net_type=1,decay_rate=0.99", "net_type=2"]
    noise = load(SMALL | {"perturb_scale": [0, 1e-5], "weight_decay": 1e-4})
    assert [(run.setting, run.spec.method) for run in noise] == [
        ("perturb_scale=0", "l2"),
        ("perturb_scale=1e-05", "snp"),
    ]


def test_sweeps_over_networks_and_optimisers_give_each_its_own_keys(load):
    runs = load(SMALL | {"network": ["conv_net", "mlp"], "width": [0.5, 1], "num_features": 7, "opt": ["sgd", "adam"],
                         "momentum": 0.9})  # fmt: skip
    assert settings(runs) == [
        "network=conv_net,width=0.5,opt=sgd",
        "network=conv_net,width=0.5,opt=adam",
        "network=conv_net,width=1,opt=sgd",
        "network=conv_net,width=1,opt=adam",
        "network=mlp,opt=sgd",
        "network=mlp,opt=adam",
    ]
    assert (runs[0].spec.momentum, runs[4].spec.num_features) == (0.9, 7)


def test_methods_with_their_own_update_have_no_optimiser(temporary_components, load):
    runs = load(SMALL | {"agent": ["own", "bp"], "opt": ["sgd", "adam"], "momentum": 0.9, "damping": [1.0, 2.0]})
    assert settings(runs) == ["agent=own,damping=1", "agent=own,damping=2", "agent=bp,opt=sgd", "agent=bp,opt=adam"]
    assert "opt" not in runs[0].spec.to_dict()
    assert runs[0].spec.step_size == 0.01
    load(SMALL | {"agent": "own", "opt": "sgd", "momentum": 0.9, "num_runs": 1})
    assert len(load.notes) == 1
    assert "own, which has its own update" in load.notes[0]


def test_a_key_with_list_values_is_swept_by_a_list_of_lists(monkeypatch, load, mistake):
    class Sizes(Fields):
        sizes: list[int] = Field([100])

    net = Network(name="sized", title="sized", fields=Sizes, code="", num_hidden=lambda own: len(own.sizes))
    monkeypatch.setitem(NETWORKS.by_name, net.name, net)
    one = load(SMALL | {"network": "sized", "sizes": [10, 20]})
    assert (settings(one), one[0].spec.sizes, one[0].spec.num_hidden) == (["default"], [10, 20], 2)
    two = load(SMALL | {"network": "sized", "sizes": [[10, 20], [5]]})
    assert [run.spec.sizes for run in two] == [[10, 20], [5]]
    assert len(set(settings(two))) == len({run.spec for run in two}) == 2
    assert "sweeps over" in mistake(SMALL | {"network": "sized", "sizes": [[5], [5]]})


def test_a_sweep_over_two_spellings_of_one_method_is_refused(load, mistake):
    assert mistake(SMALL | {"agent": ["bp", "l2"], "weight_decay": 0.1}) == (
        'x.json: key "agent" sweeps over "bp" and "l2", which mean the same: ["bp", "l2"]'
    )
    assert len(load(SMALL | {"agent": ["bp", "l2"], "weight_decay": 0})) == 2
    assert 'sweeps over "cbp" and "cbp2", which mean the same' in mistake(
        SMALL | {"agent": ["cbp", "cbp2"], "net_type": 2}
    )
    assert mistake(SMALL | {"agent": ["cbp", "cbp"]}).endswith('key "agent" sweeps over cbp twice: ["cbp", "cbp"]')


def test_names_of_unknown_components_are_refused(mistake):
    assert mistake(SMALL | {"agent": []}) == ('x.json: key "agent" sweeps over an empty list; give at least one value')
    assert mistake(SMALL | {"network": None}) == 'x.json: key "network": null: should be one of conv_net, mlp, linear'
    assert mistake(SMALL | {"agent": [["bp"]]}) == (
        'x.json: key "agent": ["bp"]: should be a name that lop methods lists'
    )
    assert mistake(SMALL, network="conv_ned") == (
        '--set: key "network": "conv_ned": should be one of conv_net, mlp, linear; did you mean "conv_net"?'
    )


def test_agent_linear_implies_a_linear_network(load, mistake):
    assert load(SMALL | {"agent": "linear"})[0].spec.network == "linear"
    assert load(SMALL | {"agent": "linear", "network": "linear"})[0].spec == load(SMALL | {"agent": "linear"})[0].spec
    assert mistake(SMALL | {"agent": "linear", "network": "mlp"}) == (
        'x.json: key "network": "mlp": agent linear trains a linear network'
    )
    assert "needs hidden units" in mistake(SMALL | {"agent": "cbp", "network": "linear"})
    assert settings(load(SMALL | {"agent": ["bp", "linear"], "width": 0.5})) == ["agent=bp", "agent=linear"]


def test_keys_of_earlier_versions_are_read_by_their_present_names(load):
    [run] = load(SMALL | {"agent": "redo", "redo_tau": 0.3})
    assert run.spec.redo_threshold == 0.3
    assert load(SMALL | {"agent": "redo", "redo_threshold": 0.3})[0].spec == run.spec
    changed = run.spec.with_changes(redo_tau=0.4)
    assert (changed.redo_threshold, "redo_tau" in changed.to_dict()) == (0.4, False)
    [typed] = load(SMALL | {"agent": "upgd", "upgd_utility_decay": 0.5}, upgd_beta_utility=0.9)
    assert typed.spec.upgd_utility_decay == 0.9
