"""Every registered method has an effect, and trains every registered network with every option.

Dimensions: S seeds, B batch.
"""

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal, get_args, get_origin

import pytest
import torch
from torch import Tensor

from lop_engine.errors import ConfigError
from lop_engine.experiment.components import OF_NETWORKS, Network
from lop_engine.experiment.networks import WITH_TWO_OUTPUTS
from lop_engine.experiment.registry import METHODS, NETWORKS
from lop_engine.experiment.spec import Spec
from lop_engine.problems import Task
from lop_engine.runs.files import StopRequested
from lop_engine.testing import Subject, apply
from lop_engine.testing.resuming import state_is_whole
from lop_engine.testing.seeds import a_seed_is_the_same_alone
from lop_engine.testing.steps import can_be_replayed, changes_in_place, never_waits
from lop_engine.training.learner import Learner
from lop_engine.training.loop import EpochReport, Position, train
from tests.methods import ACTING, settings_of

CPU = torch.device("cpu")
START = Position()
SIZES = {"width": 0.125, "num_features": 8, "num_hidden_layers": 2}
"""Of the networks: small."""


def make_spec(settings: dict[str, Any], **changes: Any) -> Spec:
    lengths = {"step_size": 0.01, "num_tasks": 2, "num_showings": 2, "mini_batch_size": 5, "curvature_images": 4}
    images = {"dataset": "synthetic", "dataset_classes": 6, "train_images": 15, "test_images": 4}
    return Spec(**(lengths | images | SIZES | settings | {"normalisation": "scaled"} | changes))


def task_of(seeds: list[int], index: int, num_examples: int) -> Task:
    """Return random images and labels of each seed."""
    generators = [torch.Generator().manual_seed(100 * seed + index) for seed in seeds]
    images = torch.stack([torch.randn(num_examples, 3, 32, 32, generator=g) for g in generators])
    labels = torch.stack([torch.randint(0, 2, (num_examples,), generator=g) for g in generators])
    return Task([{} for _ in seeds], images, labels)


def go_through(learner: Learner, tasks: range, num_steps: int = 6, batch: int = 4) -> Tensor:
    """Train tasks of one epoch, calling all hooks; return the losses, (steps, S)."""
    losses = []
    for index in tasks:
        task = task_of(learner.seeds, index, num_steps * batch)
        task = replace(task, train_inputs=task.train_inputs.to(learner.dtype))
        learner.start_task(index, task)
        learner.start_epoch(index, 0)
        for x, y in zip(task.train_inputs.split(batch, 1), task.train_targets.split(batch, 1), strict=True):
            losses.append(learner.step(x, y).loss_S)
        learner.end_task(index)
    return torch.stack(losses)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_an_effect_within_a_few_steps(name):
    """A method without an effect here needs an entry in tests/methods.py."""
    is_backprop = name in ("bp", "linear")
    learner = Learner(make_spec(settings_of(name)), [0], CPU)
    plain = Learner(make_spec({"agent": "bp", "network": learner.spec.network}), [0], CPU)
    for one in (learner, plain):
        go_through(one, range(2), num_steps=12)
    same = all(torch.equal(weight, plain.evaluated()[key]) for key, weight in learner.evaluated().items())
    assert same == is_backprop, f"after 24 steps {name} is backprop; add settings to tests/methods.py"


def test_all_settings_belong_to_registered_methods():
    assert ACTING.keys() <= METHODS.keys()


def run(spec: Spec, learner: Learner | None = None, start=START, stop_at=None) -> tuple[list[EpochReport], Learner]:
    """Train with the training loop, up to the end of an epoch."""
    learner, reports = learner or Learner(spec, [0, 3], CPU), []

    def report(epoch: EpochReport) -> None:
        reports.append(epoch)
        if epoch.position == stop_at:
            raise StopRequested

    with contextlib.suppress(StopRequested):
        train(spec, learner, CPU, report, start)
    return reports, learner


def options(network: Network) -> Iterator[dict[str, Any]]:
    """Return every combination of the keys of a network that take one of a few values."""
    choices = {}
    for key, field in network.fields.model_fields.items():
        if get_origin(field.annotation) is Literal:
            choices[key] = get_args(field.annotation)
        elif field.annotation is bool:
            choices[key] = (False, True)
    for values in itertools.product(*choices.values()):
        chosen = dict(zip(choices, values, strict=True))
        if not chosen.get("narrow") or chosen["activation"] in WITH_TWO_OUTPUTS:  # else the key has no effect
            yield chosen


def each_option(network: Network) -> Iterator[dict[str, Any]]:
    """Return combinations that contain every value: each activation, narrow or not, with or without layer_norm."""
    for index, chosen in enumerate(options(network)):
        if chosen.get("layer_norm", False) == (index // 2 % 2 == 1):
            yield chosen


def test_the_combinations_of_options_contain_every_value():
    assert {"activation": "crelu", "narrow": True, "layer_norm": True} in options(NETWORKS["conv_net"])
    assert {"activation": "tanh", "narrow": False, "layer_norm": False} in options(NETWORKS["mlp"])
    for network in NETWORKS.values():
        for key in network.fields.model_fields:
            values = {one.get(key) for one in options(network)}
            assert {one.get(key) for one in each_option(network)} == values


def fits(method: str, network: str) -> bool:
    """Return whether a method can train a network."""
    only, needs = METHODS[method].network, METHODS[method].needs & OF_NETWORKS
    return only in ("", network) and needs <= NETWORKS[network].provides


@pytest.mark.parametrize(("method", "network"), itertools.product(METHODS, NETWORKS))
@pytest.mark.long
def test_every_method_trains_every_network_with_every_option(method, network):
    if not fits(method, network):
        with pytest.raises(ConfigError, match=f"{METHODS[method].name}|{NETWORKS[network].name}"):
            make_spec(settings_of(method), network=network)
        return
    every = options if method in ("bp", "cbp", "redo") else each_option
    for chosen in every(NETWORKS[network]):
        subject = Subject(METHODS[method], make_spec(settings_of(method), network=network, **chosen))
        assert go_through(Learner(subject.spec, [2], CPU), range(1)).isfinite().all(), chosen
        for rule in (a_seed_is_the_same_alone, state_is_whole):
            apply(rule, subject)


@pytest.mark.parametrize(("method", "network"), [pair for pair in itertools.product(METHODS, NETWORKS) if fits(*pair)])
@pytest.mark.long
def test_no_option_makes_a_step_wait_for_the_device_or_use_data_dependent_shapes(method, network):
    some = [one for one in each_option(NETWORKS[network]) if one.get("activation") in ("crelu", "prelu")]
    chosen = list(options(NETWORKS[network])) if method == "bp" else some
    for one in chosen or [{}]:
        subject = Subject(METHODS[method], make_spec(settings_of(method), network=network, **one))
        for rule in (changes_in_place, never_waits, can_be_replayed):
            apply(rule, subject)
