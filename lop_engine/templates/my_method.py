"""my_method, a method of your own: pull the weights towards their running mean, and add a little noise.

It is an example to change. A worker trains several seeds at once: the first axis S of every tensor is the seed; do not
mix seeds. A GPU records a training step as a CUDA graph and replays it, so a step changes tensors in place, keeps their
shapes, and never reads a tensor's value (no .item(), no `if tensor`): use masks (torch.where).
"""

from pydantic import Field
from torch import Tensor

from lop_engine.experiment import components as describe
from lop_engine.experiment.fields import Fields
from lop_engine.methods.method import Batch, Forward, Method, Setup
from lop_engine.methods.optimizers import Grads
from lop_engine.methods.step_numbers import like_weights
from lop_engine.networks import Hidden, Params


class Keys(Fields):
    """The method's own keys in an experiment file, with bounds, default and help."""

    pull: float = Field(0.01, ge=0, le=1, description="Share of the way to the running mean in each step.")
    noise: float = Field(0.0001, ge=0, description="Standard deviation of the noise in each step.")


class MyMethod(Method):
    """Backprop with some of its hooks changed; all hooks are in lop_engine/methods/method.py."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)  # keeps setup: spec, network, optimizer, seeds, device and dtype
        self.keys = setup.spec.own(Keys)

    def init(self, params: Params) -> None:
        """Receive the initial weights, by name, (S, ...) each; create the tensors that the method needs."""
        self.means = {name: weight.detach().clone() for name, weight in params.items()}
        # The method's own random numbers: a fixed number per step, the same for a seed alone and in a stack.
        self.numbers = self.setup.step_numbers(sum(weight[0].numel() for weight in params.values()))

    def start_epoch(self, task: int, epoch: int) -> None:
        """Set the random numbers to the start of an epoch, so that a run can resume there."""
        self.numbers.start_epoch(task, epoch)

    def draw(self) -> None:
        """Draw the numbers of the coming step."""
        self.numbers.draw()

    def after_update(self, params: Params, hidden: list[Hidden], grads: Grads, batch: Batch, forward: Forward) -> None:
        """Change the weights after the optimiser's update. Gradients are off."""
        noises = like_weights(self.numbers.of_step_SN, params)
        for name, weight in params.items():
            self.means[name].lerp_(weight, 0.1)
            weight.lerp_(self.means[name], self.keys.pull).add_(noises[name], alpha=self.keys.noise)

    def state(self) -> dict[str, Tensor]:
        """Return every tensor that must be in a checkpoint because later steps need it."""
        return self.means


METHOD = describe.Method(
    name="my_method",
    title="my method",
    sentence="Pull the weights towards their running mean, and add noise.",
    fields=Keys,
    colour="#AA3377",
    code=MyMethod,
)
