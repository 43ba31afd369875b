"""Errors whose text is written for the user."""

import difflib
import errno
import os
import traceback
from collections.abc import Iterable


class UserError(Exception):
    """An error that the user can fix. ``str(error)`` says what was wrong, where, and what to do."""


class ConfigError(UserError):
    """An error in an experiment file or a ``--set`` override."""


class DataError(UserError):
    """Images that are missing or invalid."""


class StoreError(UserError):
    """A record file that cannot be read or written."""


class DamagedError(StoreError):
    """A record file with something other than complete documents before its end; it can be repaired."""


class LaunchError(UserError):
    """A run that cannot be started."""


class QueryError(UserError):
    """An invalid filter."""


class RuleError(UserError):
    """A component that breaks a rule of `lop_engine.testing`."""


class CaptureError(UserError):
    """A training step that cannot be captured as a CUDA graph."""


class ReplayError(UserError):
    """A CUDA graph that does not compute what the training step does."""


#: Words for running out of memory in errors of torch and the CUDA libraries that have no specific exception type.
_OUT_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "alloc_failed",
    "allocation_failed",
)


def memory_error(error: BaseException) -> BaseException | None:
    """Return the error which says that a GPU or this machine ran out of memory; None for any other failure.

    This is `error` itself, or one that it was raised from or after.
    """
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    return next((one for one in chain if _is_memory_error(one)), None)


def _is_memory_error(error: BaseException) -> bool:
    if (
        isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    ):  # torch's type, without importing torch
        return True
    return isinstance(error, RuntimeError | OSError) and any(sign in str(error).lower() for sign in _OUT_OF_MEMORY)


def in_one_line(error: BaseException) -> str:
    """Return why a run failed: the last line of a traceback; for a full disk, what to do."""
    if isinstance(error, UserError):
        return (str(error).splitlines() or [type(error).__name__])[0]
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}the disk is full; free some space, then run lop resume"
    if isinstance(error, OSError):
        return sentence(error)
    return (traceback.format_exception_only(error)[-1].strip().splitlines() or [type(error).__name__])[0]


_MOST_LISTED = 12


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return ``'; did you mean "x"?'`` for the choice nearest to `word`, or ``''`` if none is near."""
    near = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.5)
    return f'; did you mean "{near[0]}"?' if near else ""


def listed_choices(word: str, choices: Iterable[str]) -> str:
    """Return ``a, b, c``; of more than twelve, the six nearest to `word`: ``a, b, c, d, e, f and 35 others``."""
    names = list(choices)
    if len(names) <= _MOST_LISTED:
        return ", ".join(names)
    near = difflib.get_close_matches(word, names, n=_MOST_LISTED // 2, cutoff=0)
    return f"{', '.join(near)} and {len(names) - len(near)} others"


def instead(word: str, choices: Iterable[str]) -> str:
    """Return ``'; did you mean "x"? (there are a, b, c)'``: what may be written instead of `word`."""
    names = list(choices)
    return f"{did_you_mean(word, names)} (there are {listed_choices(word, names)})"


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """Return the choice closest to `word`, with at most one typing error per four letters; else None."""
    distances = {choice: _slips(word, choice) for choice in choices}
    near = min(distances, key=distances.__getitem__, default=None)
    return near if near is not None and distances[near] <= max(1, min(len(word), len(near)) // 4) else None


def _slips(a: str, b: str) -> int:
    """Return the number of insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`."""
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, letter in enumerate(a):
        last, before, row = before, row, [i + 1]
        for j, other in enumerate(b):
            slips = [row[j] + 1, before[j + 1] + 1, before[j] + (letter != other)]
            if i and j and letter == b[j - 1] and other == a[i - 1]:
                slips.append(last[j - 1] + 1)
            row.append(min(slips))
    return row[-1]


def why(error: Exception) -> str:
    """Return an error's reason in one line. Of an OSError this leaves out its number and its file names."""
    reason = getattr(error, "strerror", None) or (error.args[0] if isinstance(error, OSError) and error.args else error)
    return (str(reason).strip().splitlines() or [type(error).__name__])[0]


def sentence(error: OSError, otherwise: object = None) -> str:
    """Return an OSError as one line for a person: ``runs/a.json: Permission denied``.

    Args:
        otherwise: the place to name if the error names no file.
    """
    named = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    places = named or [str(otherwise)] * (otherwise is not None)
    return ": ".join([*filter(None, [" -> ".join(places)]), why(error)])
