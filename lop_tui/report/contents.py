"""Makes the sections of a report from runs. All numbers come from `lop_engine.analysis`."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from lop_engine.analysis import Group, group_runs, summarise
from lop_engine.analysis.choice import OwnSelection
from lop_engine.analysis.comparison import Comparison, compare_to_first
from lop_engine.analysis.groups import OneProblem
from lop_engine.analysis.seeds import breaks
from lop_engine.analysis.statistics import Estimate
from lop_engine.experiment import lookup
from lop_engine.experiment.components import Metric
from lop_engine.experiment.sweep import describe_seeds
from lop_engine.reproduction.verdicts import Finding, judge
from lop_engine.runs.views import RunView
from lop_tui import figures
from lop_tui.report.configuration import configuration_of, own_sources, places, recipes
from lop_tui.report.page import Page, Picture, Section, Table, Text
from lop_tui.words.claims import measured, units
from lop_tui.words.comparison import notes_on_runs, p_value, remarks, value_with_sign
from lop_tui.words.formats import BREAK_LEGEND, name_seeds, short_value
from lop_tui.words.runs import CAPTION, last_with_error, loss_heading


def page_of(
    runs_dirs: Sequence[Path],
    shown: OneProblem,
    baseline: Group,
    title: str,
    colours: Mapping[str, str],
    chosen_on: Sequence[OwnSelection] = (),
) -> Page:
    """Return a page that explains the runs to a reader who did not train them.

    Args:
        shown: the runs.
        baseline: the group that the others are compared with.
        colours: colours by label.
        chosen_on: settings that are shown on the seeds that chose them.
    """
    runs, groups = shown.runs, group_runs(shown.runs)
    measure = lookup.metric(shown.headline)
    sections = [
        _outcome(shown, groups, figures.Look(reference=True, colours=colours), chosen_on),
        *([_comparisons(groups, baseline, measure)] if len(groups) > 1 and shown.headline else []),
        *_claims(groups),
        _configuration(groups),
        how_to_run_again(groups),
        _environment(groups),
        *([_problems(groups, runs)] if notes_on_runs(groups) else []),
    ]
    return Page(
        title or f"lop: {', '.join(one.name for one in runs_dirs)}", _what(shown, len(groups)), sections, colours
    )


def _what(shown: OneProblem, num_settings: int) -> str:
    states = Counter(run.state for run in shown.runs)
    runs = ", ".join(f"{number} {state}" for state, number in states.most_common())
    last = max((run.status.heartbeat_at or 0 for run in shown.runs), default=0)
    when = f"; last heard of {_day(last)}" if last else ""
    others = ", ".join(f"{lookup.problem(name).title} ({_plural(number, 'run')})" for name, number in shown.others)
    return (
        f"{shown.problem.title}. {_plural(len(shown.runs), 'run')} of {_plural(num_settings, 'setting')}: {runs}{when}."
        + (f" Not on this page: {others}." if others else "")
    )


def _outcome(
    shown: OneProblem, groups: Sequence[Group], look: figures.Look, chosen_on: Sequence[OwnSelection]
) -> Section:
    headline = shown.headline
    drawable = [group for group in groups if headline and len(group.curve(headline).task)]
    others = [name for name in shown.metrics if name != headline]
    pictures = [_picture(drawable, names, look) for names in ([headline], others) if drawable and names]
    remarks = [] if pictures else ["No setting has finished enough tasks to draw yet."]
    remarks += [
        f"{one.group.label} is the best of {one.num_settings} settings on {name_seeds(one.seeds)}; its values here "
        "include these selection seeds, so they are too good."
        for one in chosen_on
    ]
    return Section("outcome", "What came out", remarks, pictures, [_summary(groups, lookup.metric(headline))])


def _summary(groups: Sequence[Group], measure: Metric) -> Table:
    rows = []
    for group in groups:
        summary, finished = summarise(group, measure.name), sum(run.state == "finished" for run in group.runs)
        row = [group.label, group.method, f"{finished} of {len(group.runs)}"]
        if summary is None:
            rows.append([*row, "0", *["-"] * 4])
            continue
        rows.append(
            [
                *row,
                str(summary.tasks_done),
                short_value(summary.first, measure.scale),
                short_value(summary.best, measure.scale),
                last_with_error(summary),
                short_value(summary.lost, measure.scale),
            ]
        )
    headings = ["", "method", "seeds finished", "tasks done by all", "first", "best", "last", loss_heading(measure)]
    caption = f"{_named(measure)}, {CAPTION}; ± one standard error."
    return Table(headings, rows, caption)


def _named(measure: Metric) -> str:
    """Return ``Test accuracy in %``, for the beginning of a sentence."""
    title = f"{measure.title[:1].upper()}{measure.title[1:]}"
    return f"{title} in {measure.unit}" if measure.unit else title


def _comparisons(groups: Sequence[Group], baseline: Group, measure: Metric) -> Section:
    comparisons = compare_to_first([baseline, *(group for group in groups if group != baseline)], measure.name)
    headings = [
        "",
        "pairs",
        "last bin",
        "last tenth",
        "all tasks",
        "p",
        "d_z",
        "differ from task",
    ]
    points = ", in points" if measure.unit == "%" else ""
    return Section(
        "comparison",
        f"Against {baseline.label}, seed by seed",
        ["The same seed sees the same tasks in the same order under every method, so differences are paired."]
        + [f"{one.b.label}: {'; '.join(remarks(one, has_bootstrap=False))}." for one in comparisons],
        tables=[
            Table(
                headings,
                [_compared(one, measure) for one in comparisons],
                f"{_named(replace(measure, unit=''))} minus that of {baseline.label}{points}: mean over "
                "pairs of seeds and 95 % interval by Student's t. p of the paired t-test over all tasks"
                + (", corrected by Holm for the number of rows" if len(comparisons) > 1 else "")
                + ". d_z: mean over standard deviation of the differences.",
            )
        ],
    )


def _compared(one: Comparison, measure: Metric) -> list[str]:
    if not one.stretches:
        return [one.b.label, "0", *["-"] * 6]
    area, parts_at = one.stretches[-1], one.difference.parts_at
    return [
        one.b.label,
        str(len(one.pairs)),
        *(_interval(stretch.test.difference, measure) for stretch in one.stretches),
        p_value(area.test.p_value if area.p_holm is None else area.p_holm),
        "-" if math.isnan(area.test.effect_size) else f"{area.test.effect_size:.2f}",
        "-" if parts_at is None else f"{parts_at:g}",
    ]


def _interval(estimate: Estimate, measure: Metric) -> str:
    mean, low, high = (value_with_sign(value, measure) for value in (estimate.mean, estimate.low, estimate.high))
    return mean if estimate.num_values < 2 else f"{mean} [{low}, {high}]"


def _claims(groups: Sequence[Group]) -> list[Section]:
    """Return a section for each protocol that has runs."""
    return [
        Section(f"claims-{number}", f"Claims of {finding.protocol.name}", tables=[_verdicts(finding)])
        for number, finding in enumerate(judge(groups)[0], 1)
    ]


def _verdicts(finding: Finding) -> Table:
    rows = [
        [verdict.claim.text, *measured(verdict, finding), verdict.outcome + (f": {verdict.why}" if verdict.why else "")]
        for verdict in finding.verdicts
        if not verdict.missing
    ]
    caption = f"{units(finding)}; means over seeds (n), 95 % intervals by Student's t."
    return Table(["claim", "measured", "95 % interval", "n", "verdict"], rows, caption, numbers=False)


def _configuration(groups: Sequence[Group]) -> Section:
    configuration = configuration_of(groups)
    rows = [[key, *values] for key, values in configuration.differing.items()]
    tables = [Table(["", *_labels(groups)], rows, numbers=False)] if rows else []
    shared = "\n".join(f"{key} = {value}" for key, value in configuration.common.items())
    texts = [Text(f"{_plural(len(configuration.common), 'key')} that all share", shared)] if shared else []
    return Section("configuration", "Configuration", tables=tables, texts=texts)


def how_to_run_again(groups: Sequence[Group]) -> Section:
    """Return the commands and files that train the runs again."""
    files_to_run = recipes(groups)
    commands = Text(
        "Save the files below beside each other, then:", "\n".join(one.command for one in files_to_run), False
    )
    files = [Text(one.file_name, one.content) for one in files_to_run]
    files += [Text(name, content) for name, content in own_sources(groups).items()]
    return Section("again", "Run it again", texts=[commands, *files])


def _environment(groups: Sequence[Group]) -> Section:
    rows = [[str(one.num_runs), one.host, one.device, one.versions] for one in places(groups)]
    return Section(
        "environment", "Environment", tables=[Table(["runs", "host", "device", "versions"], rows, "", False)]
    )


def _problems(groups: Sequence[Group], runs: Sequence[RunView]) -> Section:
    texts = [Text(f"{run.dir.name}: {run.state}", problem, False) for run in runs if (problem := _problem_of(run))]
    return Section("problems", "Problems", notes_on_runs(groups), texts=texts)


def _problem_of(run: RunView) -> str:
    return run.problem or (run.status.error or "" if run.state in ("failed", "diverged", "lost") else "")


def _picture(groups: Sequence[Group], metrics: Sequence[str], look: figures.Look) -> Picture:
    names = ", ".join(lookup.metric(metric).title for metric in metrics)
    caption = f"{names[:1].upper()}{names[1:]}: mean over seeds of bins of tasks, band of one standard error."
    has_breaks = any(len(breaks(run, metric)) for metric in metrics for group in groups for run in group.runs)
    mark = f" {BREAK_LEGEND}." if has_breaks else ""
    return Picture(figures.as_svg(figures.draw(groups, metrics, look), look), f"{caption}{mark}")


def _labels(groups: Sequence[Group]) -> list[str]:
    return [group.label for group in groups]


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed{'s' * (len(seeds) > 1)} {describe_seeds(seeds).rstrip(',')}"


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _day(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M UTC")
