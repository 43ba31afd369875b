"""The reference implementation's files (Dohare et al. 2024): their keys, and the problem that a file is about."""

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any

from lop_engine.errors import ConfigError


@dataclass(frozen=True)
class ReferenceProblem:
    """One of the reference's experiments, known by keys that only its files have."""

    problem: str
    """The name that it has here."""
    title: str
    keys: frozenset[str]


PROBLEMS = (
    ReferenceProblem(
        "continual_imagenet",
        "Continual ImageNet",
        frozenset({"num_classes", "new_heads", "net_type"}),
    ),
    ReferenceProblem(
        "slowly_changing_regression",
        "Slowly-Changing Regression",
        frozenset(
            {
                "num_data_points",
                "num_target_features",
                "num_flipping_bits",
                "num_inputs",
                "flip_after",
                "flip_one",
                "env_file",
                "target_net_file",
                "hidden_activation",
            }
        ),
    ),
    ReferenceProblem(
        "permuted_mnist",
        "Online Permuted MNIST",
        frozenset({"change_after", "num_examples", "to_perturb"}),
    ),
    ReferenceProblem(
        "incremental_cifar",
        "Class-Incremental CIFAR-100",
        frozenset(
            {
                "noise_std",
                "use_cbp",
                "utility_function",
                "reset_head",
                "reset_network",
                "early_stopping",
                "experiment_name",
                "results_dir",
            }
        ),
    ),
)

#: Keys of the reference's Continual ImageNet files.
KEYS = frozenset(
    {"agent", "opt", "step_size", "momentum", "weight_decay", "perturb_scale"}
    | {"replacement_rate", "decay_rate", "util_type", "maturity_threshold", "net_type"}
    | {"num_tasks", "num_classes", "num_showings", "mini_batch_size", "new_heads"}
    | {"num_runs", "use_gpu", "run_idx", "index", "data_dir", "data_file", "model_version"}
)

#: Keys that say nothing of the experiment itself, and show that a file comes from the reference or was made after it.
MARKS = frozenset({"num_runs", "use_gpu", "run_idx", "index", "data_dir", "data_file", "model_version"})

DEFAULT = "continual_imagenet"


def is_reference_file(values: Mapping[str, Any]) -> bool:
    """Whether a file looks like one of the reference's."""
    return not MARKS.isdisjoint(values)


def problem_of(values: Mapping[str, Any], known: Container[str]) -> str:
    """The problem that the keys of a file are about: Continual ImageNet if they do not say.

    Args:
        known: names of the problems that there are.
    Raises:
        ConfigError: they are keys of a problem that is not here yet, or of two problems.
    """
    found = {one: sorted(one.keys & values.keys()) for one in PROBLEMS if one.keys & values.keys()}
    if len(found) > 1:
        theirs = "; ".join(f"{', '.join(keys)} of {one.title}" for one, keys in found.items())
        raise ConfigError(f'the keys are those of several problems ({theirs}); name one with "problem"')
    for one, keys in found.items():
        if one.problem not in known:
            raise ConfigError(
                f"this is a file of the reference's {one.title} ({', '.join(keys)}), a problem that lop does not have"
            )
        return one.problem
    return DEFAULT
