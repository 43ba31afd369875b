"""Methods that change the weights at task boundaries, that is, at the start of every task but the first.

Dimensions: S seeds.
"""

from lop_engine.methods.method import Method, TaskData
from lop_engine.networks import Network, Params
from lop_engine.streams import Stream, name_counter, torch_seed


class AtBoundary(Method):
    """Calls `change` at every boundary.

    Outputs that the problem has just set to zero stay zero. The steps within a task are those of backprop.
    """

    renews_optimizer = False
    """Whether the optimiser is reset at every boundary: moments, momentum and step counts become zero."""

    def init(self, params: Params) -> None:
        self.params = params
        self.initial = {name: weight.detach().clone() for name, weight in params.items()}

    def start_task(self, task: TaskData) -> None:
        if task.index == 0:
            return
        self.change(task)
        clear_new_outputs(self.params, self.setup.network, task)
        if self.renews_optimizer and self.setup.optimizer:
            for tensor in self.setup.optimizer.state().values():
                tensor.zero_()

    def change(self, task: TaskData) -> None:
        """Change the weights in place."""
        raise NotImplementedError

    def new_weights(self, kind: str, task: TaskData) -> Params:
        """Return weights to start from.

        Args:
            kind: ``initial``: the run's initial weights; ``fresh``: new weights for every seed and task.
        """
        return self.initial if kind == "initial" else self.fresh(task.index)

    def fresh(self, task: int) -> Params:
        """Return the weights of a new network for a task: a function of seed, method and task."""
        setup = self.setup
        counters = (Stream.COMPONENT, name_counter(setup.spec.method), task)
        return setup.network.init([torch_seed(seed, *counters) for seed in setup.seeds], setup.device, setup.dtype)


def clear_new_outputs(params: Params, network: Network, task: TaskData) -> None:
    """Set weights and biases of the outputs that are new in a task to zero."""
    if task.new_outputs is not None:
        for kind in ("weight", "bias"):
            params[f"{network.layers[-1].name}.{kind}"][:, task.new_outputs].zero_()
