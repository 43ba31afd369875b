"""One run in plain torch: weights without a seed axis, torch's own optimiser, and resets unit by unit."""

from collections.abc import Mapping

import torch
from torch import Tensor

from lop_engine.networks import Activations
from lop_engine.training.learner import Learner


class Plain:
    """A copy of one run of a learner, trained in parallel with it.

    Args:
        run: its index in the stack.
        optimizer: makes torch's optimiser for the weights.
    """

    def __init__(self, learner: Learner, run: int, optimizer=None) -> None:
        self.net, self.run = learner.net, run
        self.weights = {name: weight[run].detach().clone().requires_grad_() for name, weight in learner.params.items()}
        self.initial = {name: weight.detach().clone() for name, weight in self.weights.items()}
        self.optimizer = optimizer(list(self.weights.values())) if optimizer else None

    def forward(self, inputs: Tensor) -> Activations:
        """Return the result for inputs (B, ...); activations keep a leading axis of 1."""
        return self.net({name: weight[None] for name, weight in self.weights.items()}, inputs[None])

    def learn(self, inputs: Tensor, labels: Tensor, penalty=None) -> list[Tensor]:
        """Train a step; return the activations of each hidden layer before pooling, (B, F, ...)."""
        activations = self.forward(inputs)
        loss = torch.nn.functional.cross_entropy(activations.outputs_SBO[0], labels)
        loss = loss if penalty is None else loss + penalty(self.weights)
        for weight in self.weights.values():
            weight.grad = None
        loss.backward()
        if self.optimizer:
            self.optimizer.step()
        return [hidden.before_pooling[0].detach() for hidden in activations.hidden]

    @torch.no_grad()
    def reset(self, index: int, unit: int, incoming: Tensor, bias: float = 0.0) -> None:
        """Give one unit incoming weights, a bias, and zero outgoing weights."""
        layer = self.net.layers[index]
        self.weights[f"{layer.name}.weight"][unit] = incoming
        self.weights[f"{layer.name}.bias"][unit] = bias
        self._columns(self.weights[f"{self.net.layers[index + 1].name}.weight"], index, unit).zero_()

    def forget(self, index: int, unit: int) -> None:
        """Zero torch's running means of one unit's incoming weights, bias and outgoing weights."""
        layer, above = self.net.layers[index], self.net.layers[index + 1]
        for mean in self._means(f"{layer.name}.weight") + self._means(f"{layer.name}.bias"):
            mean[unit] = 0
        for mean in self._means(f"{above.name}.weight"):
            self._columns(mean, index, unit).zero_()

    def _means(self, name: str) -> list[Tensor]:
        assert self.optimizer
        state: Mapping[str, Tensor] = self.optimizer.state[self.weights[name]]
        return [tensor for key, tensor in state.items() if key != "step" and tensor is not None]

    def _columns(self, weight: Tensor, index: int, unit: int) -> Tensor:
        positions = self.net.layers[index + 1].positions
        return weight[:, unit * positions : (unit + 1) * positions]

    def assert_is(self, learner: Learner, tolerance: float = 1e-9) -> None:
        """Compare all weights with those of the learner's run."""
        for name, weight in self.weights.items():
            torch.testing.assert_close(learner.params[name][self.run], weight, rtol=tolerance, atol=tolerance, msg=name)
