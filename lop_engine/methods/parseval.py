"""Parseval regularisation (Chung et al., NeurIPS 2024): a penalty that keeps the rows of each weight orthogonal.

The loss gains parseval_strength x sum ||W W^T - parseval_scale I||^2 over the weights of all layers, each as a matrix
(outputs, everything else); biases are free. The norm is Frobenius's. Its products are computed in full precision.

Dimensions: S runs.
"""

import torch
from torch import Tensor

from lop_engine.device import unrounded
from lop_engine.experiment import methods_of_weights as described
from lop_engine.methods.method import Method, Setup
from lop_engine.methods.runs import like
from lop_engine.networks import Params


class Parseval(Method):
    """Adds the penalty."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.own = setup.own(described.Parseval)
        layers = setup.network.layers if self.own.parseval_head else setup.network.hidden_layers
        self.names = [f"{layer.name}.weight" for layer in layers]

    def penalty(self, params: Params) -> Tensor:
        with unrounded(self.setup.device.type):
            penalty_S = torch.stack([self._of_weight(params[name].flatten(2)) for name in self.names]).sum(0)
        return penalty_S * like(self.own.parseval_strength, penalty_S)

    def _of_weight(self, weight: Tensor) -> Tensor:
        """Return ||W W^T - s I||^2 of weights (S, O, I): (S,)."""
        identity = torch.eye(weight.shape[1], dtype=weight.dtype, device=weight.device)
        products = weight @ weight.mT
        return (products - identity * like(self.own.parseval_scale, products)).square().sum((1, 2))
