"""L2 Init in one file: a penalty on the distance from the initial weights."""

from pydantic import Field

from lop_engine.experiment import components as describe
from lop_engine.experiment.fields import Fields
from lop_engine.methods.method import Method


class Keys(Fields):
    strength: float = Field(0.01, ge=0, description="Strength of the pull towards the initial weights.")


class MyL2Init(Method):
    def init(self, params):
        self.start = {name: weight.detach().clone() for name, weight in params.items()}

    def penalty(self, params):
        squares = [(params[name] - start).square().flatten(1).sum(1) for name, start in self.start.items()]
        return sum(squares) * self.setup.spec.own(Keys).strength / 2


METHOD = describe.Method(
    name="my_l2_init",
    title="my L2 Init",
    sentence="Pull the weights towards their start.",
    fields=Keys,
    colour="#225588",
    code=MyL2Init,
)
