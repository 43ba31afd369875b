"""Runs of different settings in one stack give the same results as alone, for every registered method.

Dimensions: S runs.
"""

import itertools
from functools import lru_cache

import pytest
import torch

from lop_engine.errors import ConfigError
from lop_engine.experiment.registry import METHODS
from lop_engine.experiment.spec import Spec, common, per_run_keys, stack_key
from lop_engine.training.learner import Learner
from lop_engine.training.loop import Position
from tests.engine.test_methods import CPU, go_through, make_spec
from tests.engine.test_methods import run as train
from tests.methods import settings_of, with_optimizers

FACTORS = {"maturity_threshold": (0, 1, 2), "beta_2": (1, 0.9, 0.5)}
"""Of a key's value, for each run; other keys take the default. With beta_2 = 0 an update is little more than the sign
of a gradient, and rounding decides the sign of those that are almost 0."""
DEFAULT = (1, 4, 0.5)
NEAR_ITS_LIMIT = (1, 0.9, 0)
"""Of a key that may not be four times its value."""
USED = {"weight_decay": 1e-3, "momentum": 0.9, "upgd_clip_kappa": 0.9}
"""Values of keys that are 0 by default."""


def may_be(spec: Spec, key: str, value: float) -> bool:
    try:
        spec.with_changes(**{key: value})
    except ConfigError:
        return False
    return True


def varied(settings: dict, key: str, **changes) -> list[Spec]:
    """Return a spec for each of three values of a key; the third is 0 if that switches the key off."""
    spec = make_spec(settings, **changes)
    value = getattr(spec, key) or USED.get(key, 0)
    by_limit = DEFAULT if may_be(spec, key, 4 * value) else NEAR_ITS_LIMIT
    factors = (1, 0.5, 0) if key in USED else FACTORS.get(key, by_limit)
    if key == "weight_decay" and spec.method in ("l2", "snp"):
        factors = DEFAULT  # 0 would make it another method
    values = [value * factor for factor in factors]
    return [spec.with_changes(**{key: round(one) if isinstance(value, int) else one}) for one in values]


def cases() -> list[tuple[str, str]]:
    return [
        (name, key)
        for name, settings in with_optimizers().items()
        for key in sorted(per_run_keys(make_spec(settings)))
        if not (name == "bp" and key == "weight_decay")  # this is l2
    ]


def columns(learner: Learner, run: int) -> dict[str, torch.Tensor]:
    """Return the state of one run, in double precision."""
    return {name: tensor.double() for name, tensor in learner.state_of(run).items()}


@lru_cache(maxsize=8)
def trained_alone(spec: Spec, seed: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return the losses and the state of a run after two tasks.

    Cached, because all keys of a method share its first setting.
    """
    alone = Learner(spec, [seed], CPU)
    return go_through(alone, range(2))[:, 0], columns(alone, 0)


@pytest.mark.parametrize("name", METHODS)
def test_every_built_in_method_supports_mixed_settings(name):
    assert METHODS[name].mixes_settings
    assert "step_size" in per_run_keys(make_spec(settings_of(name)))


@pytest.mark.parametrize(("name", "key"), cases())
@pytest.mark.long
def test_a_run_among_other_settings_equals_the_same_run_alone(name, key):
    """With equal or different seeds, in double precision to 1e-9, and with exactly the same tensors."""
    specs = varied(with_optimizers()[name], key, precision="fp64")
    assert len({stack_key(spec) for spec in specs}) == 1
    seeds = [3, 3, 8]
    stack = Learner(specs, seeds, CPU)
    together = go_through(stack, range(2))
    for run, (spec, seed) in enumerate(zip(specs, seeds, strict=True)):
        single, expected = trained_alone(spec, seed)
        torch.testing.assert_close(together[:, run], single, rtol=1e-9, atol=1e-9)
        stacked = columns(stack, run)
        assert expected.keys() == stacked.keys()
        for part, tensor in expected.items():
            torch.testing.assert_close(stacked[part], tensor, rtol=1e-9, atol=1e-9, msg=part)


@pytest.mark.parametrize("name", with_optimizers())
@pytest.mark.long
def test_first_metrics_of_mixed_runs_equal_those_of_single_runs(name):
    """With the training loop, in single precision to 1e-4, with different values of all keys that may differ."""
    settings = with_optimizers()[name]
    base = make_spec(settings, metrics_every=1)
    changes = [
        {key: getattr(spec, key) for key in per_run_keys(base) for spec in [varied(settings, key)[i]]} for i in range(3)
    ]
    specs = [
        base.with_changes(**({k: v for k, v in one.items() if k != "weight_decay"} if name == "bp" else one))
        for one in changes
    ]
    seeds = [1, 2, 2]

    def first_epoch(specs: list[Spec], seeds: list[int]) -> dict[str, list[float]]:
        learner = Learner(specs, seeds, CPU)
        reports, _ = train(learner.spec, learner, stop_at=Position(0, 0))
        return reports[0].metrics

    together = first_epoch(specs, seeds)
    for run, (spec, seed) in enumerate(zip(specs, seeds, strict=True)):
        for metric, [value] in first_epoch([spec], [seed]).items():
            assert together[metric][run] == pytest.approx(value, rel=1e-4, abs=1e-6, nan_ok=True), metric


@pytest.mark.parametrize("name", with_optimizers())
@pytest.mark.long
def test_a_run_continues_in_another_stack(name):
    """Its state is taken out of a mixed stack and continues alone, with the results of a run that was always alone."""
    settings = with_optimizers()[name]
    key = "momentum" if "momentum" in settings else "step_size"
    specs, seeds = varied(settings, key, precision="fp64"), [3, 3, 8]
    stack = Learner(specs, seeds, CPU)
    go_through(stack, range(1))
    for run, (spec, seed) in enumerate(zip(specs, seeds, strict=True)):
        moved, alone = Learner(spec, [seed], CPU), Learner(spec, [seed], CPU)
        moved.load_states([{name: tensor.clone() for name, tensor in stack.state_of(run).items()}])
        go_through(alone, range(1))
        losses = go_through(moved, range(1, 2)), go_through(alone, range(1, 2))
        torch.testing.assert_close(*losses, rtol=1e-9, atol=1e-9)
    regrouped = Learner(specs[::-1], seeds[::-1], CPU)
    regrouped.load_states([stack.state_of(run) for run in (2, 1, 0)])
    again = go_through(regrouped, range(1, 2)), go_through(stack, range(1, 2)).flip(1)
    torch.testing.assert_close(*again, rtol=1e-9, atol=1e-9)


def test_a_value_that_all_runs_share_is_a_python_number():
    """Results then do not change in their last digits."""
    spec = make_spec(settings_of("cbp") | {"momentum": 0.9})
    same, mixed = Learner([spec, spec], [0, 1], CPU), Learner([spec, spec.with_changes(step_size=0.5)], [0, 1], CPU)
    assert isinstance(same.optimizer.step_size, float)
    assert isinstance(mixed.optimizer.step_size, torch.Tensor)
    assert isinstance(mixed.optimizer.momentum, float)


def test_each_run_draws_the_same_candidates_as_alone():
    """A rate of 0.6 replaces up to five of eight units of a layer, one of 0.01 one."""
    spec = make_spec(settings_of("cbp") | {"util_type": "random"})
    specs, seeds = [spec.with_changes(replacement_rate=rate) for rate in (0.01, 0.6, 0.01)], [4, 4, 5]
    stack = Learner(specs, seeds, CPU)
    stack.start_epoch(0, 0)
    stack.method.draw()
    for run, (one, seed) in enumerate(zip(specs, seeds, strict=True)):
        alone = Learner(one, [seed], CPU)
        alone.start_epoch(0, 0)
        alone.method.draw()
        for index in range(len(stack.net.hidden_layers)):
            expected = alone.method.drawn_incoming(index)[0]
            assert torch.equal(stack.method.drawn_incoming(index)[run, : len(expected)], expected)
            assert torch.equal(stack.method.draws.utility(index)[run], alone.method.draws.utility(index)[0])


@pytest.mark.parametrize(
    ("key", "values"), [("mini_batch_size", (5, 3)), ("opt", ("sgd", "adam")), ("num_tasks", (1, 2))]
)
def test_keys_that_may_not_differ_in_a_stack_are_part_of_stack_key(key, values):
    specs = [make_spec({"agent": "bp"}, **{key: value}) for value in values]
    assert len(set(map(stack_key, specs))) == 2
    with pytest.raises(ValueError, match=key):
        Learner(specs, [0, 1], CPU)


def test_a_value_that_differs_between_runs_cannot_be_read_from_the_shared_spec():
    specs = [make_spec({"agent": "l2", "weight_decay": 1e-3}, step_size=one) for one in (0.1, 0.2)]
    shared = common(specs)
    assert (shared.num_tasks, shared.weight_decay) == (2, 1e-3)
    with pytest.raises(AttributeError, match=r"step_size.*Setup\.own"):
        _ = shared.step_size


def test_each_method_has_its_own_stack_key():
    names = {stack_key(make_spec(settings_of(name))) for name, _ in itertools.groupby(METHODS)}
    assert len(names) == len(METHODS)
