"""The filter of the dashboard, `lop status --where` and `lop plot --where`.

Words separated by spaces must all hold; commas within a word mean or; a leading ``-`` means not::

    method:cbp,l2 seed:0-9 -state:failed

A word is ``key:value`` (`KEYS` has the keys) or a part of a run's name, ``cbp/default/seed_003``. Names take shell
patterns (``*``, and ``?`` for one character, such as a space) and do not mind capitals.
"""

import operator
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import get_args

from lop_engine.errors import QueryError, did_you_mean
from lop_engine.runs.records import State
from lop_engine.runs.selection import seed_range
from lop_engine.runs.views import RunView

Test = Callable[[RunView], bool]

STATES: tuple[State, ...] = get_args(State)

_COMPARISONS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "": operator.eq}


@dataclass(frozen=True)
class Query:
    """A filter that has been understood."""

    terms: tuple[Test, ...] = ()
    """All of them must hold."""

    @property
    def is_empty(self) -> bool:
        """Whether every run matches, because nothing is asked."""
        return not self.terms

    def matches(self, view: RunView) -> bool:
        return all(term(view) for term in self.terms)


def parse_query(text: str) -> Query:
    """Understand a filter; an empty one matches every run.

    Raises:
        QueryError: naming the word, what is wrong with it and the nearest valid choice.
    """
    return Query(tuple(_term(word) for word in text.split()))


def filter_runs(views: Sequence[RunView], text: str) -> tuple[RunView, ...]:
    """The runs that match `text`, in their order. Raises QueryError, as `parse_query`."""
    query = parse_query(text)
    return tuple(view for view in views if query.matches(view))


def hint(views: Iterable[RunView], text: str) -> str:
    """What to write instead where ``method:NAME`` finds nothing because NAME is an experiment's; else ``""``."""
    experiments = {view.experiment.lower() for view in views}
    named = [word.removeprefix("method:") for word in text.lower().split() if word.startswith("method:")]
    found = [name for name in named if name in experiments]
    return f"; {found[0]} is an experiment: write experiment:{found[0]}" if found else ""


def _term(word: str) -> Test:
    body = word.removeprefix("-")
    key, colon, value = body.partition(":")
    if colon and key not in KEYS:
        raise QueryError(f'unknown key "{key}"{did_you_mean(key.lower(), KEYS)} ({", ".join(KEYS)})')
    values = [one for one in (value if colon else body).lower().split(",") if one]
    if not values:
        example = f", for example {key}:{_EXAMPLES[key]}" if colon else ": write -state:failed for all but those"
        raise QueryError(f'"{word}" names nothing{example}')
    tests = [(KEYS[key] if colon else _part_of_name)(one) for one in values]
    return lambda view: any(test(view) for test in tests) != word.startswith("-")


def _pattern(names: Callable[[RunView], Iterable[str]]) -> Callable[[str], Test]:
    """A test whether one of a run's `names` is what a pattern says."""
    return lambda pattern: lambda view: any(fnmatchcase(name.lower(), pattern) for name in names(view))


def _part_of_name(pattern: str) -> Test:
    return lambda view: fnmatchcase(view.dir.name.lower(), f"*{pattern}*")


def _method(pattern: str) -> Test:
    """Whether a run trains the method of that name, as its spec says; ``=cbp`` means the same."""
    return _pattern(lambda view: {view.method})(pattern.removeprefix("="))


def _settings(view: RunView) -> set[str]:
    """``step_size=0.01,width=2``: as a whole, each part, and each value alone."""
    parts = view.setting.split(",")
    return {view.setting, *parts, *(part.rpartition("=")[2] for part in parts)}


def _devices(view: RunView) -> set[str]:
    """``cuda:1`` and ``cuda``; none before a worker has begun."""
    device = view.status.device or ""
    return {device, device.partition(":")[0]} if device else set()


def _state(pattern: str) -> Test:
    if not any(fnmatchcase(state, pattern) for state in STATES):
        raise QueryError(f'unknown state "{pattern}"{did_you_mean(pattern, STATES)} ({", ".join(STATES)})')
    return lambda view: fnmatchcase(view.state, pattern)


def _seed(text: str) -> Test:
    seeds = seed_range(text)
    if seeds:
        return lambda view: view.seed in seeds
    match = re.fullmatch(r"([<>]=?|)([0-9]{1,7})", text)
    if not match:
        raise QueryError(f'seed "{text}": write a seed (3), a range (0-9), a limit (<5, >=3) or several with commas')
    compare, limit = _COMPARISONS[match[1]], int(match[2])
    return lambda view: compare(view.seed, limit)


def _progress(text: str) -> Test:
    match = re.fullmatch(r"([<>]=?|)([0-9]{1,3}(?:\.[0-9]{1,6})?)%?", text)
    if not match:
        raise QueryError(f'progress "{text}": write a limit in percent: <50%, >=90%, or 100%')
    compare, limit = _COMPARISONS[match[1]], float(match[2])
    return lambda view: compare(100 * view.progress, limit)


#: By key, what makes a test of a value.
KEYS: dict[str, Callable[[str], Test]] = {
    "method": _method,
    "experiment": _pattern(lambda view: {view.experiment}),
    "problem": _pattern(lambda view: {view.problem_name}),
    "setting": _pattern(_settings),
    "seed": _seed,
    "state": _state,
    "device": _pattern(_devices),
    "progress": _progress,
}

_EXAMPLES = {
    "method": "cbp,l2",
    "experiment": "cbp*",
    "problem": "continual_imagenet",
    "setting": "step_size=0.01",
    "seed": "0-9",
    "state": "running,queued",
    "device": "cuda",
    "progress": "<50%",
}
