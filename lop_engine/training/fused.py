"""A part of a task as one call of a compiled kernel, for online regression with small networks on a CPU.

`fused_kernel` computes what `Learner.step` does, to rounding, many times faster, because a step of such a network takes
PyTorch longer to launch than to compute. Where it does not apply, or Numba is missing, training takes the general way.

Dimensions: N examples, S runs, I inputs, P weights and biases, K steps whose random numbers are drawn together.
"""

from importlib.util import find_spec
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lop_engine.experiment import networks as described
from lop_engine.methods.continual_backprop import GenerateAndTest
from lop_engine.methods.method import Method
from lop_engine.methods.optimizers import SGD, Adam
from lop_engine.methods.runs import Number
from lop_engine.methods.shrink_and_perturb import Perturbation
from lop_engine.networks.linear import Linear
from lop_engine.networks.mlp import MLP
from lop_engine.problems import Task
from lop_engine.training.learner import Learner

ACTIVATIONS = ("relu", "leaky_relu", "elu", "swish", "tanh", "sigmoid")
ACCRUALS = ("all", "eligible", "bernoulli")
MOST_WEIGHTS = 2000
"""Larger networks leave the cache, and PyTorch's matrix products are faster."""
_LONGEST = 2**15
"""Entries of tables by age or step count; by then every correction is 1."""


def has_numba() -> bool:
    return find_spec("numba") is not None


def applies(learner: Learner, device: torch.device) -> bool:
    """Whether the kernel computes what these runs do; it needs Numba besides."""
    spec, method, optimizer = learner.spec, learner.method, learner.optimizer
    return (
        device.type == "cpu"
        and spec.precision == "fp32"
        and spec.examples_per_part > 0
        and spec.mini_batch_size == 1
        and "squared error" in spec.parts.problem.provides
        and learner.problem.num_outputs == 1
        and (type(learner.net) is Linear or (type(learner.net) is MLP and _is_usual_mlp(learner)))
        and sum(weight[0].numel() for weight in learner.params.values()) <= MOST_WEIGHTS
        and (
            (type(optimizer) is SGD and not optimizer.state()) or (type(optimizer) is Adam and _has_numbers(optimizer))
        )
        and (type(method) in (Method, Perturbation) or (type(method) is GenerateAndTest and _is_usual(method)))
    )


def _is_usual_mlp(learner: Learner) -> bool:
    own = learner.spec.own(described.MLP)
    return own.num_hidden_layers == 1 and not own.layer_norm and own.activation in ACTIVATIONS


def _has_numbers(optimizer: Adam) -> bool:
    """Whether all runs have the same betas and epsilon."""
    return not any(isinstance(one, Tensor) for one in (*optimizer.betas, optimizer.epsilon))


def _is_usual(method: GenerateAndTest) -> bool:
    return (
        method.own.util_type in ("contribution", "adaptable_contribution")
        and not isinstance(method.own.decay_rate, Tensor)
        and len(method.step_numbers) == 1
    )


class FusedPart:
    """Trains a learner on a part of a task, when called with it; returns the sum of each run's losses, (S,)."""

    def __init__(self, learner: Learner) -> None:
        from lop_engine.training import fused_kernel

        self.kernel, self.learner = fused_kernel.train, learner
        spec = learner.spec
        is_linear = type(learner.net) is Linear
        self.shape = (prod(learner.problem.input_shape), 0 if is_linear else int(spec.num_features))
        self.activation = 0 if is_linear else ACTIVATIONS.index(spec.activation)
        optimizer: Any = learner.optimizer
        both = [self._of_runs(one) for one in (optimizer.step_size, optimizer.weight_decay)]
        self.steps_S = np.stack(both, axis=1).astype(np.float32)
        self.uses_adam = type(optimizer) is Adam
        betas = (*optimizer.betas, optimizer.epsilon) if self.uses_adam else (0.0, 0.0, 1.0)
        steps = np.arange(_LONGEST if self.uses_adam else 1, dtype=np.float64)
        self.scalars = np.array(betas, dtype=np.float64)
        with np.errstate(divide="ignore"):
            self.corrections = [
                (1 / (1 - betas[0] ** steps)).astype(np.float32),
                np.sqrt(1 - betas[1] ** steps).astype(np.float32),
            ]

    def __call__(self, task: Task) -> Tensor:
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
        return torch.from_numpy(losses_NS).double().sum(0)

    def _of_runs(self, number: Number) -> np.ndarray:
        """A number of each run, (S,)."""
        if isinstance(number, Tensor):
            return number.numpy()
        return np.full(len(self.learner.seeds), number, dtype=np.float64)

    def number_blocks(self, num_examples: int) -> Any:
        """(first example, random numbers (S, K, count)) of each stretch of a part; (S, K, 0) if none are drawn."""
        method = self.learner.method
        if type(method) is Method:
            yield 0, np.empty((len(self.learner.seeds), num_examples, 0), dtype=np.float32)
            return
        [numbers] = method.step_numbers  # type: ignore[attr-defined]
        start = 0
        while start < num_examples:
            block_SKN = numbers.draw_block().numpy()
            yield start, np.ascontiguousarray(block_SKN[:, : num_examples - start])
            start += block_SKN.shape[1]

    def _noise(self, numbers_SKN: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        method = self.learner.method
        if isinstance(method, Perturbation):
            return numbers_SKN, self._of_runs(method.scale).astype(np.float32)
        return np.empty((0, 0, 0), np.float32), np.empty(0, np.float32)

    def _units(self) -> np.ndarray:
        """Age, utility and mean activation of the hidden units, (3, S, H); empty without replacement."""
        method = self.learner.method
        if not isinstance(method, GenerateAndTest):
            return np.empty((3, 0, 0), np.float32)
        kept = method.layer_states[0]
        return torch.stack([kept.age_SF, kept.utility_SF, kept.mean_activation_SF]).numpy()

    def _replacement(self, numbers_SKN: np.ndarray, units_SHA: np.ndarray) -> tuple[Any, ...]:
        method = self.learner.method
        if not isinstance(method, GenerateAndTest):
            none = np.empty(0)
            return np.empty((0, 0, 0), np.float32), none, units_SHA, none, none, none, none, none.astype(np.float32)
        own, decay = method.own, float(method.own.decay_rate)
        bound = method.network.weight_bounds[method.hidden_layers[0].name]
        adapts = own.util_type == "adaptable_contribution"
        settings = np.array([decay, adapts, ACCRUALS.index(own.accrual), bound])
        share = (1 - np.float32(decay) ** np.arange(_LONGEST, dtype=np.float32)).astype(np.float32)
        most = np.full(len(self.learner.seeds), method.max_replaced[0], dtype=np.float64)
        numbers = [self._of_runs(one) for one in (own.replacement_rate, own.maturity_threshold)]
        return numbers_SKN, method.layer_states[0].budget_S.numpy(), units_SHA, *numbers, most, settings, share

    @staticmethod
    def _flat(tensors: dict[str, Tensor]) -> np.ndarray:
        return torch.cat([one.detach().flatten(1) for one in tensors.values()], dim=1).numpy()

    def _moments(self) -> np.ndarray:
        """Adam's moments and step counts, (3, S, P)."""
        optimizer = self.learner.optimizer
        if not isinstance(optimizer, Adam):
            return np.empty((3, 0, 0), np.float32)
        return np.stack([self._flat(kept) for kept in (optimizer.first, optimizer.second, optimizer.steps)])

    @torch.no_grad()
    def _write(self, flat_SP: np.ndarray, moments: np.ndarray, units_SHA: np.ndarray) -> None:
        """Put what the kernel changed into the learner's tensors."""
        _write_back(self.learner.params, flat_SP)
        optimizer, method = self.learner.optimizer, self.learner.method
        if isinstance(optimizer, Adam):
            for kept, values in zip((optimizer.first, optimizer.second, optimizer.steps), moments, strict=True):
                _write_back(kept, values)
        if isinstance(method, GenerateAndTest):
            kept_of = method.layer_states[0]
            for one, values in zip(
                (kept_of.age_SF, kept_of.utility_SF, kept_of.mean_activation_SF), units_SHA, strict=True
            ):
                one.copy_(torch.from_numpy(values))


def _write_back(tensors: dict[str, Tensor], flat_SP: np.ndarray) -> None:
    parts = torch.from_numpy(flat_SP).split([one[0].numel() for one in tensors.values()], dim=1)
    for tensor, part in zip(tensors.values(), parts, strict=True):
        tensor.copy_(part.view(tensor.shape))
