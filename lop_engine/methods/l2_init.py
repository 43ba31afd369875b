"""L2 Init (Kumar et al. 2025): a penalty on the distance of the weights from where they started.

The loss gains l2_init / 2 x sum (w - w0)^2 over all weights and biases, those of the output layer included. As in the
authors' code, the scale and shift of layer normalisation are left out, and the optimiser gets the gradient of the sum.
"""

from torch import Tensor

from lop_engine.experiment import methods_of_weights as described
from lop_engine.methods.method import Method
from lop_engine.methods.runs import like
from lop_engine.networks import Params


class L2Init(Method):
    """Adds the penalty. The initial weights are a function of the seed, so a resumed run has the same ones."""

    def init(self, params: Params) -> None:
        names = [f"{layer.name}.{kind}" for layer in self.setup.network.layers for kind in ("weight", "bias")]
        self.initial = {name: params[name].detach().clone() for name in names}
        self.strength = self.setup.own(described.L2InitKeys).l2_init

    def penalty(self, params: Params) -> Tensor:
        squares = [(params[name] - start).square().flatten(1).sum(1) for name, start in self.initial.items()]
        penalty_S = sum(squares[1:], squares[0])
        return penalty_S * like(self.strength / 2, penalty_S)
