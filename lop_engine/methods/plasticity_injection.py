"""Plasticity injection (Nikishin et al., NeurIPS 2023): new weights in the last layers, and the same outputs.

At the start of one task the last layers h are frozen, and two fresh copies of them are added that cancel. With x what
enters these layers,

    outputs = h_frozen(x) + h_new(x) - h_start(x)

where only h_new learns, from h_start, and the layers below learn through all three. So the outputs stay what they were,
and as many weights learn as before. The optimiser starts over in these layers.

Outputs that the problem sets to zero at the start of a task become zero in all three. With a single layer the sum is
itself a linear layer that learns as if nothing had happened; it takes two to inject anything.

Before the injection h_frozen and h_start are zero, so that each step computes the last layers three times. Only the
hidden units of h_new and of the layers below are measured.

Dimensions: S seeds, B batch.
"""

import torch
from torch import Tensor

from lop_engine.experiment import methods_at_boundaries as described
from lop_engine.methods.boundaries import AtBoundary, clear_new_outputs
from lop_engine.methods.method import Setup, TaskData
from lop_engine.networks import Activations, Buffers, Params
from lop_engine.networks.layers import FeedForward


class PlasticityInjection(AtBoundary):
    """Keeps the two copies that do not learn, also in the checkpoint."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        assert isinstance(setup.network, FeedForward)
        self.own, self.network = setup.own(described.PlasticityInjection), setup.network
        count = len(self.network.layers)
        self.first = max(self.network.first_linear, count - self.own.injection_layers)
        self.names = [name for index in range(self.first, count) for name in self.network.names_of(index)]

    def init(self, params: Params) -> None:
        self.params = params
        self.frozen, self.start = ({name: torch.zeros_like(params[name]) for name in self.names} for _ in range(2))
        for weight in (*self.frozen.values(), *self.start.values()):
            weight.requires_grad_(False)

    def start_task(self, task: TaskData) -> None:
        if task.index == self.own.injection_after:
            self._inject(task)
        for params in (self.frozen, self.start):
            clear_new_outputs(params, self.network, task)

    def _inject(self, task: TaskData) -> None:
        fresh = self.fresh(task.index)
        for name in self.names:
            self.frozen[name].copy_(self.params[name])
            for weights in (self.params, self.start):
                weights[name].copy_(fresh[name])
            if self.setup.optimizer:
                for tensor in self.setup.optimizer.moments(name) + self.setup.optimizer.counts(name):
                    tensor.zero_()
        clear_new_outputs(self.params, self.network, task)

    def compute(self, params: Params, inputs: Tensor, buffers: Buffers, training: bool) -> Activations:
        activations = self.network(params, inputs, buffers, training=training)
        x = (activations.hidden[self.first - 1].activation if self.first else inputs).flatten(2)
        frozen, start = (
            self.network.linear_layers(one, self.first, x).outputs_SBO for one in (self.frozen, self.start)
        )
        return Activations(activations.outputs_SBO + frozen - start, activations.hidden)

    def state(self) -> dict[str, Tensor]:
        both = {"frozen": self.frozen, "start": self.start}
        return {f"{kind}.{name}": weight for kind, weights in both.items() for name, weight in weights.items()}
