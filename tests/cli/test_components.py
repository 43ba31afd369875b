"""`lop methods`, `lop problems`, `lop networks`, `lop metrics`."""

import json

import pytest

from lop_engine.experiment.catalogue import bibtex, citation, keys_of, reference
from lop_engine.experiment.components import Component
from lop_engine.experiment.parts import Experiment
from lop_engine.experiment.registry import METHODS, METRICS, NETWORKS, OPTIMIZERS, PROBLEMS
from tests.cli.test_views import lop, refused

REGISTRIES = {"methods": METHODS, "problems": PROBLEMS, "networks": NETWORKS, "metrics": METRICS}
EVERY = [one for registry in (*REGISTRIES.values(), OPTIMIZERS) for one in map(registry.get, registry.built_in)]

#: Components that no paper introduced.
WITHOUT_SOURCE = {"sgd", "train_loss"}


@pytest.mark.parametrize("command", REGISTRIES)
def test_a_list_names_every_component_with_its_title_and_source(command):
    shown = " ".join(lop(command).split())
    for one in REGISTRIES[command].values():
        assert one.name in shown
        assert citation(one.source) in shown


@pytest.mark.parametrize("command", REGISTRIES)
def test_json_is_a_list_of_objects(command):
    listed = json.loads(lop(command, "--json"))
    assert [one["name"] for one in listed] == list(REGISTRIES[command])
    for one in listed:
        assert {"name", "title", "source", "fields", "sentence", "needs", "code", "file"} <= one.keys()
        assert [field["name"] for field in one["fields"]] == list(REGISTRIES[command][one["name"]].fields.model_fields)
        assert json.loads(lop(command, one["name"], "--json")) == [one]


def test_json_has_types_bounds_and_defaults():
    [cbp] = json.loads(lop("methods", "cbp", "--json"))
    fields = {one.pop("name"): one for one in cbp["fields"]}
    assert fields["decay_rate"] == {
        "help": "Decay of a unit's mean utility.", "type": "number", "choices": [], "minimum": 0, "maximum": None,
        "exclusive_minimum": None, "exclusive_maximum": 1, "required": False, "default": 0.99,
    }  # fmt: skip
    assert fields["net_type"]["choices"] == [1, 2]
    assert fields["maturity_threshold"]["maximum"] is None  # its limit only catches typing errors
    assert cbp["file"].endswith("lop_engine/methods/continual_backprop.py")
    [problem] = json.loads(lop("problems", "continual_imagenet", "--json"))
    assert (problem["headline"], problem["network"]) == ("test_accuracy", "conv_net")
    [metric] = json.loads(lop("metrics", "curvature", "--json"))
    assert (metric["scale"], metric["cost_in_epochs"]) == ("log", 8)


def test_a_page_has_keys_with_bounds_and_defaults_and_the_whole_source():
    page = lop("methods", "cbp")
    assert "number, at least 0, less than 1" in page
    assert "adaptable_contribution" in page
    assert "    age += 1;  u <- decay_rate u" in page
    assert "needs      hidden units" in page
    assert "continual_backprop.py" in page
    assert bibtex("dohare2024loss") in page
    for key in ("step_size", "momentum", "beta_2"):
        assert key in page
    assert "momentum" not in lop("methods", "upgd")
    assert "8 training epochs" in lop("metrics", "curvature")


@pytest.mark.parametrize(
    ("command", "name", "near"), [("methods", "cpb", "cbp"), ("metrics", "effective_rnk", "effective_rank")]
)
def test_an_unknown_name_is_answered_with_the_nearest(command, name, near, monkeypatch, capsys):
    output = refused(monkeypatch, capsys, command, name)
    assert output.startswith(f'lop: lop {command}: no {command[:-1]} "{name}"; did you mean "{near}"? (there are ')
    assert output.count("\n") == 1


@pytest.mark.parametrize("one", EVERY, ids=lambda one: f"{one.key} {one.name}")
def test_every_component_is_described(one: Component):
    assert one.title
    assert one.sentence.endswith(".")
    assert one.code
    assert bool(bibtex(one.source)) != (one.name in WITHOUT_SOURCE)
    for key in keys_of(one.fields):
        assert key.help.endswith("."), key.name


def test_the_keys_of_every_experiment_have_help():
    assert all(key.help.endswith(".") for key in keys_of(Experiment))


def test_a_source_may_be_a_bibtex_entry():
    entry = "@misc{me2026,\n  title = {A {New} Method},\n  author = {Me, Mary and You, Yves},\n  year = {2026}\n}"
    assert bibtex(entry) == entry
    assert citation(entry) == "Me & You 2026"
    assert reference(entry) == "Me & You 2026. A New Method"
    assert (citation(""), bibtex("nowhere"), citation("nowhere")) == ("", "", "nowhere")
