"""One's own runs held against what is claimed of their protocol: reproduced, not reproduced, or not enough data.

docs/statistics.md has the rule and the reasons for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from lop_engine.analysis import Estimate, Group, estimate, window_means
from lop_engine.experiment import seen
from lop_engine.experiment.components import Metric
from lop_engine.experiment.stored import foreign_components, stored_spec
from lop_engine.reproduction.claims import Claim, Part, Protocol, protocols_of, settings_of, unlike

Outcome = Literal["reproduced", "not reproduced", "not enough data"]

Candidates = Mapping[str, Group]
"""By a protocol's setting, the group that is judged as it."""


@dataclass(frozen=True)
class Verdict:
    """A claim beside what was measured."""

    claim: Claim
    outcome: Outcome
    measured: Estimate
    """Over seeds, of a difference over pairs of seeds, with its 95 % interval; in the units of the metric."""
    why: str
    """What the data lack, or what tells the outcome; empty if the interval does."""
    missing: tuple[str, ...] = ()
    """Settings that the claim is about and of which there are no runs."""


@dataclass(frozen=True)
class Finding:
    """All claims of a protocol of which there are runs."""

    protocol: Protocol
    verdicts: tuple[Verdict, ...]


def judge(groups: Sequence[Group]) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    """Compare `groups` with the claims of each protocol of their problem that some of them follow.

    Returns:
        What was found, a protocol each; and a sentence for each group that no claim is about, with what differs.
    """
    problems = dict.fromkeys(run.problem_name for group in groups for run in group.runs[:1])
    protocols = [protocol for problem in problems for protocol in protocols_of(problem)]
    candidates: dict[str, dict[str, Group]] = {protocol.name: {} for protocol in protocols}
    followed, notes = set(), []
    for group in sorted(groups, key=lambda group: -len(group.runs)):
        protocol, setting, note = _place(group)
        followed |= {protocol.name} if protocol else set()
        if protocol and setting and setting not in candidates[protocol.name]:
            candidates[protocol.name][setting] = group
        elif protocol and setting:
            other = candidates[protocol.name][setting].label
            notes.append(f"{group.label}: the same setting as {other}, which is judged")
        else:
            notes.append(f"{group.label}: {note}")
    findings = (
        Finding(protocol, tuple(_judge(claim, candidates[protocol.name], protocol) for claim in protocol.claims))
        for protocol in protocols
        if protocol.name in followed
    )
    return tuple(findings), tuple(notes)


def _place(group: Group) -> tuple[Protocol | None, str | None, str]:
    """The protocol and the setting that a group follows, or why it follows none."""
    problem = group.runs[0].problem_name
    if not protocols_of(problem):
        return None, None, f"no results are published for problem {problem}"
    spec: Mapping[str, Any] = next((run.spec for run in group.runs if run.spec), {})
    run = stored_spec(spec)
    if run is None:
        foreign = foreign_components(spec)
        why = f"{', '.join(foreign)} not part of lop" if foreign else "its run.json holds no spec of this version"
        return None, None, f"follows no published protocol: {why}" if foreign else why
    protocol, differing = min(
        ((one, one.unlike(run)) for one in protocols_of(problem)),
        key=lambda found: (len(found[1]), not settings_of(run, found[0])),
    )
    if differing:
        return None, None, f"not the protocol of {protocol.name}: {'; '.join(differing)}"
    by_setting = {name: unlike(run, learner) for name, learner in protocol.settings.items()}
    nearest = min(by_setting, key=lambda name: (protocol.settings[name]["method"] != run.method, len(by_setting[name])))
    if by_setting[nearest]:
        differing = by_setting[nearest]
        return protocol, None, f"{protocol.name} has no claim about it; unlike {nearest}: {'; '.join(differing)}"
    return protocol, nearest, ""


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
    """The claimed quantity of each seed that has it, shape (seeds,)."""
    of, *minus = [window_means(candidates[part.setting], metric, part.window) for part in parts]
    if not minus:
        return np.array([of[seed] for seed in sorted(of)])
    return np.array([of[seed] - minus[0][seed] for seed in sorted(of.keys() & minus[0].keys())])


def _about(level: float, measured: Estimate, protocol: Protocol) -> tuple[Outcome, str]:
    """Whether two means over seeds agree, the published one with as much spread over its seeds as ours."""
    margins, amount = protocol.margins, partial(_amount, measure=seen.metric(protocol.metric))
    reach = (measured.high - measured.low) / 2
    margin = max(margins.least, reach * (1 + measured.num_values / margins.num_seeds) ** 0.5) + margins.reading_error
    if abs(measured.mean - level) > margin:
        return "not reproduced", f"{amount(abs(measured.mean - level))} off, {amount(margin)} allowed"
    if margin > margins.widest:
        return "not enough data", f"known to {amount(margin)} only, {amount(margins.widest)} are needed"
    return "reproduced", ""


def _amount(value: float, measure: Metric) -> str:
    """A difference without its sign: ``0.52 points`` of a share, else ``0.052``."""
    return f"{100 * value:.2f} points" if measure.unit == "%" else f"{value:.3f}"


def _within(claim: Claim, measured: Estimate) -> tuple[Outcome, str]:
    """Whether the whole interval lies where it should, or none of it does."""
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
