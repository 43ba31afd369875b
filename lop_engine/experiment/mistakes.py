"""Explains invalid values to users, in one line."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lop_engine.errors import did_you_mean, listed_choices, nearest

#: What a value should be, by pydantic's error type.
_SHOULD_BE = {
    "int_type": "should be a whole number",
    "float_type": "should be a number",
    "finite_number": "should be a finite number",
    "bool_type": "should be true or false",
    "string_type": "should be a string",
    "greater_than": "should be greater than {gt:.10g}",
    "greater_than_equal": "should be at least {ge:.10g}",
    "less_than": "should be less than {lt:.10g}",
    "less_than_equal": "should be at most {le:.10g}",
}


#: By key: its names in other code, and a remark.
_ELSEWHERE = {
    "step_size": ("lr learning_rate alpha eta stepsize", ""),
    "mini_batch_size": ("batch_size batchsize bs batch minibatch minibatch_size", ""),
    "num_showings": ("epochs num_epochs n_epochs epochs_per_task", ""),
    "num_tasks": ("tasks n_tasks", ""),
    "num_classes": ("classes n_classes classes_per_task", ""),
    "num_runs": ("seed seeds num_seeds n_seeds random_seed rng_seed n_runs", " Or choose seeds with --seeds"),
    "weight_decay": ("wd l2 l2_reg l2_penalty l2_lambda lambda", ""),
    "perturb_scale": ("noise noise_std noise_scale sigma perturb", ""),
    "beta_1": ("beta1 betas", ""),
    "beta_2": ("beta2", ""),
    "epsilon": ("eps adam_eps adam_epsilon", ""),
    "activation": ("act nonlinearity hidden_activation", ""),
    "network": ("net net_name architecture", ""),
    "opt": ("optim optimizer optimiser", ""),
    "agent": ("method algo algorithm learner", ""),
    "replacement_rate": ("rr rho", ""),
    "maturity_threshold": ("mt maturity", ""),
    "util_type": ("utility utility_type", ""),
    "dataset": ("data data_path", ""),
}
_MOST_NAMED = 20


def explain(error: Any, known_keys: Iterable[str] = ()) -> str:
    """Explain one entry of pydantic's ``ValidationError.errors()``: key, value, and what it should be."""
    kind, key, value = error["type"], str(error["loc"][0]), error["input"]
    if kind == "extra_forbidden":
        return unknown_keys({key: value}, known_keys)
    if kind == "missing":
        return f'key "{key}" is missing'
    hint = ""
    if kind == "literal_error":
        choices = re.findall(r"[^',\s]+", error["ctx"]["expected"].replace(" or ", ", "))
        reason = f"should be one of {listed_choices(str(value).lower(), choices)}"
        if value not in choices:
            hint = did_you_mean(str(value).lower(), choices)
    else:
        reason = _SHOULD_BE.get(kind, error["msg"]).format(**error.get("ctx", {}))
    if isinstance(value, str) and kind != "string_type" and _is_quoted(value):
        hint = "; write it without the quotes"
    return f'key "{key}": {shown(value)}: {reason}{hint}'


def unknown_keys(
    unknown: Mapping[str, Any], known_keys: Iterable[str], foreign_keys: Mapping[str, str] | None = None
) -> str:
    """Return error text that lists unknown keys, each with the key it may mean (another name or a similar spelling).

    Args:
        known_keys: the keys that have an effect, which are tried first.
        foreign_keys: by key without effect, its owner.
    """
    known_keys, foreign_keys = list(known_keys), foreign_keys or {}
    if len(unknown) == 1:
        [(key, value)] = unknown.items()
        return f"unknown key {shown(key)} (value {shown(value)}){_hint(key, known_keys, foreign_keys)}"
    named = [
        f"{shown(key)} (value {shown(value)}{_hint(key, known_keys, foreign_keys).replace('; ', ', ', 1)})"
        for key, value in list(unknown.items())[:_MOST_NAMED]
    ]
    more = len(unknown) - len(named)
    return f"{len(unknown)} unknown keys: {', '.join(named)}" + (f" and {more} more" if more else "")


def _hint(key: str, known_keys: Sequence[str], foreign_keys: Mapping[str, str]) -> str:
    if near := _near(key, known_keys):
        return f'; did you mean "{near}"?{_ELSEWHERE.get(near, ("", ""))[1]}'
    near = _near(key, foreign_keys)
    return f'; did you mean "{near}" of {foreign_keys[near]}?' if near else ""


def _near(key: str, choices: Iterable[str]) -> str | None:
    """Return which of `choices` is called `key` in other code, or has a similar spelling."""
    letters = re.sub("[^a-z0-9]", "", key.lower())
    for ours in choices:
        if letters in _ELSEWHERE.get(ours, ("", ""))[0].replace("_", "").split():
            return ours
    return nearest(key.lower(), choices)


def shown(value: Any) -> str:
    """Return a value as JSON, cut to 60 characters."""
    try:
        text = json.dumps(value)
    except RecursionError:
        return "..."
    return text if len(text) <= 60 else text[:57] + "..."


def kind_of(value: Any) -> str:
    """Return the JSON type of a value that is not an object."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, list):
        return "a list"
    return "a string" if isinstance(value, str) else "a number"


def _is_quoted(text: str) -> bool:
    """Whether a string is a number, true or false in quotes."""
    return bool(re.fullmatch(r"true|false|-?[0-9.]+(e[+-]?[0-9]+)?", text, re.IGNORECASE))
