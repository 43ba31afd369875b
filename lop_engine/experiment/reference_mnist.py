"""The reference's files for Online Permuted MNIST, in our keys: what its code makes of them, with notes."""

from collections.abc import Mapping
from typing import Any

from lop_engine.experiment.reference import adam_under_cbp

#: Keys that its code does not read, or that decide no number.
_UNREAD = ("to_log", "momentum", "beta_1", "beta_2", "accumulate", "to_perturb", "mt")
_OF_CBP = ("replacement_rate", "decay_rate", "util_type", "maturity_threshold")


def adapted(values: Mapping[str, Any], where: str, notes: list[str]) -> dict[str, Any]:
    """The values of a file in our keys; notes say where the reference does something else than the file says."""
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
        _cbp(ours, values, where, notes)
    else:
        for key in _OF_CBP:
            ours.pop(key, None)
        _noise(ours, values, where, notes)
    return ours


def _default(ours: dict[str, Any], key: str, value: int, where: str, notes: list[str]) -> None:
    if key not in ours:
        ours[key] = value
        notes.append(f"{where}: {key} is {value}, the default of the reference's code")


def _noise(ours: dict[str, Any], values: Mapping[str, Any], where: str, notes: list[str]) -> None:
    """Noise is added only if ``to_perturb`` says so."""
    scale = ours.pop("perturb_scale", None)
    if values.get("to_perturb"):
        if scale is None:
            notes.append(f"{where}: perturb_scale is 0.1, the default of the reference's code with to_perturb")
        ours["perturb_scale"] = 0.1 if scale is None else scale
    elif scale:
        notes.append(f"{where}: left out: perturb_scale, which the reference reads with to_perturb only")


def _cbp(ours: dict[str, Any], values: Mapping[str, Any], where: str, notes: list[str]) -> None:
    said, read = values.get("maturity_threshold"), values.get("mt")
    if said is None:
        ours["maturity_threshold"] = 100
        if read not in (None, 100):
            notes.append(f"{where}: mt {read} runs as 100: the reference reads mt only beside maturity_threshold")
    elif read is None:
        notes.append(f"{where}: the reference cannot run maturity_threshold without mt; it runs as {said}")
    elif read != said:
        ours["maturity_threshold"] = read
        notes.append(f"{where}: maturity_threshold {said} runs as {read}, as in the reference, which then reads mt")
    if values.get("accumulate") is False:
        notes.append(f"{where}: accumulate false runs as true, as in the reference, which always accumulates")
    ours |= adam_under_cbp(ours, where, notes)
    ours |= {"budget_accrual": "eligible", "util_type": ours.get("util_type", "adaptable_contribution")}
    for key in ("weight_decay", "perturb_scale"):
        if ours.pop(key, 0):
            notes.append(f"{where}: left out: {key}, which the reference's cbp does not read")
