"""Online classification of flat images by an MLP: `classifier_kernel` trains one run after another.

So a run's weights stay in the processor's cache, and each step passes over them twice. PyTorch passes over the
weights of all runs several times per step, and loads them from memory each time.

Dimensions: S runs, N examples, I inputs, F units of a hidden layer, L hidden layers, K numbers a step.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lop_engine.experiment import networks as described
from lop_engine.methods.continual_backprop import GenerateAndTest
from lop_engine.methods.method import Method
from lop_engine.networks.mlp import MLP
from lop_engine.problems import Task
from lop_engine.problems.permuted_mnist import PermutedMnist
from lop_engine.training.fused.part import (
    FusedPart,
    as_arrays,
    decay_settings,
    is_plain_sgd,
    replaces_as_usual,
    trains_one_by_one,
)
from lop_engine.training.learner import Learner


class ClassifierPart(FusedPart):
    """Trains with cross-entropy and accuracy; hidden layers of ReLUs; SGD; backprop, L2 or continual backprop."""

    def __init__(self, learner: Learner) -> None:
        super().__init__(learner)
        from lop_engine.training.fused import classifier_kernel

        self.kernel = classifier_kernel.train
        names = [layer.name for layer in learner.net.layers]
        self.weights = as_arrays([learner.params[f"{name}.weight"] for name in names])
        self.biases = as_arrays([learner.params[f"{name}.bias"] for name in names])

    @classmethod
    def applies(cls, learner: Learner) -> bool:
        return (
            trains_one_by_one(learner)
            and isinstance(learner.problem, PermutedMnist)
            and type(learner.net) is MLP
            and _has_relus(learner)
            and is_plain_sgd(learner)
            and (type(learner.method) is Method or _replaces_by_budget(learner.method))
            and all(weight.is_contiguous() for weight in learner.params.values())
        )

    def __call__(self, task: Task) -> tuple[Tensor, Tensor | None]:
        x_SNI, y_SN = task.train_inputs.contiguous().numpy(), task.train_targets.contiguous().numpy()
        losses_S, correct_S = np.zeros(len(y_SN)), np.zeros(len(y_SN))
        for start, numbers_SNK in self.number_blocks(y_SN.shape[1]):
            part = slice(start, start + numbers_SNK.shape[1])
            self.kernel(
                np.ascontiguousarray(x_SNI[:, part]), np.ascontiguousarray(y_SN[:, part]), self.weights, self.biases,
                self.steps_S, self._replacement(numbers_SNK), losses_S, correct_S,
            )  # fmt: skip
        self.learner.method.step += y_SN.shape[1]
        return torch.from_numpy(losses_S), torch.from_numpy(correct_S)

    def _replacement(self, numbers_SNK: np.ndarray) -> "Replacement":
        method = self.learner.method
        if not isinstance(method, GenerateAndTest):
            empty, count = np.empty(0), len(self.weights)
            units, counts = (np.empty((0, 0), np.float32),) * count, np.empty(0, np.int64)
            return Replacement(
                numbers_SNK, units, units, units, (empty,) * count, empty, empty, counts, counts, empty, empty,
                np.empty(0, np.float32),
            )  # fmt: skip
        layers, states, own = method.hidden_layers, method.layer_states, method.own
        most_L = np.array(method.max_replaced, dtype=np.int64)
        numbers_L = most_L * [layer.fan_in for layer in layers]
        settings, share_A = decay_settings(method)
        return Replacement(
            numbers_SNK,
            as_arrays([one.age_SF for one in states]),
            as_arrays([one.utility_SF for one in states]),
            as_arrays([one.mean_activation_SF for one in states]),
            as_arrays([one.budget_S for one in states]),
            self.of_runs(own.replacement_rate),
            self.of_runs(own.maturity_threshold),
            most_L,
            np.cumsum(numbers_L) - numbers_L,
            np.array([method.network.weight_bounds[layer.name] for layer in layers]),
            settings,
            share_A,
        )


class Replacement(NamedTuple):
    """Arguments of unit replacement, in tuples by hidden layer; rates are empty if no units are replaced."""

    numbers_SNK: np.ndarray
    """Uniform random numbers of each step."""
    ages: tuple[np.ndarray, ...]
    utilities: tuple[np.ndarray, ...]
    means: tuple[np.ndarray, ...]
    """Age, utility and mean activation of the units, (S, F) each."""
    budgets: tuple[np.ndarray, ...]
    """Replacement budgets, (S,) each."""
    rates_S: np.ndarray
    maturity_S: np.ndarray
    most_L: np.ndarray
    """The most units that a step can replace in each hidden layer."""
    first_L: np.ndarray
    """Index of the first random number of each hidden layer."""
    bounds_L: np.ndarray
    """Bounds of the weights of new units."""
    settings: np.ndarray
    """(decay rate, whether utilities adapt, accrual)."""
    share_A: np.ndarray
    """1 - decay^age, by age."""


def _has_relus(learner: Learner) -> bool:
    own = learner.spec.own(described.MLP)
    return own.activation == "relu" and not own.layer_norm


def _replaces_by_budget(method: Method) -> bool:
    return replaces_as_usual(method) and isinstance(method, GenerateAndTest) and method.own.accrual != "bernoulli"
