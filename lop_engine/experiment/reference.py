"""Experiment files of the reference implementation (Dohare et al. 2024): their keys, and recognising their problem."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lop_engine.errors import ConfigError

DEFAULT = "continual_imagenet"


@dataclass(frozen=True)
class ReferenceProblem:
    """One of the reference's experiments, with keys that its files and its code have besides the common ones."""

    problem: str
    """Name of the problem in lop."""
    title: str
    keys: frozenset[str]
    """Keys that identify the problem."""
    shared: frozenset[str]
    """Keys that other problems, or our files, have too; they identify the problem only in a reference file."""


PROBLEMS = (
    ReferenceProblem(
        DEFAULT,
        "Continual ImageNet",
        frozenset({"num_classes", "new_heads", "net_type"}),
        frozenset({"num_tasks", "num_showings"}),
    ),
    ReferenceProblem(
        "slowly_changing_regression",
        "Slowly-Changing Regression",
        frozenset(
            {"num_data_points", "num_target_features", "num_flipping_bits", "flip_after", "flip_one", "gen_prob_data"}
            | {"env_data_dir", "env_file", "target_net_dir", "target_net_file", "to_log_features", "to_log_activation"}
        ),
        frozenset({"num_inputs", "num_features", "hidden_activation", "beta", "mt", "accumulate", "to_log", "init"}),
    ),
    ReferenceProblem(
        "permuted_mnist",
        "Online Permuted MNIST",
        frozenset({"change_after", "num_examples", "to_perturb"}),
        frozenset({"num_tasks", "num_features", "num_hidden_layers", "mt", "accumulate", "to_log"}),
    ),
    ReferenceProblem(
        "incremental_cifar",
        "Class-Incremental CIFAR-100",
        frozenset({"use_cbp", "utility_function", "reset_head", "reset_network", "early_stopping", "results_dir"}),
        frozenset({"data_path", "experiment_name", "num_workers", "stepsize", "noise_std", "debug"}),
    ),
)

#: Keys of the reference's Continual ImageNet files.
KEYS = frozenset(
    {"agent", "opt", "step_size", "momentum", "weight_decay", "perturb_scale"}
    | {"replacement_rate", "decay_rate", "util_type", "maturity_threshold", "net_type"}
    | {"num_tasks", "num_classes", "num_showings", "mini_batch_size", "new_heads"}
    | {"num_runs", "use_gpu", "run_idx", "index", "data_dir", "data_file", "model_version"}
)

#: Keys without effect, which show that a file is from the reference or similar to its files.
MARKS = frozenset({"num_runs", "use_gpu", "run_idx", "index", "data_dir", "data_file", "model_version"})

_MOST_SHOWN = 4


def is_reference_file(values: Mapping[str, Any]) -> bool:
    """Whether a file looks like one of the reference's."""
    return not MARKS.isdisjoint(values)


def problem_of(values: Mapping[str, Any], known: Container[str]) -> str:
    """Return the problem that a file's keys belong to; Continual ImageNet by default.

    Args:
        known: names of the existing problems.
    Raises:
        ConfigError: the keys belong to a problem that lop does not have, or to two problems.
    """
    candidates = [one for one in PROBLEMS if one.keys & values.keys()] or _by_shared_keys(values)
    if len(candidates) > 1:
        theirs = "; ".join(f"{_listed(one, values)} of {one.title}" for one in candidates)
        raise ConfigError(f'the keys fit several problems ({theirs}); name one with "problem"')
    if candidates and candidates[0].problem not in known:
        raise ConfigError(
            f"is a file of the reference's {candidates[0].title} ({_listed(candidates[0], values)}), "
            "which lop cannot train; lop problems lists those it can"
        )
    return candidates[0].problem if candidates else DEFAULT


def adapted(
    values: Mapping[str, Any], typed: Mapping[str, Any], where: str, notes: list[str], names_problem: bool
) -> dict[str, Any]:
    """Return the values of a file and of options, converted to our keys if it is a reference file.

    A file for a problem other than Continual ImageNet trains what the reference's code does, which sometimes differs
    from the file; notes report that.

    Args:
        values: values of the file, with its problem.
        typed: values that options gave, which are not changed.
        where: the experiment file.
        names_problem: whether file or options name the problem: a file for Online Permuted MNIST that does is ours.
    Raises:
        ConfigError: it cannot be trained.
    """
    if values.get("problem") == "permuted_mnist" and not names_problem:
        return {**_permuted_mnist(values, where, notes), **typed}
    both = {**values, **typed}
    if both.get("problem") == "slowly_changing_regression" and "num_data_points" in both:
        return _regression(both, where, notes, typed)
    return both


_NOT_OURS = ("env_data_dir", "env_file", "target_net_dir", "target_net_file", "gen_prob_data", "add_noise", "init")


def _regression(values: Mapping[str, Any], where: str, notes: list[str], typed: Container[str]) -> dict[str, Any]:
    if values.get("gen_prob_data"):
        raise ConfigError(
            f"{where}: only generates the data of other experiments (gen_prob_data); "
            "lop makes a run's data from its seed"
        )
    if values.get("init", "kaiming") != "kaiming":
        raise ConfigError(f'{where}: key "init": {values["init"]}: lop only has kaiming')
    ours = {key: value for key, value in values.items() if key not in _NOT_OURS and not key.startswith("to_log")}
    examples, block = ours.pop("num_data_points"), ours.setdefault("flip_after", 10_000)
    if not all(isinstance(one, int | float) and one > 0 for one in (examples, block)):
        raise ConfigError(f'{where}: keys "num_data_points" and "flip_after": should be numbers above 0')
    ours.setdefault("num_tasks", -(-int(examples) // int(block)))
    if "flip_one" not in values:
        ours["flip_one"] = False
        notes.append(
            f"{where}: without flip_one all slow bits are drawn anew, as in the reference; the paper flips one"
        )
    activation = ours.pop("hidden_activation", "")
    if ours.get("agent") == "linear":
        ours.pop("num_features", None)
    elif activation and "activation" not in typed:
        ours["activation"] = activation
    return ours | (_regression_cbp(ours, where, notes, typed) if ours.get("agent") == "cbp" else {})


def _regression_cbp(ours: dict[str, Any], where: str, notes: list[str], typed: Container[str]) -> dict[str, Any]:
    """Return the values that the reference's continual backprop uses instead of a file's. Drops keys it ignores."""
    maturity, accumulate = ours.pop("mt", 10), ours.pop("accumulate", False)
    if ours.get("maturity_threshold", maturity) != maturity and "maturity_threshold" not in typed:
        written = ours["maturity_threshold"]
        notes.append(
            f"{where}: maturity_threshold {written} runs as {maturity}, as in the reference, which reads mt only"
        )
    changes = {"maturity_threshold": maturity, "budget_accrual": "eligible" if accumulate else "bernoulli"}
    if not accumulate:
        notes.append(
            f"{where}: budget_accrual is bernoulli, as in the reference without accumulate: "
            "a unit is replaced with probability replacement_rate x eligible units; the paper accumulates"
        )
    changes |= _adam_under_cbp(ours, where, notes)
    for key in ("weight_decay", "perturb_scale", "beta_1", "beta_2"):
        if ours.pop(key, 0) and key not in typed:
            notes.append(f"{where}: left out: {key}, which the reference's cbp does not read")
    ours.setdefault("util_type", "adaptable_contribution")
    return {key: value for key, value in changes.items() if key not in typed}


def _adam_under_cbp(ours: Mapping[str, Any], where: str, notes: list[str]) -> dict[str, Any]:
    """Return ``opt`` for the reference's continual backprop, with its own Adam for ``adam``; empty without one."""
    opt = ours.get("opt")
    if "adam" not in (opt if isinstance(opt, list) else [opt]):
        return {}
    notes.append(f"{where}: opt adam runs as adam_gnt, the reference's Adam under cbp, whose correction is not Adam's")
    return {"opt": "adam_gnt" if opt == "adam" else ["adam_gnt" if one == "adam" else one for one in opt or ()]}


#: Keys that its code for Online Permuted MNIST ignores, or that change no number.
_UNREAD = ("to_log", "momentum", "beta_1", "beta_2", "accumulate", "to_perturb", "mt")
_OF_CBP = ("replacement_rate", "decay_rate", "util_type", "maturity_threshold")


def _permuted_mnist(values: Mapping[str, Any], where: str, notes: list[str]) -> dict[str, Any]:
    """Convert a file for Online Permuted MNIST; notes report where the reference's code differs from the file."""
    ours = {key: value for key, value in values.items() if key not in _UNREAD}
    if "num_examples" in ours:
        ours.pop("num_tasks", None)
    else:
        _default(ours, "num_tasks", 200, where, notes)
    for key in ("momentum", "beta_1", "beta_2"):
        if values.get(key):
            notes.append(f"{where}: left out: {key}, which the reference's code for this problem does not read")
    if ours.get("agent") == "linear":
        for key in ("num_features", "num_hidden_layers"):
            ours.pop(key, None)
    else:
        _default(ours, "num_hidden_layers", 1, where, notes)
        ours.setdefault("num_features", 2000)
    if ours.get("agent") == "cbp":
        _mnist_cbp(ours, values, where, notes)
    else:
        for key in _OF_CBP:
            ours.pop(key, None)
        _mnist_noise(ours, values, where, notes)
    return ours


def _default(ours: dict[str, Any], key: str, value: int, where: str, notes: list[str]) -> None:
    if key not in ours:
        ours[key] = value
        notes.append(f"{where}: {key} is {value}, the default of the reference's code")


def _mnist_noise(ours: dict[str, Any], values: Mapping[str, Any], where: str, notes: list[str]) -> None:
    """Add noise only if ``to_perturb`` is set."""
    scale = ours.pop("perturb_scale", None)
    if values.get("to_perturb"):
        if scale is None:
            notes.append(f"{where}: perturb_scale is 0.1, the default of the reference's code with to_perturb")
        ours["perturb_scale"] = 0.1 if scale is None else scale
    elif scale:
        notes.append(f"{where}: left out: perturb_scale, which the reference reads with to_perturb only")


def _mnist_cbp(ours: dict[str, Any], values: Mapping[str, Any], where: str, notes: list[str]) -> None:
    written, read = values.get("maturity_threshold"), values.get("mt")
    if written is None:
        ours["maturity_threshold"] = 100
        if read not in (None, 100):
            notes.append(f"{where}: mt {read} runs as 100: the reference reads mt only beside maturity_threshold")
    elif read is None:
        notes.append(f"{where}: the reference cannot run maturity_threshold without mt; it runs as {written}")
    elif read != written:
        ours["maturity_threshold"] = read
        notes.append(f"{where}: maturity_threshold {written} runs as {read}, as in the reference, which then reads mt")
    if values.get("accumulate") is False:
        notes.append(f"{where}: accumulate false runs as true, as in the reference, which always accumulates")
    ours |= {"budget_accrual": "eligible", "util_type": ours.get("util_type", "adaptable_contribution")}
    ours |= _adam_under_cbp(ours, where, notes)
    for key in ("weight_decay", "perturb_scale"):
        if ours.pop(key, 0):
            notes.append(f"{where}: left out: {key}, which the reference's cbp does not read")


def _by_shared_keys(values: Mapping[str, Any]) -> Sequence[ReferenceProblem]:
    """Return the problems whose files have all shared keys that occur here; none if that is ambiguous.

    Only for reference files: ours may have the same keys, which belong to the network that they name.
    """
    if not is_reference_file(values) or "network" in values:
        return []
    shared = frozenset().union(*(one.shared for one in PROBLEMS)) & values.keys()
    candidates = [one for one in PROBLEMS if shared <= one.shared]
    return [] if any(one.problem == DEFAULT for one in candidates) else candidates


def _listed(one: ReferenceProblem, values: Mapping[str, Any]) -> str:
    """Return the keys that identify a problem, in the file's order."""
    telling = one.keys & values.keys() or one.shared - PROBLEMS[0].shared
    by_name = [key for key in values if key in telling]
    return ", ".join(by_name[:_MOST_SHOWN]) + (", ..." if len(by_name) > _MOST_SHOWN else "")
