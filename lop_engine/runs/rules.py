"""Rules that end a run early: ``test_accuracy<0.55 for 100 tasks``, ``diverged``, ``nan``.

A rule is a query (`lop_engine.runs.query`) on the values that one task recorded. The worker evaluates it after each
task, and ends the run once it has held for enough tasks in a row. It uses the values as written, so a run that resumes
from a checkpoint ends at the same task.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from lop_engine.errors import ConfigError, QueryError
from lop_engine.experiment.problems import PROBLEMS
from lop_engine.experiment.registry import METRICS
from lop_engine.experiment.spec import Spec
from lop_engine.runs.conditions import NUMBER
from lop_engine.runs.directory import RunDir
from lop_engine.runs.query import KEYS, Term, has_condition, parse_query
from lop_engine.runs.records import RunStatus
from lop_engine.runs.views import RunView, is_too_large
from lop_engine.text import plural

EXAMPLES = '"test_accuracy<0.55 for 100 tasks", "diverged" or "nan"'
WITHOUT = "none"
"""Word that means no rules."""

_FOR = re.compile(r"(.*?)\s+for\s+([0-9]{1,9})\s+tasks?", re.DOTALL | re.IGNORECASE)
_DIGITS = re.compile(NUMBER)
_MOST_NAMES = 8
"""Metrics that a message names."""
_MOST_TASKS = 100_000
"""In longer runs, conditions on the progress are not checked."""
_NO_DIR = RunDir(Path())
_NOT_OF_A_TASK = ("state", "device")
"""Query conditions that do not depend on a task."""

Test = Callable[[RunView], bool]


@dataclass(frozen=True)
class Rule:
    """A parsed rule."""

    text: str
    test: Test
    """Whether it holds, for a view with the values of one task."""
    num_tasks: int
    """Number of consecutive tasks for which it must hold."""
    terms: tuple[Term, ...] = ()
    """Its conditions; empty for a rule by a word."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that it names."""
        return tuple(dict.fromkeys(filter(None, map(_metric_of, self.terms))))


def _metric_of(term: Term) -> str:
    """Return the metric of a condition; "" if it has none."""
    return term.field.name if term.field and term.field.is_metric else ""


def _is_about_progress(term: Term) -> bool:
    return term.word.removeprefix("-").startswith("progress")


def parse_rule(text: str) -> Rule:
    """Parse a rule. Raises QueryError, with the nearest valid choice."""
    timed = _FOR.fullmatch(text.strip())
    body, num_tasks = (timed[1], int(timed[2])) if timed else (text.strip(), 1)
    if not num_tasks:
        raise QueryError(f'rule "{text}": holds for 0 tasks; write for 1 task or more')
    if body.lower() in _SPECIAL:
        return Rule(text, _SPECIAL[body.lower()], num_tasks)
    terms = parse_query(body).terms
    for term in terms:
        name = re.split("[:<>]", term.word.removeprefix("-"), maxsplit=1)[0]
        if not has_condition(term.word):
            raise QueryError(f'rule "{text}": "{term.word}" is not a condition; write {EXAMPLES}')
        if name in _NOT_OF_A_TASK:
            usable = ", ".join(key for key in KEYS if key not in _NOT_OF_A_TASK)
            raise QueryError(f'rule "{text}": {name} is not known of a task; use metrics, keys, {usable}')
    rule = Rule(text, lambda view: all(term.matches(view) for term in terms), num_tasks, terms)
    if not rule.metrics:
        raise QueryError(f'rule "{text}": names no metric; write {EXAMPLES}')
    return rule


def rules_typed(texts: Sequence[str]) -> list[str]:
    """Return the rules of ``--stop-when``; ``none`` means no rule. Raises ConfigError if it is combined with others."""
    if WITHOUT not in texts:
        return list(texts)
    if len(texts) > 1:
        raise ConfigError(f"--stop-when {WITHOUT}: means no rule; leave out the others, or {WITHOUT}")
    return []


def check_rules(spec: Spec, where: str) -> None:
    """Refuse invalid rules, and rules that can never hold.

    Args:
        where: the file or option that they come from.
    Raises:
        ConfigError: names `where`, the rule and what to do.
    """
    for text in spec.stop_when:
        try:
            rule = parse_rule(text)
        except QueryError as error:
            raise ConfigError(f'{where}: key "stop_when": {error}') from None
        why = next(filter(None, (check(rule, spec) for check in (_not_recorded, _too_long, _out_of_limits))), "")
        if why:
            raise ConfigError(f'{where}: key "stop_when": rule "{text}": {why}')


def idle_rules(specs: Mapping[RunDir, Spec]) -> list[str]:
    """Return a note for each rule that can end none of its runs, because of conditions on seeds or keys."""
    runs_of: dict[str, list[RunDir]] = {}
    for run_dir, spec in specs.items():
        for text in spec.stop_when:
            runs_of.setdefault(text, []).append(run_dir)
    notes = []
    for text, run_dirs in runs_of.items():
        terms = [term for term in parse_rule(text).terms if not (_is_about_progress(term) or _metric_of(term))]
        views = (RunView(one, specs[one].to_dict(), RunStatus(), "queued", {}) for one in run_dirs if terms)
        if terms and not any(all(term.matches(view) for term in terms) for view in views):
            words = " ".join(term.word for term in terms)
            notes.append(f'rule "{text}" will end none of these runs: none matches {words}')
    return notes


def _not_recorded(rule: Rule, spec: Spec) -> str:
    """Which metric of a rule the runs do not record, and what to do; empty if they record all."""
    recorded = spec.metrics_after(spec.num_parts - 1)
    for metric in rule.metrics:
        if metric in recorded:
            continue
        can_be = metric in METRICS and spec.measures(METRICS[metric])
        others = f"use one of {', '.join(recorded[:_MOST_NAMES])}{', ...' if len(recorded) > _MOST_NAMES else ''}"
        if can_be:
            return f"these runs do not record {metric}; add it to metrics, or {others}"
        problem, network = spec.parts.problem.title, spec.parts.network.title
        return f"{metric} cannot be measured on {problem} with this network ({network}); {others}"
    return ""


def _too_long(rule: Rule, spec: Spec) -> str:
    """Why a rule asks for more tasks in a row than a run has; empty if it does not."""
    if rule.num_tasks > spec.num_tasks:
        return f'the runs have only {plural(spec.num_tasks, "task")}; write "for {spec.num_tasks} tasks" or fewer'
    words = tuple(term.word for term in rule.terms if _is_about_progress(term))
    if not words or spec.num_tasks > _MOST_TASKS:
        return ""
    longest = _longest_stretch(words, spec.num_tasks)
    if rule.num_tasks <= longest:
        return ""
    if not longest:
        return f"no task meets {' '.join(words)}"
    return f"{' '.join(words)} holds for only {plural(longest, 'task')} in a row; ask for fewer"


@lru_cache
def _longest_stretch(words: tuple[str, ...], num_tasks: int) -> int:
    """The most tasks in a row that meet conditions on a run's progress."""
    query, longest, length = parse_query(" ".join(words)), 0, 0
    for task in range(num_tasks):
        status = RunStatus("running", num_tasks, 1, tasks_done=task + 1)
        view = RunView(_NO_DIR, {"num_tasks": num_tasks}, status, "running", {})
        length = length + 1 if query.matches(view) else 0
        longest = max(longest, length)
    return longest


def _out_of_limits(rule: Rule, spec: Spec) -> str:
    """Which metric of a rule has no value that meets its conditions; empty if each has one."""
    for metric in rule.metrics:
        terms, (low, high) = [term for term in rule.terms if _metric_of(term) == metric], _limits(metric, spec)
        if any(all(term.matches(_view_of(metric, value)) for term in terms) for value in _examples(terms, low, high)):
            continue
        conditions = " ".join(term.word for term in terms)
        lies = f"it lies between {low:g} and {high:g}" if high < math.inf else f"it is never below {low:g}"
        beyond = f" ({lies})" if low > -math.inf else ""
        return f"no value of {metric} meets {conditions}{beyond}; change the limit"
    return ""


def _limits(metric: str, spec: Spec) -> tuple[float, float]:
    """The lowest and the highest value of a metric in a run. The losses of lop's own problems are never negative."""
    is_loss = METRICS[metric].takes == ("batch_losses",)
    if is_loss and any(spec.parts.problem is problem for problem in PROBLEMS):
        return 0.0, math.inf
    return METRICS[metric].limits


def _examples(terms: Iterable[Term], low: float, high: float) -> list[float]:
    """Values between `low` and `high` of which one meets all conditions, if any value does.

    Whether a value meets them changes only at the numbers that they name.
    """
    numbers = {
        sign * float(digits) / unit
        for term in terms
        for digits in _DIGITS.findall(term.word)
        for sign in (1, -1)
        for unit in (1, 100)
    }
    edges = sorted({number for number in (*numbers, low, high) if math.isfinite(number)})
    between = [(one + other) / 2 for one, other in pairwise(edges)]
    beyond = [edges[0] - 1 - abs(edges[0]), edges[-1] + 1 + abs(edges[-1])]
    return [value for value in (*edges, *between, *beyond) if low <= value <= high and math.isfinite(value)]


def _view_of(metric: str, value: float) -> RunView:
    """A run of which one value is known."""
    return RunView(_NO_DIR, {}, RunStatus(), "running", {metric: np.array([value])})


class Watch:
    """The rules of one run, and the number of consecutive tasks for which each has held."""

    def __init__(self, spec: Spec, run_dir: RunDir) -> None:
        self._rules = [parse_rule(text) for text in spec.stop_when]
        self._held = [0] * len(self._rules)
        self._dir, self._spec, self._values = run_dir, spec, spec.to_dict()

    def __bool__(self) -> bool:
        return bool(self._rules)

    def resume(self, documents: Iterable[Mapping[str, Any]]) -> None:
        """Count the tasks that are already recorded."""
        for document in documents:
            self.after_task(document)

    def after_task(self, document: Mapping[str, Any]) -> str | None:
        """Return the first rule that ends the run after a task, given its record; None if none does."""
        view = self._view(document)
        self._held = [held + 1 if rule.test(view) else 0 for rule, held in zip(self._rules, self._held, strict=True)]
        pairs = zip(self._rules, self._held, strict=True)
        return next((rule.text for rule, held in pairs if held >= rule.num_tasks), None)

    def _view(self, document: Mapping[str, Any]) -> RunView:
        """Return a view of the run with the values of one task."""
        recorded = {name: document[name] for name in self._spec.metrics if name in document}
        series = {name: np.array([np.nan if value is None else value]) for name, value in recorded.items()}
        nulls = {name: np.array([True]) for name, value in recorded.items() if value is None}
        extent = self._spec.num_tasks, self._spec.num_showings
        status = RunStatus("running", *extent, tasks_done=int(document["task"]) + 1)
        return RunView(self._dir, self._values, status, "running", series, nulls=nulls)


def _has_diverged(view: RunView) -> bool:
    """Whether a task recorded no finite value, or its loss is too large to recover."""
    is_lost = bool(view.series) and all(name in view.nulls for name in view.series)
    return is_lost or any(is_too_large(name, values).any() for name, values in view.series.items())


_SPECIAL: dict[str, Test] = {"diverged": _has_diverged, "nan": lambda view: bool(view.nulls)}
"""Rules with a name."""
