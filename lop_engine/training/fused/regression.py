"""Online regression with small networks: `regression_kernel` trains all runs of a stack at once.

Dimensions: N examples, S runs, I inputs, P weights and biases, K steps whose random numbers are drawn together.
"""

from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lop_engine.experiment import networks as described
from lop_engine.methods.continual_backprop import GenerateAndTest
from lop_engine.methods.method import Method
from lop_engine.methods.optimizers import Adam
from lop_engine.methods.shrink_and_perturb import Perturbation
from lop_engine.networks.linear import Linear
from lop_engine.networks.mlp import MLP
from lop_engine.problems import Task
from lop_engine.training.fused.part import (
    LONGEST,
    FusedPart,
    decay_settings,
    is_plain_sgd,
    replaces_as_usual,
    trains_one_by_one,
    write_back,
)
from lop_engine.training.learner import Learner

ACTIVATIONS = ("relu", "leaky_relu", "elu", "swish", "tanh", "sigmoid")
MOST_WEIGHTS = 2000
"""With more weights the network leaves the cache, and PyTorch's matrix products are faster."""


class RegressionPart(FusedPart):
    """Trains with squared error of one output; at most one hidden layer; SGD or Adam."""

    def __init__(self, learner: Learner) -> None:
        super().__init__(learner)
        from lop_engine.training.fused import regression_kernel

        self.kernel = regression_kernel.train
        is_linear = type(learner.net) is Linear
        self.shape = (prod(learner.problem.input_shape), 0 if is_linear else int(learner.spec.num_features))
        self.activation = 0 if is_linear else ACTIVATIONS.index(learner.spec.activation)
        optimizer: Any = learner.optimizer
        self.uses_adam = type(optimizer) is Adam
        betas = (*optimizer.betas, optimizer.epsilon) if self.uses_adam else (0.0, 0.0, 1.0)
        steps = np.arange(LONGEST if self.uses_adam else 1, dtype=np.float64)
        self.scalars = np.array(betas, dtype=np.float64)
        with np.errstate(divide="ignore"):
            self.corrections = [
                (1 / (1 - betas[0] ** steps)).astype(np.float32),
                np.sqrt(1 - betas[1] ** steps).astype(np.float32),
            ]

    @classmethod
    def applies(cls, learner: Learner) -> bool:
        method, optimizer = learner.method, learner.optimizer
        return (
            trains_one_by_one(learner)
            and "squared error" in learner.spec.parts.problem.provides
            and learner.problem.num_outputs == 1
            and (type(learner.net) is Linear or (type(learner.net) is MLP and _is_usual_mlp(learner)))
            and sum(weight[0].numel() for weight in learner.params.values()) <= MOST_WEIGHTS
            and (is_plain_sgd(learner) or (type(optimizer) is Adam and _has_numbers(optimizer)))
            and (type(method) in (Method, Perturbation) or replaces_as_usual(method))
        )

    def __call__(self, task: Task) -> tuple[Tensor, Tensor | None]:
        x_NSI = np.ascontiguousarray(task.train_inputs.flatten(2).transpose(0, 1).numpy())
        y_NS = np.ascontiguousarray(task.train_targets.squeeze(2).T.numpy())
        flat_SP, moments = self._flat(self.learner.params), self._moments()
        losses_NS = np.empty_like(y_NS)
        units_SHA = self._units()
        for start, numbers_SKN in self.number_blocks(len(y_NS)):
            part = slice(start, start + numbers_SKN.shape[1])
            given = (moments, self.scalars, *self.corrections)
            noise, replacement = self._noise(numbers_SKN), self._replacement(numbers_SKN, units_SHA)
            self.kernel(
                x_NSI[part], y_NS[part], flat_SP, self.shape, self.activation, self.steps_S, self.uses_adam, given,
                noise, replacement, losses_NS[part],
            )  # fmt: skip
        self._write(flat_SP, moments, units_SHA)
        self.learner.method.step += len(y_NS)
        return torch.from_numpy(losses_NS).double().sum(0), None

    def _noise(self, numbers_SKN: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        method = self.learner.method
        if isinstance(method, Perturbation):
            return numbers_SKN, self.of_runs(method.scale).astype(np.float32)
        return np.empty((0, 0, 0), np.float32), np.empty(0, np.float32)

    def _units(self) -> np.ndarray:
        """Return age, utility and mean activation of the hidden units, (3, S, H); empty without replacement."""
        method = self.learner.method
        if not isinstance(method, GenerateAndTest):
            return np.empty((3, 0, 0), np.float32)
        state = method.layer_states[0]
        return torch.stack([state.age_SF, state.utility_SF, state.mean_activation_SF]).numpy()

    def _replacement(self, numbers_SKN: np.ndarray, units_SHA: np.ndarray) -> tuple[Any, ...]:
        method = self.learner.method
        if not isinstance(method, GenerateAndTest):
            none = np.empty(0)
            return np.empty((0, 0, 0), np.float32), none, units_SHA, none, none, none, none, none.astype(np.float32)
        settings, share_A = decay_settings(method)
        bound = method.network.weight_bounds[method.hidden_layers[0].name]
        most = np.full(len(self.learner.seeds), method.max_replaced[0], dtype=np.float64)
        numbers = [self.of_runs(one) for one in (method.own.replacement_rate, method.own.maturity_threshold)]
        budget_S = method.layer_states[0].budget_S.numpy()
        return numbers_SKN, budget_S, units_SHA, *numbers, most, np.append(settings, bound), share_A

    @staticmethod
    def _flat(tensors: dict[str, Tensor]) -> np.ndarray:
        return torch.cat([one.detach().flatten(1) for one in tensors.values()], dim=1).numpy()

    def _moments(self) -> np.ndarray:
        """Return Adam's moments and step counts, (3, S, P)."""
        optimizer = self.learner.optimizer
        if not isinstance(optimizer, Adam):
            return np.empty((3, 0, 0), np.float32)
        return np.stack([self._flat(tensors) for tensors in (optimizer.first, optimizer.second, optimizer.steps)])

    def _write(self, flat_SP: np.ndarray, moments: np.ndarray, units_SHA: np.ndarray) -> None:
        """Copy the kernel's results into the learner's tensors."""
        _write_flat(self.learner.params, flat_SP)
        optimizer, method = self.learner.optimizer, self.learner.method
        if isinstance(optimizer, Adam):
            for tensors, values in zip((optimizer.first, optimizer.second, optimizer.steps), moments, strict=True):
                _write_flat(tensors, values)
        if isinstance(method, GenerateAndTest):
            state = method.layer_states[0]
            write_back([state.age_SF, state.utility_SF, state.mean_activation_SF], list(units_SHA))


def _is_usual_mlp(learner: Learner) -> bool:
    own = learner.spec.own(described.MLP)
    return own.num_hidden_layers == 1 and not own.layer_norm and own.activation in ACTIVATIONS


def _has_numbers(optimizer: Adam) -> bool:
    """Whether all runs have the same betas and epsilon."""
    return not any(isinstance(one, Tensor) for one in (*optimizer.betas, optimizer.epsilon))


def _write_flat(tensors: dict[str, Tensor], flat_SP: np.ndarray) -> None:
    ends = np.cumsum([one[0].numel() for one in tensors.values()])[:-1]
    write_back(list(tensors.values()), np.split(flat_SP, ends, axis=1))
