"""Compares methods: with the first, in the columns of a table, and by their protocols."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from lop_engine.analysis.groups import Group
from lop_engine.analysis.seeds import Difference, compare
from lop_engine.analysis.statistics import Estimate, PairedTest, estimate, holm, paired_test, t_test
from lop_engine.analysis.windows import Window, last_tenth, window_means
from lop_engine.errors import UserError
from lop_engine.experiment.components import Better
from lop_engine.experiment.parts import BOOKKEEPING_KEYS, EXTENT_KEYS
from lop_engine.experiment.stored import canonical, own_keys_of_methods
from lop_engine.runs.code_versions import mixed_code
from lop_engine.runs.views import RunView

ABSENT = object()
"""Replaces the value of a key that a spec does not have."""


def refuse_mixed(groups: Iterable[Group]) -> None:
    """Refuse groups whose seeds differ in more than the seed: in a key, or in the code of their own components.

    Keys that never change a run's numbers may differ, and so may a run's length and what it measures. A run
    whose spec cannot be read is ignored.

    Raises:
        UserError: names the two runs, and the first key that differs with both values; or the seeds and files.
    """
    for group in groups:
        runs = [run for run in group.runs if run.spec]
        for run in runs[1:]:
            for key, (ours, theirs) in differences(runs[0].spec, run.spec).items():
                raise UserError(
                    f"{run.dir.name} and {runs[0].dir.name} have different configs ({key}: {_in_words(theirs)} "
                    f'and {_in_words(ours)}), so their mean is meaningless; exclude one with --where "-seed:{run.seed}"'
                )
        for mixed in mixed_code(runs):
            raise UserError(f"{mixed.setting}: {mixed.text}")


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the keys in which two specs differ, with both values, as in run.json.

    Keys that change no number are left out, and those for a run's length or measurements. A value that a
    spec lacks is `ABSENT`.
    """
    ours, theirs = canonical(ours), canonical(theirs)
    keys = [key for key in {**ours, **theirs} if key not in BOOKKEEPING_KEYS | EXTENT_KEYS]
    pairs = {key: (_plain(ours.get(key, ABSENT)), _plain(theirs.get(key, ABSENT))) for key in keys}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _in_words(value: Any) -> str:
    return "not given" if value is ABSENT else repr(value)


StretchName = Literal["end", "last", "tenth", "area"]


@dataclass(frozen=True)
class Stretch:
    """The mean difference over some of the compared tasks; each pair contributes its mean over them."""

    name: StretchName
    """The last bin; the last few; the last tenth of the tasks; all bins, which is the area between the curves over the
    number of tasks."""
    first_task: int
    """Counted from 1."""
    last_task: int
    num_bins: int | None
    """None for a tenth, which does not consist of bins."""
    test: PairedTest
    p_holm: float | None = None
    """The p value corrected for the other groups compared with the same first one; None where there are none."""


@dataclass(frozen=True)
class Comparison:
    """The difference of two groups in one metric, over the bins up to the last that half of the begun pairs have.

    Pairs with a seed that diverged, failed, or was left out because a rule ended it, are not counted for this.
    """

    a: Group
    b: Group
    metric: str
    difference: Difference
    stretches: tuple[Stretch, ...]
    """End, last (if requested), tenth, area; empty if no pair has a bin."""
    pairs: tuple[int, ...]
    """Seeds that were compared: those with all the bins, finite."""
    left_out: tuple[int, ...]
    """Seeds of both groups without all the bins."""
    last_task: int
    """End of the last bin, tasks counted from 1; 0 if missing."""
    last_bin: int
    """Tasks of the last bin: fewer than the others if these do not divide the run. Means are weighted by tasks."""


def compare_to_first(
    groups: Sequence[Group], metric: str, num_last: int | None = None, bin_size: int | None = None
) -> tuple[Comparison, ...]:
    """Return the difference of each other group from the first; with several others, with Holm-corrected p values.

    Args:
        num_last: bins of the stretch `last`; None to omit it.

    A family is the comparisons of one stretch in one metric; reading several of them needs more correction.
    """
    comparisons = [_compared(groups[0], other, metric, num_last, bin_size) for other in groups[1:]]
    return tuple(comparisons) if len(comparisons) == 1 else _corrected(comparisons)


def protocol_differences(a: Group, b: Group) -> dict[str, tuple[Any, Any]]:
    """Return the keys, and both values, of differing tasks, images or networks; a method's own keys are ignored.

    Such groups did not learn the same tasks, so their difference is not only due to methods.
    """
    run_a, run_b = (next((run for run in group.runs if run.spec), None) for group in (a, b))
    if run_a is None or run_b is None:
        return {}
    of_methods = own_keys_of_methods(*((run.spec, run.components) for run in (run_a, run_b)))
    different = differences(run_a.spec, run_b.spec)
    return {key: pair for key, pair in different.items() if key not in of_methods}


def _compared(a: Group, b: Group, metric: str, num_last: int | None, bin_size: int | None) -> Comparison:
    difference = compare(a, b, metric, bin_size)
    present = np.isfinite(difference.values)
    going_on = present[_may_go_on(a, b, difference.pairs)]
    going_on = going_on if going_on.any() else present
    reached = np.flatnonzero(2 * going_on.sum(0) >= max(1, going_on.any(1).sum()))
    num_bins = int(reached[-1]) + 1 if len(reached) else 0
    whole = present[:, :num_bins].all(1) & bool(num_bins)
    values = difference.values[whole, :num_bins]
    before, upto = (extent[:num_bins] for extent in _extents(difference, min(a.num_tasks, b.num_tasks)))
    last_task = int(upto[-1]) if num_bins else 0
    pairs = np.array(difference.pairs, dtype=int)
    stretches: list[Stretch] = []
    if whole.any():
        stretches = [
            *_over_bins(values, before, upto, num_last),
            _over_tenth(a, b, metric, pairs[whole].tolist(), last_task),
            Stretch("area", 1, last_task, num_bins, paired_test(_mean(values, upto - before))),
        ]
    return Comparison(
        a,
        b,
        metric,
        difference,
        tuple(stretches),
        tuple(pairs[whole].tolist()),
        tuple(pairs[~whole].tolist()),
        last_task,
        last_task - int(before[-1]) if num_bins else 0,
    )


def _over_bins(values: np.ndarray, before: np.ndarray, upto: np.ndarray, num_last: int | None) -> Iterator[Stretch]:
    """Yield the last bin, and the last few."""
    stretches: list[tuple[StretchName, int]] = [("end", 1)]
    if num_last is not None:
        stretches.append(("last", min(num_last, values.shape[1])))
    for name, num in stretches:
        test = paired_test(_mean(values[:, -num:], (upto - before)[-num:]))
        yield Stretch(name, int(before[-num]) + 1, int(upto[-1]), num, test)


def _over_tenth(a: Group, b: Group, metric: str, pairs: Sequence[int], last_task: int) -> Stretch:
    """Yield the last tenth of the common tasks that all pairs have done, as in every table."""
    window = last_tenth(min(a.num_tasks, b.num_tasks), last_task)
    of_a, of_b = (window_means(group, metric, Window(*window)) for group in (a, b))
    return Stretch("tenth", *window, None, paired_test(np.array([of_b[seed] - of_a[seed] for seed in pairs])))


def _mean(values: np.ndarray, tasks: np.ndarray) -> np.ndarray:
    """Return each pair's mean over bins, shape (pairs,), weighted by tasks; an exact mean if all bins are equal."""
    return values.mean(1) if (tasks == tasks[0]).all() else np.average(values, 1, tasks)


def _may_go_on(a: Group, b: Group, pairs: Sequence[int]) -> np.ndarray:
    """Return, for each pair, whether both seeds may continue; a pair with a seed that ended early is left out."""
    ended = {run.seed for group in (a, b) for run in group.runs if _has_ended_early(run)}
    return np.array([seed not in ended for seed in pairs], dtype=bool)


def _has_ended_early(run: RunView) -> bool:
    return run.state in ("diverged", "failed") or (run.is_ended_by_rule and not run.carries)


def _corrected(comparisons: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """Return the comparisons with corrected p values, each stretch a family."""
    compared = [comparison for comparison in comparisons if comparison.stretches]
    families = zip(*(comparison.stretches for comparison in compared), strict=True)
    by_family = [holm([stretch.test.p_value for stretch in family]) for family in families]
    corrected = iter(zip(*by_family, strict=True))  # by comparison
    return tuple(
        replace(one, stretches=tuple(map(_with_holm, one.stretches, next(corrected)))) if one.stretches else one
        for one in comparisons
    )


def _with_holm(stretch: Stretch, p_value: float) -> Stretch:
    return replace(stretch, p_holm=p_value)


def _extents(difference: Difference, num_tasks: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the tasks before and up to the end of each bin; the last bin of a run may be shorter."""
    before = (difference.task - 1) // difference.bin_size * difference.bin_size
    return before, np.minimum(before + difference.bin_size, num_tasks)


LEVEL = 0.05
"""Significance level of the paired tests against the best, after Holm's correction."""


@dataclass(frozen=True)
class Entry:
    """One method in one column."""

    value: Estimate
    """Mean over its seeds."""
    is_best: bool
    p_holm: float
    """p value of the paired test against the best, corrected for the column; NaN without two common seeds."""
    num_pairs: int
    """Number of seeds in common with the best."""
    is_marked: bool
    """Whether it is bold: the best, if there is a test against it, and those that no test finds worse."""


def column(values: Sequence[Mapping[int, float]], better: Better) -> list[Entry]:
    """Compare each method with the best of the column, paired by seed.

    Args:
        values: for each method its values by seed, all finite; empty for a method without any.
    """
    estimates = [estimate(np.array(list(one.values()))) for one in values]
    sign = 1 if better == "higher" else -1
    order = [place for place, one in enumerate(estimates) if one.num_values]
    if not order:
        return [Entry(one, False, float("nan"), 0, False) for one in estimates]
    best = max(order, key=lambda place: sign * estimates[place].mean)
    pairs = [sorted(one.keys() & values[best].keys()) for one in values]
    tests = [
        float("nan") if place == best else t_test(np.array([one[seed] - values[best][seed] for seed in pairs[place]]))
        for place, one in enumerate(values)
    ]
    corrected = holm(tests)
    is_tested = bool(np.isfinite(corrected).any())
    return [
        Entry(
            one,
            place == best,
            corrected[place],
            len(pairs[place]),
            is_tested and (place == best or corrected[place] >= LEVEL),
        )
        for place, one in enumerate(estimates)
    ]
