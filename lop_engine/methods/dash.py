"""DASH (Shin et al., NeurIPS 2024): direction-aware shrinking at task boundaries.

At the start of every task but the first the new task's training examples pass once, in batches, while the weights
stay. G is the running mean of the negative gradient, G = (1 - dash_alpha) G + dash_alpha (-gradient), from G = 0. Then
each row of a linear weight, each kernel (of one output and one input) of a convolution, and each bias as a whole is
multiplied by its cosine with G, cut to [dash_lambda, 1]: what points against the new task shrinks most.

With new heads the output layer is zero at that moment, so that the gradient of all hidden layers is zero, and with it
the cosine: all hidden weights shrink by dash_lambda.
"""

import torch
import torch.nn.functional as F

from lop_engine.experiment import methods_at_boundaries as described
from lop_engine.methods.boundaries import AtBoundary
from lop_engine.methods.method import Setup, TaskData
from lop_engine.methods.optimizers import Grads
from lop_engine.methods.runs import like


class Dash(AtBoundary):
    """Shrinks weights and biases; by default the optimiser keeps its state."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.own = setup.own(described.Dash)
        self.renews_optimizer = self.own.dash_optimizer_state == "reset"
        self.names = [f"{layer.name}.{kind}" for layer in setup.network.layers for kind in ("weight", "bias")]

    def change(self, task: TaskData) -> None:
        directions = self._directions(task)
        for name in self.names:
            weight, direction = self.params[name], directions[name]
            rows, towards = (one.flatten(3) if one.dim() == 5 else one for one in (weight, direction))
            factor = F.cosine_similarity(rows, towards, dim=-1).clamp(max=1)
            factor = torch.clamp(factor, min=like(self.own.dash_lambda, factor))
            weight.mul_(factor.view(*factor.shape, *[1] * (weight.dim() - factor.dim())))

    def _directions(self, task: TaskData) -> Grads:
        """Return the running mean of the negative gradient, by weight."""
        alpha, size = self.own.dash_alpha, self.setup.spec.mini_batch_size
        directions = {name: torch.zeros_like(self.params[name]) for name in self.names}
        for inputs, targets in zip(task.inputs.split(size, 1), task.targets.split(size, 1), strict=True):
            grads = task.gradient(inputs, targets)
            for name, direction in directions.items():
                direction.lerp_(-grads[name], like(alpha, direction))
        return directions
