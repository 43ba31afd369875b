"""Compares runs with published claims of their protocol: reproduced, not reproduced, or not enough data.

docs/statistics.md has the rule and its reasons.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from lop_engine.analysis import Estimate, Group, estimate, window_means
from lop_engine.experiment import lookup
from lop_engine.experiment.components import Metric
from lop_engine.experiment.stored import foreign_components, stored_spec
from lop_engine.reproduction.claims import Claim, Part, Protocol, protocols_of, settings_of, unlike

Outcome = Literal["reproduced", "not reproduced", "not enough data"]

Candidates = Mapping[str, Group]
"""The group that is judged for each setting of a protocol."""


@dataclass(frozen=True)
class Verdict:
    """A claim and the measurement."""

    claim: Claim
    outcome: Outcome
    measured: Estimate
    """Mean over seeds, for a difference over pairs of seeds, with its 95 % interval; in the metric's units."""
    why: str
    """Missing data, or the reason for the outcome; "" if the interval decides."""
    missing: tuple[str, ...] = ()
    """Settings of the claim without runs."""


@dataclass(frozen=True)
class Finding:
    """All claims of a protocol that has runs."""

    protocol: Protocol
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True)
class Unjudged:
    """A setting that is not judged, and the reason."""

    label: str
    why: str
    """``follows no published protocol``"""
    why_several: str
    """The same for several settings: ``follow no published protocol``."""
    detail: str = ""
    """Text after `why` for this setting, such as the keys that differ."""

    def __str__(self) -> str:
        return f"{self.label}: {self.why}{self.detail}"


def judge(groups: Sequence[Group]) -> tuple[tuple[Finding, ...], tuple[Unjudged, ...]]:
    """Compare `groups` with the claims of every protocol of their problem that some of them match.

    Returns:
        A finding for each protocol; and the groups that are not judged, with what differs.
    """
    problems = dict.fromkeys(run.problem_name for group in groups for run in group.runs[:1])
    protocols = [protocol for problem in problems for protocol in protocols_of(problem)]
    candidates: dict[str, dict[str, Group]] = {protocol.name: {} for protocol in protocols}
    followed, unjudged = set(), []
    for group in sorted(groups, key=lambda group: -len(group.runs)):
        protocol, setting, why = _place(group)
        followed |= {protocol.name} if protocol else set()
        if protocol and setting and setting not in candidates[protocol.name]:
            candidates[protocol.name][setting] = group
        elif protocol and setting:
            same = f"the same setting as {candidates[protocol.name][setting].label}, which is judged"
            unjudged.append(Unjudged(group.label, same, same))
        elif why:
            unjudged.append(why)
    findings = (
        Finding(protocol, tuple(_judge(claim, candidates[protocol.name], protocol) for claim in protocol.claims))
        for protocol in protocols
        if protocol.name in followed
    )
    return tuple(findings), tuple(unjudged)


def _place(group: Group) -> tuple[Protocol | None, str | None, Unjudged | None]:
    """Return the protocol and the setting that a group matches, or why it matches none."""
    problem, why = group.runs[0].problem_name, partial(Unjudged, group.label)
    if not protocols_of(problem):
        none = f"no results are published for problem {problem}"
        return None, None, why(none, none)
    spec: Mapping[str, Any] = next((run.spec for run in group.runs if run.spec), {})
    run = stored_spec(spec)
    if run is None:
        if foreign := foreign_components(spec):
            detail = f": {', '.join(foreign)} not part of lop"
            return None, None, why("follows no published protocol", "follow no published protocol", detail)
        no_spec = "run.json holds no spec of this version"
        return None, None, why(f"its {no_spec}", f"their {no_spec}")
    protocol, differing = min(
        ((one, one.unlike(run)) for one in protocols_of(problem)),
        key=lambda pair: (len(pair[1]), not settings_of(run, pair[0])),
    )
    if differing:
        other = f"not the protocol of {protocol.name}"
        return None, None, why(other, other, f": {'; '.join(differing)}")
    by_setting = {name: unlike(run, learner) for name, learner in protocol.settings.items()}
    nearest = min(by_setting, key=lambda name: (protocol.settings[name]["method"] != run.method, len(by_setting[name])))
    if by_setting[nearest]:
        detail = f"; unlike {nearest}: {'; '.join(by_setting[nearest])}"
        no_claim = f"{protocol.name} has no claim about"
        return protocol, None, why(f"{no_claim} it", f"{no_claim} them", detail)
    return protocol, nearest, None


def _judge(claim: Claim, candidates: Candidates, protocol: Protocol) -> Verdict:
    parts = [part for part in (claim.of, claim.minus) if part]
    missing = dict.fromkeys(part.setting for part in parts if part.setting not in candidates)
    if missing:
        return Verdict(claim, "not enough data", estimate(np.empty(0)), "no runs", tuple(missing))
    values = _values(parts, candidates, protocol.metric)
    measured = estimate(values)
    if len(values) < protocol.least_seeds:
        last, num = max(part.window.last for part in parts), len(values)
        why = f"{num} seed{'' if num == 1 else 's'} to task {last}, of {protocol.least_seeds} at least"
        return Verdict(claim, "not enough data", measured, why)
    if claim.level is not None:
        outcome, why = _about(claim.level, measured, protocol)
    elif claim.of_each_seed:
        outcome, why = _each_within(claim, values)
    else:
        outcome, why = _within(claim, measured)
    return Verdict(claim, outcome, measured, why)


def _values(parts: Sequence[Part], candidates: Candidates, metric: str) -> np.ndarray:
    """Return the claimed quantity of each seed that has it, shape (seeds,)."""
    of, *minus = [window_means(candidates[part.setting], metric, part.window) for part in parts]
    if not minus:
        return np.array([of[seed] for seed in sorted(of)])
    return np.array([of[seed] - minus[0][seed] for seed in sorted(of.keys() & minus[0].keys())])


def _about(level: float, measured: Estimate, protocol: Protocol) -> tuple[Outcome, str]:
    """Whether two means over seeds agree, if the published one has the same spread over its seeds as ours."""
    margins, amount = protocol.margins, partial(_amount, measure=lookup.metric(protocol.metric))
    reach = (measured.high - measured.low) / 2
    margin = max(margins.least, reach * (1 + measured.num_values / margins.num_seeds) ** 0.5) + margins.reading_error
    if abs(measured.mean - level) > margin:
        return "not reproduced", f"{amount(abs(measured.mean - level))} off, {amount(margin)} allowed"
    if margin > margins.widest:
        return "not enough data", f"known to {amount(margin)} only, {amount(margins.widest)} are needed"
    return "reproduced", ""


def _amount(value: float, measure: Metric) -> str:
    """Return a difference without its sign: ``0.52 points`` for a share, else ``0.052``."""
    return f"{100 * value:.2f} points" if measure.unit == "%" else f"{value:.3f}"


def _within(claim: Claim, measured: Estimate) -> tuple[Outcome, str]:
    """Return whether the whole interval is in the claimed range (True) or outside (False)."""
    if claim.low < measured.low and measured.high < claim.high:
        return "reproduced", ""
    if measured.high <= claim.low or measured.low >= claim.high:
        return "not reproduced", "the interval lies on the other side"
    return "not enough data", "the interval lies on both sides"


def _each_within(claim: Claim, values: np.ndarray) -> tuple[Outcome, str]:
    inside = (claim.low < values) & (values < claim.high)
    if inside.all():
        return "reproduced", f"in each of {len(values)} seeds"
    share = f"{inside.sum()} of {len(values)} seeds"
    return ("not enough data", share) if claim.low < values.mean() < claim.high else ("not reproduced", share)
