"""ReDo in one file."""

import torch
from pydantic import Field

from lop_engine.experiment import components as describe
from lop_engine.experiment.fields import Fields
from lop_engine.methods import units
from lop_engine.methods.method import Method


class Keys(Fields):
    tau: float = Field(0.1, ge=0, description="A unit is dormant if its score is at most this.")
    period: int = Field(20, ge=1, description="Steps between recyclings.")


class MyReDo(Method):
    def __init__(self, setup):
        super().__init__(setup)
        self.keys = setup.spec.own(Keys)
        self.sizes = [layer.outputs * layer.fan_in for layer in setup.network.hidden_layers]
        self.numbers = setup.step_numbers(sum(self.sizes), torch.Tensor.uniform_)

    def start_epoch(self, task, epoch):
        self.numbers.start_epoch(task, epoch)

    @property
    def variant(self):
        return (self.step + 1) % self.keys.period == 0

    def draw(self):
        self.numbers.draw()

    def after_update(self, params, hidden, grads, batch, forward):
        if not self.variant:
            return
        new, drawn = {}, self.numbers.of_step_SN.split(self.sizes, dim=1)
        for index, layer in enumerate(hidden):
            size = layer.activation.abs()
            score = size.mean((1, *range(3, size.dim())))
            mask = score <= self.keys.tau * score.mean(1, keepdim=True)
            below = self.setup.network.hidden_layers[index]
            bound = self.setup.network.weight_bounds[below.name]
            new[index] = units.NewUnits(mask, drawn[index].unflatten(1, below.weight_shape) * 2 * bound - bound)
        units.reinitialise(params, self.setup.network, new, winner="outgoing")


METHOD = describe.Method(
    name="my_redo",
    title="my ReDo",
    sentence="Recycle dormant units.",
    fields=Keys,
    colour="#AA3377",
    needs=frozenset({"hidden units"}),
    code=MyReDo,
)
