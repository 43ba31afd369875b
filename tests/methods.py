"""Settings of every registered method with which each of its parts takes effect within a few steps.

Tests of all methods use them, so that every registered method is tested. A method whose defaults take effect within a
few steps needs no entry; `tests/engine/test_methods.py` fails for a method that needs an entry and lacks it.
"""

from typing import Any

from lop_engine.experiment.registry import METHODS, OPTIMIZERS

ACTING: dict[str, dict[str, Any]] = {
    "l2": {"weight_decay": 1e-3},
    "snp": {"weight_decay": 1e-3, "perturb_scale": 1e-3},
    "cbp": {"replacement_rate": 0.05, "maturity_threshold": 2, "util_type": "adaptable_contribution"},
    "cbp2": {"replacement_rate": 0.05, "maturity_threshold": 2},
    "redo": {"redo_period": 5, "redo_threshold": 0.1},
    "redo_kumar": {"redo_period": 5, "redo_threshold": 0.2},
    "regrama": {"regrama_period": 5, "regrama_threshold": 0.3},
    "weight_clipping": {"clip_kappa": 0.9},
    "snr": {"snr_threshold": 10, "snr_max_threshold": 100},
    "hare_tortoise": {"hare_tortoise_decay": 0.9, "hare_tortoise_period": 5},
    "snp_task": {"snp_task_shrink": 0.4, "snp_task_perturb": 0.3},
    "dash": {"dash_lambda": 0.8},
    "head_reset": {"head_reset_layers": 2},
}


SMALLER = {"rmsprop": {"step_size": 1e-3}}
"""RMSprop's first steps are ten times as long as Adam's: its mean starts at 0 and is not corrected."""


def settings_of(method: str) -> dict[str, Any]:
    """Return the settings of a registered method."""
    return {"agent": method, **ACTING.get(method, {})}


def with_optimizers() -> dict[str, dict[str, Any]]:
    """Return the settings of all methods with SGD and Adam, and of bp with every optimiser, by name (``cbp adam``)."""
    values: dict[str, dict[str, Any]] = {}
    for name, method in METHODS.items():
        values[name] = settings_of(name) | ({} if method.has_own_update else {"momentum": 0.9})
        for opt in list(OPTIMIZERS)[1:]:
            if not method.has_own_update and (name == "bp" or opt == "adam"):
                values[f"{name} {opt}"] = settings_of(name) | {"opt": opt, "weight_decay": 1e-2} | SMALLER.get(opt, {})
    return values
