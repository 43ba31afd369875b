"""Weight clipping (Elsayed et al., RLC 2024): after every update w = clip(w, -b, b), b = clip_kappa / sqrt(fan_in).

1 / sqrt(fan_in) bounds the initial weights of torch's layers, and so of `conv_net`; those of an `mlp` begin in a wider
interval, sqrt(6 / fan_in) with relu, so that a `clip_kappa` below 2.5 changes them at the first step. A bias has the
bound of its layer's weights. Scale and shift of layer normalisation are not clipped: the authors' networks have none.
"""

from math import sqrt

import torch
from torch import Tensor

from lop_engine.experiment import methods_of_weights as described
from lop_engine.methods.method import Batch, Forward, Method
from lop_engine.methods.optimizers import Grads
from lop_engine.methods.runs import Number, like
from lop_engine.networks import Hidden, Network, Params


class WeightClipping(Method):
    """Clips weights and biases. The optimiser's state does not change."""

    def after_update(self, params: Params, hidden: list[Hidden], grads: Grads, batch: Batch, forward: Forward) -> None:
        own = self.setup.own(described.WeightClippingKeys)
        clip_(params, self.setup.network, own.clip_kappa, own.clip_last_layer)


def clip_(params: Params, network: Network, kappa: Number, last_layer: bool = True) -> None:
    """Clip the weights and biases of all layers, in place.

    Args:
        kappa: bound in units of 1 / sqrt(fan_in); if it differs between runs, those with 0 are not clipped.
        last_layer: whether the output layer is clipped, too.
    """
    if isinstance(kappa, Tensor):
        kappa = kappa.where(kappa > 0, torch.inf)
    for layer in network.layers if last_layer else network.hidden_layers:
        bound = kappa / sqrt(layer.fan_in)
        for weight in (params[f"{layer.name}.weight"], params[f"{layer.name}.bias"]):
            weight.clamp_(like(-bound, weight), like(bound, weight))  # type: ignore[arg-type]
