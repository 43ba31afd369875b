"""The hooks suffice for methods that lop does not have: small ones, built here, against public implementations."""

import numpy as np
import pytest
import torch
from torch import Tensor

from lop_engine.methods import units
from lop_engine.methods.method import Method
from lop_engine.methods.units import NewUnits
from lop_engine.problems import Task
from tests.engine.golden import fresh_layer, golden_learner, load, training_batches
from tests.engine.test_golden_methods import ADAM, SGD, assert_trains_as, make_spec

BOUNDARY = 10


class Recording(Method):
    """Notes each unit that it starts over, as (step, layer, unit)."""

    seed = 0

    def init(self, params):
        self.params, self.network = params, self.setup.network
        self.initial = {name: weight.detach().clone() for name, weight in params.items()}
        self.rng, self.events = np.random.default_rng(self.seed), []

    def renew(self, masks: dict[int, Tensor], incoming) -> None:
        for index, mask_SF in masks.items():
            self.events += [(self.step + 1, index, unit) for unit in mask_SF[0].nonzero()[:, 0].tolist()]
        new = {index: NewUnits(mask_SF, incoming(index)) for index, mask_SF in masks.items()}
        units.reinitialise(self.params, self.network, new, winner="incoming")

    def drawn(self, index: int) -> Tensor:
        return fresh_layer(self.rng, self.network.layers[index])


class KumarsReDo(Recording):
    """Dormant units go back to their initial weights, scored by the step's own activations before pooling."""

    looks_before_pooling = True

    @property
    def variant(self):
        return (self.step + 1) % 5 == 0

    def after_update(self, params, hidden, grads, batch, forward):
        if not self.variant or self.step + 1 == 20:  # the figure acts at the start of the next step
            return
        sizes = [self.network.by_unit(i, layer.before_pooling) for i, layer in enumerate(hidden)]
        means = [size.mean((1, *range(3, size.dim()))) for size in sizes]
        masks = {index: mean <= 0.3 * mean.mean(1, keepdim=True) for index, mean in enumerate(means)}
        names = [layer.name for layer in self.network.hidden_layers]
        self.renew(masks, lambda index: self.initial[f"{names[index]}.weight"])
        for index, mask_SF in masks.items():
            bias = f"{names[index]}.bias"
            params[bias].copy_(torch.where(mask_SF, self.initial[bias], params[bias]))


class ReGraMa(Recording):
    """Units whose weights have small gradients start over."""

    seed = 802

    @property
    def variant(self):
        return (self.step + 1) % 5 == 0

    def draw(self):
        if self.variant:
            self.new = [self.drawn(index) for index in range(len(self.network.hidden_layers))]

    def after_update(self, params, hidden, grads, batch, forward):
        if not self.variant:
            return
        of_layers = [grads[f"{layer.name}.weight"] for layer in self.network.hidden_layers]
        scores = [grad.abs().flatten(2).mean(2) for grad in of_layers]
        masks = {i: one / (one.mean(1, keepdim=True) + 1e-8) <= 0.1 for i, one in enumerate(scores)}
        self.renew(masks, lambda index: self.new[index])
        for index, mask_SF in masks.items():
            units.forget(self.setup.optimizer, self.network, index, mask_SF, counts=False)


class SelfNormalizedResets(Recording):
    """Units that have been silent for longer than they usually are start over; ages in batches of 100 examples."""

    seed, most = 701, 10

    def init(self, params):
        super().init(params)
        widths = [layer.outputs for layer in self.network.hidden_layers]
        self.ages = [torch.zeros(1, width, dtype=torch.long) for width in widths]
        self.thresholds = [torch.full((1, width), 3) for width in widths]
        self.histograms = [torch.zeros(1, width, self.most + 1) for width in widths]

    def count(self, index, mask_SF):
        """Enter the ages of masked units, and set them to 0."""
        ages_SF = self.ages[index]
        seen_SF1 = (mask_SF & (ages_SF <= self.most)).float().unsqueeze(2)
        self.histograms[index].scatter_add_(2, ages_SF.clamp(max=self.most).unsqueeze(2), seen_SF1)
        ages_SF.masked_fill_(mask_SF, 0)

    def after_update(self, params, hidden, grads, batch, forward):
        for index, layer in enumerate(hidden):
            fired_SF = layer.activation.amax((1, *range(3, layer.activation.dim()))) > 0
            self.ages[index] += ~fired_SF
            self.count(index, fired_SF)
        for index, threshold_SF in enumerate(self.thresholds):
            mask_SF = self.ages[index] >= threshold_SF
            self.count(index, mask_SF)
            if mask_SF.any():  # the figure draws for these layers alone
                self.renew({index: mask_SF}, self.drawn)

    def end_task(self, task):
        for histogram, threshold_SF in zip(self.histograms, self.thresholds, strict=True):
            total_SF1 = histogram[..., 1:].sum(2, keepdim=True)
            usual_SF = (histogram[..., 1:].cumsum(2) / total_SF1 >= 0.9).long().argmax(2) + 1
            usual_SF.masked_fill_(total_SF1[..., 0] == 0, 0)
            threshold_SF.copy_(torch.where(usual_SF < threshold_SF, usual_SF, 2 * threshold_SF).clamp(1, self.most))
            histogram.zero_()


class SpectralPenalty(Recording):
    """Largest singular values near 1, and small biases."""

    def penalty(self, params):
        weights = [weight.flatten(2) for name, weight in params.items() if name.endswith("weight")]
        biases = [bias for name, bias in params.items() if name.endswith("bias")]
        of_weights = [(torch.linalg.matrix_norm(weight, 2) ** 2 - 1) ** 2 for weight in weights]
        return 0.01 * torch.stack([*of_weights, *(bias.square().sum(1) ** 2 for bias in biases)]).sum(0)


class Dash(Recording):
    """At a boundary, shrink the weights whose direction the new task's gradient does not share."""

    def start_task(self, task):
        mean = {name: torch.zeros_like(weight) for name, weight in self.params.items()}
        for inputs, targets in zip(task.inputs.split(100, 1), task.targets.split(100, 1), strict=True):
            for name, grad in task.gradient(inputs, targets).items():
                mean[name].mul_(0.7).sub_(grad, alpha=0.3)
        for name, weight in self.params.items():
            rows, towards = (one.flatten(3) if one.dim() > 3 else one for one in (weight, mean[name]))
            factor = torch.cosine_similarity(rows, towards, dim=-1).clamp(0.3, 1)
            weight.mul_(factor.view(*factor.shape, *[1] * (weight.dim() - factor.dim())))


class Fire(Recording):
    """At a boundary, make the weights orthogonal by Newton-Schulz iterations, and the optimiser new."""

    def start_task(self, task):
        for name, weight in self.params.items():
            if not name.endswith("weight"):
                continue
            kernel = weight.shape[3:]
            matrix = weight.flatten(3).movedim(3, 1) if kernel else weight
            x = matrix / torch.linalg.matrix_norm(matrix, keepdim=True)
            for _ in range(10):
                x = 1.5 * x - 0.5 * x @ x.mT @ x
            x = x * (matrix.shape[-2] / matrix.shape[-1]) ** 0.5 / (kernel.numel() or 1)
            weight.copy_(x.movedim(1, 3).unflatten(3, kernel) if kernel else x)
        for kept in self.setup.optimizer.state().values():
            kept.zero_()


def follow(name: str, method: type[Recording], settings=SGD, task_ends=(), losses=2e-6) -> Recording:
    """Train the 20 steps with a method, a new task after each of `task_ends` steps, and compare them."""
    learner = golden_learner(make_spec(new_heads=False, **settings))
    learner.method = method(learner.method.setup)
    learner.method.init(learner.params)
    images, labels = (torch.from_numpy(part[BOUNDARY:]).flatten(0, 1)[None] for part in training_batches())
    step = learner.step

    def step_and_task_end(x, y):
        result = step(x, y)
        if learner.method.step in task_ends:
            learner.end_task(0)
            learner.start_task(1, Task([{}], images, labels))
        return result

    learner.step = step_and_task_end
    assert_trains_as(name, learner, losses=losses)
    stored, prefix = load(f"methods/{name}"), "f64." if learner.dtype == torch.float64 else ""
    if f"{prefix}event_step" in stored:
        columns = (stored[f"{prefix}event_{what}"].tolist() for what in ("step", "layer", "unit"))
        assert learner.method.events == list(zip(*columns, strict=True))
    return learner.method


@pytest.mark.parametrize(
    ("name", "method", "more"),
    [
        ("redo_kumar_sgd", KumarsReDo, {}),
        ("regrama_adam", ReGraMa, {"settings": ADAM}),
        ("snr_sgd", SelfNormalizedResets, {"task_ends": (6, 12, 18)}),
        ("spectral_formula_bias_sgd", SpectralPenalty, {"losses": 5e-6}),
        ("dash_sgd", Dash, {"task_ends": (BOUNDARY,)}),
        ("fire_sgd", Fire, {"task_ends": (BOUNDARY,)}),
    ],
)
def test_a_method_of_hooks_follows_its_public_implementation(name, method, more):
    follow(name, method, **more)
