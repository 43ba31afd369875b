"""ReDo as Kumar et al. (2025) ran it: every `redo_period` steps, set dormant hidden units back to how they began.

At the start of step k + 1 (k > 0 a multiple of `redo_period`) a unit's score is its mean |activation| before pooling
in the forward pass of step k, which had the weights before that step's update, divided by its layer's mean score. Units
whose score is at most `redo_threshold` get the incoming weights and the bias with which the run began, and zero
outgoing weights, layer by layer: a dormant unit's initial row stays whole. The optimiser forgets nothing.

It differs from `redo` in all of these. As in the authors' code, nothing is added to a layer's mean score, so a layer
that is silent as a whole is not reset. In the authors' own runs the period is a number of whole tasks, and the last
forward pass before a reset is the evaluation on the next task's test images. Here it is the last training step.

Dimensions: S runs, F units of a layer.
"""

import torch
from torch import Tensor

from lop_engine.experiment import methods_of_units as described
from lop_engine.methods import units
from lop_engine.methods.method import Batch, Forward, Method, Setup
from lop_engine.methods.optimizers import Grads
from lop_engine.methods.redo import mean_activation
from lop_engine.methods.runs import like
from lop_engine.networks import Hidden, Params


class KumarReDo(Method):
    """Records mean activations in one step of every `redo_period`, and resets units at the start of the next."""

    looks_before_pooling = True

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.own, self.network = setup.own(described.RecyclingKeys), setup.network
        self.means = [
            torch.ones(len(setup.seeds), layer.outputs, dtype=setup.dtype, device=setup.device)
            for layer in self.network.hidden_layers
        ]

    def init(self, params: Params) -> None:
        """Store the initial weights, a function of the seed, so a resumed run has the same ones."""
        names = [f"{layer.name}.{kind}" for layer in self.network.hidden_layers for kind in ("weight", "bias")]
        self.initial = {name: params[name].detach().clone() for name in names}

    @property
    def variant(self) -> tuple[bool, bool]:
        """Return whether the coming step begins with a reset, and whether it records activations."""
        period = self.own.redo_period
        return self.step > 0 and self.step % period == 0, (self.step + 1) % period == 0

    def start_step(self, params: Params) -> None:
        if self.variant[0]:
            units.reinitialise(params, self.network, {index: self._new(index) for index in range(len(self.means))})

    def _new(self, index: int) -> units.NewUnits:
        name = self.network.hidden_layers[index].name
        return units.NewUnits(self.dormant(index), self.initial[f"{name}.weight"], bias_SF=self.initial[f"{name}.bias"])

    def dormant(self, index: int) -> Tensor:
        """Return which units of hidden layer `index` were dormant when activations were last recorded, (S, F)."""
        mean_SF = self.means[index]
        return mean_SF / mean_SF.mean(1, keepdim=True) <= like(self.own.redo_threshold, mean_SF)

    def after_update(self, params: Params, hidden: list[Hidden], grads: Grads, batch: Batch, forward: Forward) -> None:
        if self.variant[1]:
            for index, layer in enumerate(hidden):
                self.means[index].copy_(mean_activation(self.network, index, layer.before_pooling))

    def state(self) -> dict[str, Tensor]:
        layers = self.network.hidden_layers
        return {f"mean_activation.{layer.name}": mean for layer, mean in zip(layers, self.means, strict=True)}
