"""The query language of ``--where``, of run names on the command line, and of the dashboard's filter.

All words, separated by spaces, must match; commas within a word mean or; a leading ``-`` means not::

    method:cbp,l2 seed:0-9 -state:failed test_accuracy<0.55 step_size:0.01

A word is a condition, ``name:value`` or ``name<value`` (also ``<=``, ``>``, ``>=``), or a part of a run's name,
``cbp/default/seed_003``. A condition's name is one of `KEYS`, a metric, or a configuration key. For a metric it
compares the last recorded value. A run without a value does not match, with or without ``-``. Names
take shell patterns (``*``, and ``?`` for one character, such as a space) and ignore case.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import get_args

from lop_engine.errors import QueryError, did_you_mean
from lop_engine.experiment import lookup
from lop_engine.runs.conditions import COMPARISONS, Field, comparison, find_field, fits, in_short
from lop_engine.runs.records import State
from lop_engine.runs.views import RunView

Test = Callable[[RunView], bool]

STATES: tuple[State, ...] = get_args(State)

_CONDITION = re.compile(r"([^:<>]*)([:<>])(.*)", re.DOTALL)
_SPACED = re.compile(r"(?<=\w)\s*([<>]=?)\s*")


@dataclass(frozen=True)
class Term:
    """One word of a query."""

    word: str
    test: Test
    """Whether a run matches the word, ignoring the minus. Only called if the run has a value of `field`."""
    field: Field | None = None

    @property
    def is_negated(self) -> bool:
        return self.word.startswith("-")

    def applies(self, view: RunView) -> bool:
        """Whether a run has a value to compare."""
        return self.field is None or self.field.of(view) is not None

    def matches(self, view: RunView) -> bool:
        return self.applies(view) and self.test(view) != self.is_negated


@dataclass(frozen=True)
class Query:
    """A parsed filter."""

    terms: tuple[Term, ...] = ()
    """Words that must all match."""

    @property
    def is_empty(self) -> bool:
        """Whether every run matches because there are no conditions."""
        return not self.terms

    def matches(self, view: RunView) -> bool:
        return all(term.matches(view) for term in self.terms)

    def notes(self, views: Iterable[RunView]) -> list[str]:
        """Return lines that count the `views` that fail only because they lack a value, one per metric or key."""
        fields = [term.field for term in self.terms if term.field]
        lacking: Counter[str] = Counter()
        for view in views if fields else ():
            others = all(term.matches(view) for term in self.terms if term.applies(view))
            without = [field for field in fields if field.of(view) is None]
            if others and without:
                lacking[without[0].name] += 1
        return [
            f"{count} run{'s have' if count > 1 else ' has'} no value of {name} and cannot match"
            for name, count in lacking.items()
        ]


def parse_query(text: str) -> Query:
    """Parse a filter; an empty one matches every run.

    Metrics and keys of a user's own components are known once runs with them have been read.

    Raises:
        QueryError: names the word, the error and the nearest valid choices.
    """
    return Query(tuple(_term(word) for word in _SPACED.sub(r"\1", text).split()))


def has_condition(text: str) -> bool:
    """Whether a word in `text` is a condition, such as ``seed:3`` or ``test_accuracy<0.5``."""
    return any(_CONDITION.fullmatch(word) for word in text.split())


def filter_runs(views: Sequence[RunView], text: str) -> tuple[RunView, ...]:
    """Return the runs that match `text`, in order. Raises QueryError like `parse_query`."""
    query = parse_query(text)
    return tuple(view for view in views if query.matches(view))


def hint(views: Sequence[RunView], text: str) -> str:
    """Return why a filter matches none of `views`, and what to write instead; ``""`` if the reason is unknown.

    The reason is missing values, or the first word that matches no run.
    """
    query = parse_query(text)
    if notes := query.notes(views):
        return "".join(f"; {note}" for note in notes)
    terms = [term for term in query.terms if not term.is_negated]
    for term in terms:
        if not any(map(term.matches, views)):
            return _mended(term, views)
    for key in ("method", "experiment", "problem", "setting", "seed", "state"):
        values = [term.word.removeprefix(f"{key}:") for term in terms if term.word.startswith(f"{key}:")]
        if len(values) > 1:
            return f"; for either write {key}:{','.join(values)}"
    return ""


def _mended(term: Term, views: Sequence[RunView]) -> str:
    if field := term.field:
        values = in_short(field, views)
        return f"; their {field.name}: {values}" if values else f"; none of them has a value of {field.name}"
    name = term.word.lower().removeprefix("method:")
    if name == term.word.lower():
        return "" if has_condition(name) else how_to_compare(name) or did_you_mean(name, _names(views)).rstrip("?")
    is_experiment = any(view.experiment.lower() == name for view in views)
    return f"; {name} is an experiment: write experiment:{name}" if is_experiment else ""


def how_to_compare(word: str) -> str:
    """Return what to write if `word` is the name of a metric or a key; else ``""``."""
    name = word.partition("=")[0]
    if name in KEYS:
        return f'; write "{name}:{_EXAMPLES[name]}"'
    return f'; write "{name}<0.5" or "{name}:0.5"' if name in (*lookup.metric_names(), *lookup.key_names()) else ""


def _names(views: Iterable[RunView]) -> Iterable[str]:
    return dict.fromkeys(name for view in views for name in (view.experiment, view.method, view.setting) if name)


def _term(word: str) -> Term:
    body = word.removeprefix("-")
    condition = _CONDITION.fullmatch(body)
    if not condition:
        tests = [_part_of_name(one) for one in _values(body, word, ": write -state:failed for all but those")]
        return Term(word, _any_of(tests))
    key, sign, value = condition.groups()
    value = value if sign == ":" else sign + value
    if key in KEYS:
        if sign != ":" and key not in ("seed", "progress"):
            raise QueryError(f'"{word}": {key} has no order; write {key}:{_EXAMPLES[key]}')
        return Term(
            word, _any_of([KEYS[key](one) for one in _values(value, word, f", for example {key}:{_EXAMPLES[key]}")])
        )
    field = find_field(key, list(KEYS))
    compare = [comparison(field, one) for one in _values(value, word, f", for example {key}<0.5")]
    return Term(word, lambda view: any(one(field.of(view)) for one in compare), field)


def _any_of(tests: Sequence[Test]) -> Test:
    return lambda view: any(test(view) for test in tests)


def _values(text: str, word: str, advice: str) -> list[str]:
    """Return the alternatives between commas, in lower case. Raises QueryError if missing."""
    values = [one for one in text.lower().split(",") if one]
    if not values:
        raise QueryError(f'"{word}" names nothing{advice}')
    return values


def _pattern(names: Callable[[RunView], Iterable[str]]) -> Callable[[str], Test]:
    """Return a test whether one of a run's `names` matches a pattern."""
    return lambda pattern: lambda view: any(fits(name.lower(), pattern) for name in names(view))


def _part_of_name(pattern: str) -> Test:
    return lambda view: pattern in view.dir.name.lower() or fits(view.dir.name.lower(), f"*{pattern}*")


def _method(pattern: str) -> Test:
    """Return a test of the method in a run's spec; ``=cbp`` is also accepted."""
    return _pattern(lambda view: {view.method})(pattern.removeprefix("="))


def _settings(view: RunView) -> set[str]:
    """Return names of ``step_size=0.01,width=2``: the whole, with its experiment, each part, and each value."""
    parts = view.setting.split(",")
    return {view.setting, f"{view.experiment}/{view.setting}", *parts, *(part.rpartition("=")[2] for part in parts)}


def _devices(view: RunView) -> set[str]:
    """Return ``cuda:1`` and ``cuda``; none before a worker has started."""
    device = view.status.device or ""
    return {device, device.partition(":")[0]} if device else set()


def _state(pattern: str) -> Test:
    if not any(fits(state, pattern) for state in STATES):
        raise QueryError(f'unknown state "{pattern}"{did_you_mean(pattern, STATES)} ({", ".join(STATES)})')
    return lambda view: fits(view.state, pattern)


def seed_range(text: str) -> range | None:
    """Parse ``3-7`` as the seeds 3 to 7; None if it is not a range."""
    match = re.fullmatch(r"([0-9]{1,7})-([0-9]{1,7})", text)
    return range(int(match[1]), int(match[2]) + 1) if match else None


def _seed(text: str) -> Test:
    seeds = seed_range(text)
    if seeds:
        return lambda view: view.seed in seeds
    match = re.fullmatch(r"([<>]=?|)([0-9]{1,7})", text)
    if not match:
        raise QueryError(f'seed "{text}": write a seed (3), a range (0-9), a limit (<5, >=3) or several with commas')
    compare, limit = COMPARISONS[match[1]], int(match[2])
    return lambda view: compare(view.seed, limit)


def _progress(text: str) -> Test:
    match = re.fullmatch(r"([<>]=?|)([0-9]{1,3}(?:\.[0-9]{1,6})?)%?", text)
    if not match:
        raise QueryError(f'progress "{text}": write a limit in percent: <50%, >=90%, or 100%')
    compare, limit = COMPARISONS[match[1]], float(match[2])
    return lambda view: compare(100 * view.progress, limit)


#: Functions that make a test of a value, by key.
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
