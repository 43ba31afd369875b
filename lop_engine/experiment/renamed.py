"""Keys that had other names in earlier versions: files and run.json may hold either."""

from collections.abc import Mapping
from typing import Any

_NAMES = {"redo_tau": "redo_threshold", "upgd_beta_utility": "upgd_utility_decay"}


def renamed(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same by present names. Of two values of one key, the later one counts."""
    return {_NAMES.get(key, key): value for key, value in values.items()}
