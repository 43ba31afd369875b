"""Rules that end a run early: ``test_accuracy<0.55 for 100 tasks``, ``diverged``, ``nan``.

A rule is a query (`lop_engine.runs.query`) on the values that one task recorded. The worker evaluates it after each
task, and ends the run once it has held for enough tasks in a row. It uses the values as written, so a run that resumes
from a checkpoint ends at the same task.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lop_engine.errors import ConfigError, QueryError
from lop_engine.experiment.spec import Spec
from lop_engine.runs.directory import RunDir
from lop_engine.runs.query import KEYS, has_condition, parse_query
from lop_engine.runs.records import RunStatus
from lop_engine.runs.views import RunView, is_too_large

EXAMPLES = '"test_accuracy<0.55 for 100 tasks", "diverged" or "nan"'
WITHOUT = "none"
"""Word that means no rules."""

_FOR = re.compile(r"(.*?)\s+for\s+([0-9]{1,9})\s+tasks?", re.DOTALL | re.IGNORECASE)
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
    metrics: tuple[str, ...]
    """The metrics that it names."""


def parse_rule(text: str) -> Rule:
    """Parse a rule. Raises QueryError, with the nearest valid choice."""
    timed = _FOR.fullmatch(text.strip())
    body, num_tasks = (timed[1], int(timed[2])) if timed else (text.strip(), 1)
    if not num_tasks:
        raise QueryError(f'rule "{text}": holds for 0 tasks; write for 1 task or more')
    if body.lower() in _SPECIAL:
        return Rule(text, _SPECIAL[body.lower()], num_tasks, ())
    terms = parse_query(body).terms
    for term in terms:
        name = re.split("[:<>]", term.word.removeprefix("-"), maxsplit=1)[0]
        if not has_condition(term.word):
            raise QueryError(f'rule "{text}": "{term.word}" is not a condition; write {EXAMPLES}')
        if name in _NOT_OF_A_TASK:
            usable = ", ".join(key for key in KEYS if key not in _NOT_OF_A_TASK)
            raise QueryError(f'rule "{text}": {name} is not known of a task; use metrics, keys, {usable}')
    metrics = tuple(term.field.name for term in terms if term.field and term.field.is_metric)
    if not metrics:
        raise QueryError(f'rule "{text}": names no metric; write {EXAMPLES}')
    return Rule(text, lambda view: all(term.matches(view) for term in terms), num_tasks, metrics)


def rules_typed(texts: Sequence[str]) -> list[str]:
    """Return the rules of ``--stop-when``; ``none`` means no rule. Raises ConfigError if it is combined with others."""
    if WITHOUT not in texts:
        return list(texts)
    if len(texts) > 1:
        raise ConfigError(f"--stop-when {WITHOUT}: means no rule; leave out the others, or {WITHOUT}")
    return []


def check_rules(spec: Spec, where: str) -> None:
    """Refuse invalid rules, and rules on metrics that a run does not record.

    Args:
        where: the file or option that they come from.
    Raises:
        ConfigError: names `where`, the rule and what to do.
    """
    measured = [name for name in spec.metrics if name in spec.metrics_after(spec.num_showings - 1)]
    for text in spec.stop_when:
        try:
            rule = parse_rule(text)
        except QueryError as error:
            raise ConfigError(f'{where}: key "stop_when": {error}') from None
        for metric in rule.metrics:
            if metric not in measured:
                raise ConfigError(
                    f'{where}: key "stop_when": rule "{text}": these runs do not record {metric}; '
                    f"add it to metrics, or use one of {', '.join(measured)}"
                )


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
