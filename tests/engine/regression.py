"""The reference's runs of Slowly-Changing Regression in tests/golden, and learners with the same random numbers."""

from functools import cache

import numpy as np
import torch

from lop_engine.experiment.spec import Spec
from lop_engine.training.learner import Learner
from tests.engine.golden import GOLDEN

CPU = torch.device("cpu")
NUM_STEPS = 30_000
SHOWN = np.concatenate([np.arange(5000), np.arange(5000, NUM_STEPS, 10)])
"""The examples whose errors are kept."""

CBP = {"agent": "cbp", "decay_rate": 0.99, "maturity_threshold": 10, "util_type": "adaptable_contribution"} | {
    "budget_accrual": "bernoulli"
}
ACTIVATIONS = ("relu", "tanh", "sigmoid", "leaky_relu", "elu", "swish")
RUNS = {
    **{f"all_sgd.{name}": {"activation": name, "opt": "sgd"} for name in ACTIVATIONS},
    **{f"all_adam.{name}": {"activation": name, "opt": "adam", "step_size": 0.001} for name in ACTIVATIONS},
    "one_methods.bp": {},
    "one_methods.l2": {"agent": "l2", "weight_decay": 1e-3},
    "one_methods.snp": {"agent": "snp", "weight_decay": 1e-2, "perturb_scale": 1e-2},
    "one_methods.cbp": CBP | {"replacement_rate": 1e-3},
    "one_methods.linear": {"agent": "linear"},
    "all_cbp.cbp": CBP | {"replacement_rate": 1e-2},
}
SEEDS = {"one_methods.cbp": 73, "all_cbp.cbp": 75, "one_methods.snp": 71}
"""Of the recipes of numpy by which the reference's random numbers were replaced."""


@cache
def golden() -> dict[str, np.ndarray]:
    return dict(np.load(GOLDEN / "slowly_changing_regression.npz"))


def spec_of(run: str) -> Spec:
    values = {"agent": "bp", "step_size": 0.01, "num_tasks": 3, "flip_one": run.startswith("one")}
    return Spec(problem="slowly_changing_regression", **values | RUNS[run])


def examples(run: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return inputs (1, N, 20) and targets (1, N, 1) of a run."""
    env = run.partition("_")[0]
    x = np.unpackbits(golden()[f"{env}.X"], axis=1)[:, :20].astype(np.float32)
    return torch.from_numpy(x)[None], torch.from_numpy(golden()[f"{env}.Y"].astype(np.float32))[None, :, None]


def learner_of(run: str) -> Learner:
    """Return a learner with the reference's initial weights."""
    names = ("fc.weight", "fc.bias") if run.endswith("linear") else ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias")
    learner = Learner(spec_of(run), [0], CPU)
    sizes = [learner.params[name].numel() for name in names]
    parts = torch.from_numpy(golden()[f"{run}.init"]).split(sizes)
    with torch.no_grad():
        for name, part in zip(names, parts, strict=True):
            learner.params[name].copy_(part.view(learner.params[name].shape))
    return learner


def noise(run: str, num_steps: int) -> torch.Tensor:
    """Return the standard normal numbers of a run of snp, (steps, 111), in the order of lop's weights."""
    drawn = np.random.default_rng(SEEDS[run]).standard_normal((num_steps, 111), dtype=np.float32)
    in_bias, in_weight, out_bias, out_weight = np.split(drawn, [5, 105, 106], axis=1)
    return torch.from_numpy(np.concatenate([in_weight, in_bias, out_weight, out_bias], axis=1))


def chances(run: str, num_steps: int) -> torch.Tensor:
    """Return the random numbers that decide on replacements, (steps,), from the first step with an eligible unit on."""
    generator = np.random.default_rng(SEEDS[run])
    drawn = np.array([generator.random(dtype=np.float32) for _ in range(num_steps - 10)])
    return torch.from_numpy(np.concatenate([np.ones(10, np.float32), drawn]))


def candidates(run: str, learner: Learner) -> torch.Tensor:
    """Return the drawn incoming weights of each event as numbers in [0, 1), (events, 20)."""
    bound = learner.net.weight_bounds["fc1"]
    return (torch.from_numpy(golden()[f"{run}.event_incoming"]) + bound) / (2 * bound)
