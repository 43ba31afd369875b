"""Compare methods that reset hidden units with public implementations.

Dimensions: F units of a layer, B batch.
"""

import numpy as np
import pytest
import torch
from torch import Tensor

from lop_engine.training.learner import Learner
from tests.engine.golden import fresh_layer, golden_learner, load
from tests.engine.test_golden_methods import ADAM, SGD, assert_trains_as, make_spec


class Resets:
    """Feeds a method the random draws of a golden figure and records every reset unit.

    Args:
        mask: name of the method's function that returns the units of a layer to reset.
        seed: of the draws.
        seldom: draw only for layers that reset a unit, as in SNR's figures; else for all layers of a step with resets.
    """

    def __init__(self, learner: Learner, mask: str, seed: int, seldom: bool = False) -> None:
        self.method, self.layers, self.rng = learner.method, learner.net.hidden_layers, np.random.default_rng(seed)
        self.events: list[tuple[int, ...]] = []
        self.drawn: dict[int, Tensor] = {}
        self.seldom, self.masks = seldom, getattr(self.method, mask)
        self.method.draw = lambda: None
        self.method.drawn_incoming = lambda index: self.drawn[index]
        setattr(self.method, mask, self.noted)

    def noted(self, index: int, *about) -> Tensor:
        mask_SF = self.masks(index, *about)
        self.events += [(self.method.step + 1, index, unit) for unit in mask_SF[0].nonzero()[:, 0].tolist()]
        if mask_SF.any() or not self.seldom:
            self.drawn[index] = fresh_layer(self.rng, self.layers[index])
        else:
            self.drawn[index] = torch.zeros(1, *self.layers[index].weight_shape)
        return mask_SF


def events_of(name: str) -> list[tuple[int, ...]]:
    """Return step, layer and unit of each reset of a figure."""
    stored = load(f"methods/{name}")
    prefix = "f64." if "f64.event_step" in stored else ""
    return list(zip(*(stored[f"{prefix}event_{what}"].tolist() for what in ("step", "layer", "unit")), strict=True))


@pytest.mark.parametrize(
    ("name", "seed", "settings"),
    [
        ("regrama_sgd", 801, SGD | {"regrama_threshold": 0.2}),
        ("regrama_adam", 802, ADAM | {"regrama_threshold": 0.1}),
    ],
)
@pytest.mark.long
def test_regrama_resets_the_units_of_its_public_implementation(name, seed, settings):
    learner = golden_learner(make_spec("regrama", regrama_period=5, **settings))
    resets = Resets(learner, "inactive", seed)
    assert_trains_as(name, learner)
    assert resets.events == events_of(name)
    assert len(resets.events) > 400


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("redo_kumar_sgd", SGD | {"redo_threshold": 0.3, "redo_period": 5}),
        ("redo_kumar_adam", ADAM | {"redo_threshold": 0.2, "redo_period": 4}),
    ],
)
@pytest.mark.long
def test_redo_of_kumar_resets_their_units(name, settings):
    learner, events = golden_learner(make_spec("redo_kumar", **settings)), []
    dormant = learner.method.dormant

    def noted(index: int) -> Tensor:
        mask_SF = dormant(index)
        events.extend((learner.method.step, index, unit) for unit in mask_SF[0].nonzero()[:, 0].tolist())
        return mask_SF

    learner.method.dormant = noted
    assert_trains_as(name, learner)
    assert events == events_of(name)
    assert len(events) > 600


@pytest.mark.parametrize(("name", "seed", "settings"), [("snr_sgd", 701, SGD), ("snr_adam", 702, ADAM)])
@pytest.mark.long
def test_snr_resets_the_units_of_its_public_implementation(name, seed, settings):
    keys = {"snr_threshold": 300, "snr_max_threshold": 1000, "snr_quantile": 0.9, "snr_factor": 2}
    learner, stored = golden_learner(make_spec("snr", **keys, **settings)), load(f"methods/{name}")
    resets, step = Resets(learner, "overdue", seed, seldom=True), learner.step

    def step_and_task_end(x, y):
        result = step(x, y)
        if learner.method.step % 6 == 0:
            learner.end_task(learner.method.step // 6 - 1)
        return result

    learner.step = step_and_task_end
    assert_trains_as(name, learner)
    assert resets.events == events_of(name)
    cells = []
    for index, ages in enumerate(learner.method.layers):
        np.testing.assert_array_equal(ages.age_SF[0], stored[f"age{index}"])
        np.testing.assert_array_equal(ages.threshold_SF[0], stored[f"tau{index}"])
        for unit, age in ages.histogram_SFA[0].nonzero().tolist():
            cells.append([index, unit, age * 100, int(ages.histogram_SFA[0, unit, age])])
    np.testing.assert_array_equal(cells, stored["hist_layer_unit_age_count"])
