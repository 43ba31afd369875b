"""Chooses the best setting of each method of a sweep on some seeds, and reports it on the others.

On the seeds that chose it, the best of several settings looks better than it is, because noise affects the choice.
On other seeds its mean is unbiased.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from lop_engine.analysis.curves import bin_table, default_bin
from lop_engine.analysis.grid import Edge, edges, neighbours
from lop_engine.analysis.groups import Group
from lop_engine.analysis.statistics import Estimate, estimate
from lop_engine.analysis.windows import Over, tenths_of
from lop_engine.experiment import lookup
from lop_engine.experiment.components import Better

Criterion = Literal["last", "whole", "end", "first", "best"]
"""The mean over tasks that ranks settings: the last tenth, all tasks, the last bin, the first or the best
tenth."""

CRITERIA: tuple[Criterion, ...] = get_args(Criterion)
RESAMPLES = 10_000


@dataclass(frozen=True)
class Score:
    """A setting on the selection seeds."""

    group: Group
    select: Estimate
    chosen_share: float
    """Share of the bootstrap resamples of the selection seeds in which this setting is the best."""


@dataclass(frozen=True)
class Nearby:
    """A neighbour of the chosen setting on the grid."""

    key: str
    value: object
    score: Score


@dataclass(frozen=True)
class Choice:
    """The best setting of one method of one experiment, in one metric."""

    metric: str
    criterion: Criterion
    group: Group
    """The chosen setting, with all its seeds."""
    scores: tuple[Score, ...]
    """Scores of the settings that could be chosen, in order."""
    left_out: tuple[tuple[Group, tuple[int, ...]], ...]
    """Settings that could not be chosen, each with the selection seeds without a value."""
    select_seeds: tuple[int, ...]
    """Empty if there is only one setting."""
    report_seeds: tuple[int, ...]
    """Other seeds of the chosen setting, with a value."""
    missing: tuple[int, ...]
    """Other seeds of the chosen setting, without a value."""
    report: Estimate
    """Mean of the chosen setting on `report_seeds`."""
    nearby: tuple[Nearby, ...]
    edges: tuple[Edge, ...]

    @property
    def num_settings(self) -> int:
        return len(self.scores) + len(self.left_out)

    @property
    def score(self) -> Score:
        return next(score for score in self.scores if score.group is self.group)

    @property
    def is_biased(self) -> bool:
        """Whether the setting is reported on the seeds that chose it, because there are no others."""
        return bool(self.select_seeds) and not self.report_seeds

    @property
    def shown(self) -> Group:
        """Return the chosen setting with its report seeds; with its selection seeds if it has no others."""
        if not self.select_seeds or self.is_biased:
            return self.group
        return replace(self.group, runs=tuple(run for run in self.group.runs if run.seed not in self.select_seeds))


def families(groups: Sequence[Group]) -> list[list[Group]]:
    """Return the settings of each method of each experiment, in the order of their first settings."""
    settings: dict[tuple[str, str, str], list[Group]] = {}
    for group in groups:
        settings.setdefault((group.problem.name, group.experiment, group.method), []).append(group)
    return list(settings.values())


def seed_values(group: Group, metric: str, criterion: Criterion) -> Mapping[int, float]:
    """Return each seed's mean over the tasks of `criterion`, in the metric's units; only for seeds that have them."""
    if criterion != "end":
        tenths = tenths_of(group, metric)
        over: Over = criterion
        return tenths.by_seed(over) if tenths else {}
    series = [group.values(run, metric) for run in group.runs]
    _, table = bin_table(series, default_bin(group.num_tasks), group.num_tasks)
    last = table[:, -1] if table.shape[1] else np.full(len(series), np.nan)
    return {run.seed: float(value) for run, value in zip(group.runs, last, strict=True) if np.isfinite(value)}


def choose(
    groups: Sequence[Group],
    metric: str,
    criterion: Criterion = "last",
    select_seeds: Collection[int] | None = None,
    better: Better | None = None,
) -> Choice | None:
    """Choose among the settings of one method; None if none of them has a value of every selection seed.

    Args:
        groups: the settings, see `families`.
        select_seeds: by default the lower half of the seeds that any setting has, rounded down, one at least.
        better: by default as the metric says.
    """
    values = [seed_values(group, metric, criterion) for group in groups]
    if len(groups) == 1:
        return _alone(groups[0], metric, criterion, values[0])
    select = _selection(groups, select_seeds)
    lacking = [tuple(seed for seed in select if seed not in of_seeds) for of_seeds in values]
    able = [place for place, seeds in enumerate(lacking) if not seeds]
    if not able or not select:
        return None
    table = np.array([[values[place][seed] for seed in select] for place in able])
    better = better or lookup.metric(metric).better
    shares, best = bootstrap_shares(table, better), best_row(table, better)
    rows = zip(able, table, shares.tolist(), strict=True)
    scores = [Score(groups[place], estimate(row), share) for place, row, share in rows]
    chosen, of_chosen = scores[best].group, values[able[best]]
    others = [run.seed for run in chosen.runs if run.seed not in select]
    report = tuple(seed for seed in others if seed in of_chosen)
    by_group = {id(score.group): score for score in scores}
    candidates = [score.group for score in scores]
    return Choice(
        metric,
        criterion,
        chosen,
        tuple(scores),
        tuple((group, seeds) for group, seeds in zip(groups, lacking, strict=True) if seeds),
        select,
        report,
        tuple(seed for seed in others if seed not in of_chosen),
        estimate(np.array([of_chosen[seed] for seed in report])),
        tuple(Nearby(one.key, one.value, by_group[id(one.group)]) for one in neighbours(candidates, best)),
        tuple(edges(groups, able[best])),
    )


@dataclass(frozen=True)
class OwnSelection:
    """A setting shown on the seeds that chose it, so its mean is biased upwards."""

    group: Group
    num_settings: int
    seeds: tuple[int, ...]
    """The selection seeds."""
    others: tuple[int, ...]
    """Its other seeds, on which its mean is unbiased."""


def own_selections(
    shown: Sequence[Group], every: Sequence[Group], metric: str, select_seeds: Collection[int] | None = None
) -> list[OwnSelection]:
    """Return the groups among `shown` that are their method's best setting and contain selection seeds.

    Args:
        every: all settings with all seeds: the choice does not depend on what is shown.
        select_seeds: see `choose`.
    """
    selections = []
    for family in (family for family in families(every) if len(family) > 1):
        held = {group.setting: group for group in shown if _is_of(group, family[0])}
        choice = choose(family, metric, select_seeds=select_seeds) if held else None
        if choice is None or choice.group.setting not in held:
            continue
        group = held[choice.group.setting]
        if any(run.seed in choice.select_seeds for run in group.runs):
            selections.append(OwnSelection(group, len(family), choice.select_seeds, choice.report_seeds))
    return selections


def _is_of(group: Group, other: Group) -> bool:
    return (group.experiment, group.method) == (other.experiment, other.method)


def best_row(table: np.ndarray, better: Better) -> int:
    """Return the setting with the best mean; in a tie the first.

    Args:
        table: shape (settings, seeds), all finite.
    """
    means = table.mean(-1)
    return int(means.argmax() if better == "higher" else means.argmin())


def bootstrap_shares(table: np.ndarray, better: Better) -> np.ndarray:
    """Return how often each setting is the best of a bootstrap resample of the seeds, shape (settings,), summing to 1.

    A resample draws the same seeds for all settings. Settings that are equally good share it.

    Args:
        table: shape (settings, seeds), all finite.
    """
    num_seeds = table.shape[1]
    draws = np.random.default_rng(0).multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), RESAMPLES)
    means = draws @ (table if better == "higher" else -table).T / num_seeds
    is_best = means >= means.max(1, keepdims=True) - 1e-12 * np.abs(means).max(1, keepdims=True)
    return np.asarray((is_best / is_best.sum(1, keepdims=True)).mean(0))


def _selection(groups: Sequence[Group], select_seeds: Collection[int] | None) -> tuple[int, ...]:
    there = sorted({run.seed for group in groups for run in group.runs})
    if select_seeds is not None:
        return tuple(seed for seed in there if seed in select_seeds)
    return tuple(there[: max(1, len(there) // 2)])


def _alone(group: Group, metric: str, criterion: Criterion, values: Mapping[int, float]) -> Choice | None:
    """Return the choice of a single setting, reported on all seeds."""
    if not values:
        return None
    estimated = estimate(np.array(list(values.values())))
    missing = tuple(run.seed for run in group.runs if run.seed not in values)
    score = Score(group, estimated, 1.0)
    return Choice(metric, criterion, group, (score,), (), (), tuple(values), missing, estimated, (), ())
