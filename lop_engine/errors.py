"""Errors whose text is meant for the person at the keyboard."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can put right. ``str(error)`` says what was wrong, where, and what to do."""


class ConfigError(UserError):
    """A mistake in an experiment file or a ``--set`` override."""


class DataError(UserError):
    """Images that are missing or not what they should be."""


class StoreError(UserError):
    """A record file that cannot be read or written."""


class LaunchError(UserError):
    """A run that cannot be started."""


class QueryError(UserError):
    """A filter that cannot be understood."""


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return ``'; did you mean "x"?'`` for the choice nearest to `word`, or ``''`` if none is near."""
    near = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.5)
    return f'; did you mean "{near[0]}"?' if near else ""
