"""What methods that start hidden units over share: new incoming weights for every unit, drawn as initially.

Dimensions: S runs, F units of a layer.
"""

from torch import Tensor

from lop_engine.methods.method import Method, Setup


class UnitResets(Method):
    """Draws incoming weights of all hidden units in one step of every `period`, the last of them.

    Args:
        period: steps from one draw to the next.
    """

    def __init__(self, setup: Setup, period: int = 1) -> None:
        super().__init__(setup)
        self.network, self.period = setup.network, period
        self._sizes = [layer.outputs * layer.fan_in for layer in self.network.hidden_layers]
        self.numbers = setup.step_numbers(sum(self._sizes), Tensor.uniform_, every=period)

    def start_epoch(self, task: int, epoch: int) -> None:
        self.numbers.start_epoch(task, epoch)

    @property
    def variant(self) -> bool:
        """Whether units may start over after the coming step."""
        return (self.step + 1) % self.period == 0

    def draw(self) -> None:
        if self.variant:
            self.numbers.draw()

    def drawn_incoming(self, index: int) -> Tensor:
        """New incoming weights of every unit of hidden layer `index`, U(-b, b) as initially, (S, F, ...)."""
        layer, start = self.network.hidden_layers[index], sum(self._sizes[:index])
        drawn = self.numbers.of_step_SN[:, start : start + self._sizes[index]]
        bound = self.network.weight_bounds[layer.name]
        return drawn.unflatten(1, layer.weight_shape) * (2 * bound) - bound
