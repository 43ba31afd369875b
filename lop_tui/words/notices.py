"""Notices about runs: errors, missing data, and reasons for waiting."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lop_engine.runs.code_versions import mixed_code
from lop_engine.runs.logs import clean
from lop_engine.runs.views import RunView


@dataclass(frozen=True)
class Notice:
    """A notice about one run."""

    run: str
    text: str


def find_notices(runs: Sequence[RunView]) -> tuple[Notice, ...]:
    """Return the problems of runs, unreadable ones first, then other notes."""
    unreadable = [Notice(run.dir.name, run.problem) for run in runs if run.problem]
    failed = [
        Notice(run.dir.name, f"{run.state}: " + "; ".join(filter(None, (_error_of(run), run.job_note))))
        for run in runs
        if not run.problem and (run.state == "failed" or (run.status.error and run.state == "diverged"))
    ]
    lost = [
        Notice(run.dir.name, f"lost: {run.job_note or 'its worker is gone'}; R resumes it")
        for run in runs
        if not run.problem and run.state == "lost"
    ]
    wrong = unreadable + failed + lost
    named = {notice.run for notice in wrong} | {run.dir.name for run in runs if run.state == "finished"}
    noted = [Notice(run.dir.name, run.status.note) for run in runs if run.status.note and run.dir.name not in named]
    return (*wrong, *flag_notices(runs), *noted, *waiting_jobs(runs))


def flag_notices(runs: Sequence[RunView]) -> Iterator[Notice]:
    """Return notices of seeds ended by rules or of different code, and of flags (`RunView.flags`), grouped."""
    yield from _ended_by_rules(runs)
    for mixed in mixed_code(runs):
        yield Notice(mixed.setting, mixed.text)
    by_flag = defaultdict(list)
    for run in runs:
        for flag in run.flags:
            by_flag[flag].append(run)
    for flag, (first, *others) in by_flag.items():
        more = f" (and in {len(others)} more run{'s' * (len(others) > 1)})" if others else ""
        yield Notice(first.dir.name, f"{flag}{more}")


def _ended_by_rules(runs: Sequence[RunView]) -> Iterator[Notice]:
    """Return how many seeds of each setting a rule ended, when, and how means treat them."""
    settings = defaultdict(list)
    for run in runs:
        settings[f"{run.experiment}/{run.setting}"].append(run)
    for setting, seeds in settings.items():
        ended = [run for run in seeds if run.is_ended_by_rule]
        if not ended:
            continue
        by_rule: dict[str, list[str]] = defaultdict(list)
        for run in ended:
            by_rule[run.status.rule or "unknown"].append(f"seed {run.seed} after task {run.status.rule_task}")
        how = "; ".join(f"{rule}: {', '.join(places)}" for rule, places in by_rule.items())
        means = (
            "means count their last values; --ended-by-rule leave-out leaves them out"
            if ended[0].carries
            else "later means leave them out"
        )
        yield Notice(setting, f"{len(ended)} of {len(seeds)} seeds ended by rule ({how}); {means}")


def flag_lines(runs: Sequence[RunView]) -> list[str]:
    """Return the same as plain lines: ``bp/default/seed_000: curvature not finite from task 1``."""
    return [f"{notice.run}: {notice.text}" for notice in flag_notices(runs)]


def waiting_jobs(runs: Sequence[RunView]) -> Iterator[Notice]:
    """Return why jobs wait in a cluster's queue, once for each reason."""
    by_reason = defaultdict(list)
    for run in runs:
        if run.state == "queued" and run.job_note:
            by_reason[run.job_note.split(maxsplit=2)[2]].append(run)
    for first, *others in by_reason.values():
        more = f", as {len(others)} more" if others else ""
        yield Notice(first.dir.name, f"{first.job_note}{more}")


def _error_of(run: RunView) -> str:
    return last_line(run.status.error) or "without an error; worker.log may say more (l)"


def last_line(error: str | None) -> str:
    """Return the line of a traceback with the error, printable and of limited length; "" if there is none."""
    lines = [clean(line).strip() for line in (error or "").splitlines() if line.strip()]
    return lines[-1] if lines else ""
