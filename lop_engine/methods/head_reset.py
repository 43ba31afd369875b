"""Head reset (Nikishin et al., ICML 2022): re-initialises the last layers at the start of every task but the first."""

from lop_engine.experiment import methods_at_boundaries as described
from lop_engine.methods.boundaries import AtBoundary
from lop_engine.methods.method import Setup, TaskData


class HeadReset(AtBoundary):
    """Resets the last `head_reset_layers` layers, with their normalisation and optimiser state."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.own = setup.own(described.HeadReset)
        count = len(setup.network.layers)
        last = range(max(0, count - self.own.head_reset_layers), count)
        self.names = [name for index in last for name in setup.network.names_of(index)]

    def change(self, task: TaskData) -> None:
        new, optimizer = self.new_weights(self.own.head_reset_weights, task), self.setup.optimizer
        for name in self.names:
            self.params[name].copy_(new[name])
            if optimizer and self.own.head_reset_optimizer_state == "reset":
                for tensor in optimizer.moments(name) + optimizer.counts(name):
                    tensor.zero_()
