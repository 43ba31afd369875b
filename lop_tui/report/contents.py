"""From runs to the sections of a report. All numbers come from `lop_engine.analysis`."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from lop_engine.analysis import Group, summarise
from lop_engine.analysis.comparison import Comparison, compare_to_first
from lop_engine.analysis.statistics import Estimate
from lop_engine.experiment import seen
from lop_engine.experiment.problems import CONTINUAL_IMAGENET
from lop_engine.experiment.typed import describe_seeds
from lop_engine.runs import RunView
from lop_engine.verdicts import Finding, judge
from lop_tui import figures
from lop_tui.commands.check import measured
from lop_tui.commands.comparison_words import notes_on_runs, p_value, remarks
from lop_tui.commands.summary import last_with_error
from lop_tui.report.configuration import configuration_of, places, recipes
from lop_tui.report.page import Page, Picture, Section, Table, Text


def page_of(runs_dir: Path, groups: Sequence[Group], baseline: Group, title: str, colours: Mapping[str, str]) -> Page:
    """Everything a reader who was not there needs to know.

    Args:
        groups: in the order of their names.
        baseline: one of them, which the others are compared with.
        colours: by label.
    """
    runs = [run for group in groups for run in group.runs]
    sections = [
        _outcome(groups, figures.Look(reference=True, colours=colours)),
        *([_comparisons(groups, baseline)] if len(groups) > 1 else []),
        *_claims(groups),
        _configuration(groups),
        _again(groups),
        _environment(groups),
        *([_problems(groups, runs)] if notes_on_runs(groups) else []),
    ]
    return Page(title or f"lop: {runs_dir.name}", _what(groups, runs), sections, colours)


def _what(groups: Sequence[Group], runs: Sequence[RunView]) -> str:
    states = Counter(run.state for run in runs)
    told = ", ".join(f"{number} {state}" for state, number in states.most_common())
    last = max((run.status.heartbeat_at or 0 for run in runs), default=0)
    when = f"; last heard of {_day(last)}" if last else ""
    return f"{_plural(len(runs), 'run')} of {_plural(len(groups), 'setting')}: {told}{when}."


def _outcome(groups: Sequence[Group], look: figures.Look) -> Section:
    drawable = [group for group in groups if summarise(group)]
    recorded = [
        name
        for name in CONTINUAL_IMAGENET.metrics
        if any(name in run.series for group in drawable for run in group.runs)
    ]
    pictures = [_picture(drawable, ["test_accuracy"], look)] if drawable and "test_accuracy" in recorded else []
    others = [name for name in recorded if name != "test_accuracy"]
    if drawable and others:
        pictures.append(_picture(drawable, others, look))
    remarks = [] if pictures else ["No setting has finished a tenth of its tasks yet, so there is nothing to draw."]
    return Section("outcome", "What came out", remarks, pictures, [_summary(groups)])


def _summary(groups: Sequence[Group]) -> Table:
    rows = []
    for group in groups:
        summary, finished = summarise(group), sum(run.state == "finished" for run in group.runs)
        row = [group.label, f"{finished} of {len(group.runs)}"]
        if summary is None:
            rows.append([*row, "0", *["-"] * 4])
            continue
        rows.append(
            [
                *row,
                str(summary.tasks_done),
                f"{100 * summary.first:.1f}",
                f"{100 * summary.best:.1f}",
                last_with_error(summary),
                f"{100 * summary.lost:.1f}",
            ]
        )
    headings = ["", "seeds finished", "tasks done by all", "first", "best", "last", "best - last"]
    return Table(headings, rows, "Test accuracy in %, means over seeds of tenths of the run; ± one standard error.")


def _comparisons(groups: Sequence[Group], baseline: Group) -> Section:
    found = compare_to_first([baseline, *(group for group in groups if group != baseline)], "test_accuracy")
    bins = next((one.stretches[1].num_bins for one in found if one.stretches), 0)
    headings = [
        "",
        "pairs",
        "at the end",
        f"over the last {bins} bins",
        "over all tasks",
        "p",
        "d_z",
        "part at task",
    ]
    return Section(
        "comparison",
        f"Against {baseline.label}, seed by seed",
        ["The same seed sees the same classes in the same order under every method, so differences are paired."]
        + [f"{one.b.label}: {'; '.join(remarks(one, has_bootstrap=False))}." for one in found],
        tables=[
            Table(
                headings,
                [_compared(one) for one in found],
                f"Test accuracy minus that of {baseline.label}, in points: mean over pairs of seeds and 95 % interval "
                "by Student's t. p of the paired t-test over all tasks"
                + (", corrected by Holm for the number of rows" if len(found) > 1 else "")
                + ". d_z: mean over standard deviation of the differences.",
            )
        ],
    )


def _compared(one: Comparison) -> list[str]:
    if not one.stretches:
        return [one.b.label, "0", *["-"] * 6]
    area, parts_at = one.stretches[-1], one.difference.parts_at
    return [
        one.b.label,
        str(len(one.pairs)),
        *(_interval(stretch.test.difference) for stretch in one.stretches),
        p_value(area.test.p_value if area.p_holm is None else area.p_holm),
        "-" if math.isnan(area.test.effect_size) else f"{area.test.effect_size:.2f}",
        "-" if parts_at is None else f"{parts_at:g}",
    ]


def _interval(estimate: Estimate) -> str:
    if estimate.num_values < 2:
        return f"{100 * estimate.mean:+.2f}"
    return f"{100 * estimate.mean:+.2f} [{100 * estimate.low:+.2f}, {100 * estimate.high:+.2f}]"


def _claims(groups: Sequence[Group]) -> list[Section]:
    """A section for each protocol of which there are runs."""
    return [
        Section(f"claims-{number}", f"Claims of {finding.protocol.name}", tables=[_verdicts(finding)])
        for number, finding in enumerate(judge(groups)[0], 1)
    ]


def _verdicts(finding: Finding) -> Table:
    rows = [
        [verdict.claim.text, *measured(verdict), verdict.outcome + (f": {verdict.why}" if verdict.why else "")]
        for verdict in finding.verdicts
        if not verdict.missing
    ]
    caption = "Test accuracy in %, differences in points; means over seeds (n), 95 % intervals by Student's t."
    return Table(["claim", "measured", "95 % interval", "n", "verdict"], rows, caption, numbers=False)


def _configuration(groups: Sequence[Group]) -> Section:
    found = configuration_of(groups)
    rows = [[key, *values] for key, values in found.differing.items()]
    tables = [Table(["", *_labels(groups)], rows, numbers=False)] if rows else []
    shared = "\n".join(f"{key} = {value}" for key, value in found.common.items())
    texts = [Text(f"{_plural(len(found.common), 'key')} that all share", shared)] if shared else []
    return Section("configuration", "Configuration", tables=tables, texts=texts)


def _again(groups: Sequence[Group]) -> Section:
    found = recipes(groups)
    commands = Text("Save the files below beside each other, then:", "\n".join(one.command for one in found), False)
    files = [Text(one.file_name, one.content) for one in found]
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
    names = ", ".join(seen.metric(metric).title for metric in metrics)
    return Picture(
        figures.as_svg(figures.draw(groups, metrics, look), look),
        f"{names[0].upper()}{names[1:]}: mean over seeds of bins of tasks, band of one standard error.",
    )


def _labels(groups: Sequence[Group]) -> list[str]:
    return [group.label for group in groups]


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed{'s' * (len(seeds) > 1)} {describe_seeds(seeds).rstrip(',')}"


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _day(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M UTC")
