"""A learner: a network, its weights, a problem's loss, and a method with its optimiser.

Dimensions: S seeds, B batch, O outputs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lop_engine.device import training_precision
from lop_engine.experiment.code import load
from lop_engine.experiment.spec import Spec
from lop_engine.methods.method import Batch, Method, Setup, TaskData
from lop_engine.methods.optimizers import Grads, build_optimizer
from lop_engine.methods.runs import Runs
from lop_engine.networks import Activations, Params, build_network
from lop_engine.problems import Problem, Task, build_problem
from lop_engine.training.record import TaskRecord


@dataclass(frozen=True)
class StepResult:
    """Mean loss and score per seed of the batch just trained on, before its update."""

    loss_S: Tensor
    score_S: Tensor | None
    """None for a problem without a score."""


class Learner:
    """Trains S runs with networks of the same shape, one mini-batch per step.

    The step has static shapes, never waits for the device, and changes its tensors in place: everything except drawing
    random numbers can be captured once and replayed (`lop_engine.training.cuda_graph`).

    Args:
        spec: one for all runs, or one for each; see `experiment.spec.stack_key`.
        params: weights with a leading seed axis, used as they are (including their memory layout) instead of the seeds'
            initialisation.
        problem: by default, the problem of the spec.
    """

    def __init__(
        self,
        spec: Spec | Sequence[Spec],
        seeds: Sequence[int],
        device: torch.device,
        params: Params | None = None,
        problem: Problem | None = None,
    ) -> None:
        runs = Runs([spec] * len(seeds) if isinstance(spec, Spec) else list(spec), list(seeds), device)
        self.spec = spec = runs.spec
        self.seeds, self.precision = list(seeds), spec.precision
        self.dtype = torch.float64 if spec.precision == "fp64" else torch.float32
        self.problem = problem or build_problem(spec)
        self.net = build_network(spec, self.problem.input_shape, self.problem.num_outputs)
        params = self.net.init(seeds, device, self.dtype) if params is None else params
        self.params = {name: weight.to(self.dtype) for name, weight in params.items()}
        self.buffers = self.net.buffers(len(self.seeds), device, self.dtype)
        self.optimizer = build_optimizer(runs, self.params, self.net)
        setup = Setup(runs, self.net, self.optimizer, self.dtype)
        self.method: Method = load(spec.parts.method)(setup)
        self.method.init(self.params)
        self.record = TaskRecord(spec, len(self.seeds), device)
        for weight in self.params.values():
            weight.requires_grad_(True)

    def step(self, inputs: Tensor, targets: Tensor) -> StepResult:
        """Compute forward pass, loss and penalty, backward pass, update, and the method's work after it."""
        self.method.draw()
        result = self.learn(inputs, targets)
        self.method.step += 1
        return result

    def learn(self, inputs: Tensor, targets: Tensor) -> StepResult:
        """Take a step with random numbers that are already drawn."""
        with torch.no_grad():
            self.method.start_step(self.params)
        with training_precision(self.precision, inputs.device.type):
            activations = self.method.compute(self.params, inputs, self.buffers, training=True)
            outputs_SBO = activations.outputs_SBO.to(self.dtype)
            hidden = [layer.to(self.dtype, self.method.looks_before_pooling) for layer in activations.hidden]
            del activations  # free the maps before pooling
            loss_S = self.problem.loss(outputs_SBO, targets)
            penalty_S = self.method.penalty(self.params)
            objective_S = loss_S if penalty_S is None else loss_S + penalty_S
            # The gradient of the sum over seeds is each seed's gradient of its objective.
            grads = _gradient(objective_S, self.params)
        with torch.no_grad():
            result = StepResult(loss_S.detach(), self.problem.score(outputs_SBO, targets))
            self.method.update(self.params, grads, hidden)
            self.method.after_update(self.params, hidden, grads, Batch(inputs, targets), self._forward_in_training)
            return result

    @torch.no_grad()
    def start_task(self, index: int, task: Task) -> None:
        """Reset the outputs that the problem names, and pass the new task to the method."""
        outputs = self.problem.reset_outputs(index)
        if outputs is not None:
            self.reset_head(outputs)
        inputs, targets = task.train_inputs, task.train_targets
        self.method.start_task(TaskData(index, inputs, targets, self._loss_gradient, outputs))

    @torch.no_grad()
    def end_task(self, index: int) -> None:
        self.method.end_task(index)

    def start_epoch(self, task: int, epoch: int) -> None:
        """Set random streams and the step counter for an epoch, or for a part of a task in parts."""
        self.method.step = task * self.spec.steps_per_task + epoch * self.spec.steps_per_part
        self.method.start_epoch(task, epoch)

    @torch.no_grad()
    def reset_head(self, outputs: slice = slice(None)) -> None:
        """Zero outputs of the last layer; everything else carries over."""
        head = self.net.layers[-1].name
        self.params[f"{head}.weight"][:, outputs].zero_()
        self.params[f"{head}.bias"][:, outputs].zero_()

    def evaluated(self) -> Params:
        """Return the weights to evaluate, detached."""
        return self.method.evaluated({name: weight.detach() for name, weight in self.params.items()})

    def forward(self, params: Params, inputs: Tensor) -> Activations:
        """Return the network's result for inputs (S, B, ...) with weights `params`, in evaluation mode."""
        return self.method.compute(params, inputs, self.buffers, training=False)

    def state(self) -> dict[str, Tensor]:
        """Return all tensors that persist between steps, by name, each with a leading seed axis: views, not copies."""
        optimizer = self.optimizer.state() if self.optimizer else {}
        return {
            **{f"params.{name}": weight.detach() for name, weight in self.params.items()},
            **{f"buffers.{name}": tensor for name, tensor in self.buffers.items()},
            **{f"optimizer.{name}": tensor for name, tensor in optimizer.items()},
            **{f"mechanism.{name}": tensor for name, tensor in self.method.state().items()},
            **{f"task.{name}": tensor for name, tensor in self.record.state().items()},
        }

    def state_of(self, run: int) -> dict[str, Tensor]:
        """Return the tensors of one run, without the leading axis: the same as without a stack."""
        return self.part_of(self.state(), run)

    def part_of(self, state: dict[str, Tensor], run: int) -> dict[str, Tensor]:
        """Return the same from a copy of `state`."""
        return {name: tensor[run] for name, tensor in state.items() if not self._is_unused(name, run)}

    def load_states(self, states: Sequence[dict[str, Tensor]]) -> None:
        """Load the states of all runs, as returned by `state_of`."""
        whole = self.state()
        for run, state in enumerate(states):
            expected = {name for name in whole if not self._is_unused(name, run)}
            if state.keys() != expected:
                raise ValueError(f"state holds other tensors: {sorted(expected ^ state.keys())}")
        rows = {name: [state.get(name) for state in states] for name in whole}
        zeros = {name: torch.zeros_like(tensor[0], device="cpu") for name, tensor in whole.items()}
        self.load_state(
            {name: torch.stack([zeros[name] if row is None else row for row in rows[name]]) for name in whole}
        )

    def _is_unused(self, name: str, run: int) -> bool:
        part, _, rest = name.partition(".")
        return part == "optimizer" and self.optimizer is not None and self.optimizer.is_unused(rest, run)

    @torch.no_grad()
    def load_state(self, state: dict[str, Tensor]) -> None:
        """Load a state with the same names and shapes."""
        own = self.state()
        if own.keys() != state.keys():
            raise ValueError(f"state holds other tensors: {sorted(own.keys() ^ state.keys())}")
        for name, tensor in own.items():
            tensor.copy_(state[name])

    def _forward_in_training(self, inputs: Tensor) -> Activations:
        """Return the network in training mode, with its current weights; buffers are not changed."""
        buffers = {name: tensor.clone() for name, tensor in self.buffers.items()}
        return self.method.compute(self.params, inputs, buffers, training=True)

    @torch.enable_grad()
    def _loss_gradient(self, inputs: Tensor, targets: Tensor) -> Grads:
        outputs_SBO = self.forward(self.params, inputs).outputs_SBO
        return _gradient(self.problem.loss(outputs_SBO, targets), self.params)


def _gradient(objective_S: Tensor, params: Params) -> Grads:
    return dict(zip(params, torch.autograd.grad(objective_S.sum(), list(params.values())), strict=True))
