"""Stop and resume runs and plot from the dashboard: asks first, and works in the background."""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from textual.app import App

from lop_engine.errors import why
from lop_engine.launch import StopPlan, look_at, plan_stop, stop_runs, wait_for_status, wait_until_stopped
from lop_engine.launch.ending import PATIENCE_S
from lop_engine.runs.directory import RunDir
from lop_engine.runs.jobs import scheduler
from lop_engine.runs.locks import other_launcher
from lop_engine.runs.logs import clean
from lop_engine.runs.records import ENDED
from lop_engine.runs.views import RunView
from lop_tui.dashboard.dialogs import Question
from lop_tui.dashboard.host import host_of
from lop_tui.words.formats import name_seeds

POLL_S = 0.2
_MOST_LINES = 8
"""Number of a command's last lines that are shown."""
_LONG_S = 15.0


def ask_to_stop(app: App[Any], runs: Sequence[RunView]) -> None:
    """Ask, then stop those of `runs` that run or are queued."""
    app.run_worker(_ask_to_stop(app, {run.dir for run in runs}), group="ask", exclusive=True)


def ask_to_resume(app: App[Any], runs: Sequence[RunView]) -> None:
    """Ask, then resume those of `runs` that are neither running nor ended."""
    app.run_worker(_ask_to_resume(app, runs), group="ask", exclusive=True)


async def plot(app: App[Any], arguments: list[str]) -> None:
    """Draw a figure with `lop plot`, and show where it is."""
    if view := host_of(app).view:
        where = [word for runs_dir in view.runs_dirs for word in ("--runs-dir", str(runs_dir))]
        await _run_and_tell(app, "plot", *arguments, *where)


async def _ask_to_stop(app: App[Any], chosen: Collection[RunDir]) -> None:
    # The frame may be old, filtered or part of a replay, so read the runs again.
    views = await asyncio.to_thread(_look_at, chosen)
    plan = plan_stop([view for view in views if view.dir in chosen], views)
    if not plan.signalled and not plan.leaving and not plan.dequeued:
        app.notify(_nothing_to_stop(plan, views, chosen), severity="warning", markup=False)
    elif await app.push_screen_wait(Question("Stop runs", describe_stop(plan), "Stop")):
        app.run_worker(_stop(app, {*plan.signalled, *plan.leaving, *plan.dequeued}), group="stop")


async def _stop(app: App[Any], chosen: Collection[RunDir]) -> None:
    def begin() -> StopPlan:
        views = _look_at(chosen)
        return stop_runs([view for view in views if view.dir in chosen], views)

    stopping = await asyncio.to_thread(begin)
    host_of(app).read_soon()
    left, marked = stopping.signalled, stopping.by_status + stopping.leaving
    for _ in range(round(PATIENCE_S / POLL_S)):  # in steps, so that workers that end in the meantime are noticed
        if not left:
            break
        left = await asyncio.to_thread(wait_until_stopped, left, POLL_S)
    left = left + await asyncio.to_thread(wait_for_status, marked)
    host_of(app).read_soon()
    done = [run_dir for run_dir in stopping.signalled + marked if run_dir not in left] + stopping.dequeued
    if done:
        app.notify(f"stopped (R resumes):\n{_names(done)}", markup=False)
    if left:
        app.notify(f"still stopping:\n{_names(left)}", severity="warning", markup=False)


async def _ask_to_resume(app: App[Any], runs: Sequence[RunView]) -> None:
    chosen = {run.dir for run in runs}
    unreadable = {run.dir for run in runs if run.problem}
    views = [view for view in await asyncio.to_thread(_look_at, chosen) if view.dir in chosen]
    waiting = [
        view
        for view in views
        if view.state not in (*ENDED, "running") and view.dir not in unreadable and not other_launcher(view.status)
    ]
    others: list[tuple[str, RunDir]] = [
        (_word(view), view.dir) for view in views if view not in waiting and view.dir not in unreadable
    ]
    others += [("unreadable", run_dir) for run_dir in unreadable]
    if not waiting:
        app.notify(f"nothing to resume:\n{_by_word(others)}", severity="warning", markup=False)
        return
    question = Question("Resume runs", await asyncio.to_thread(describe_resume, waiting, others), "Resume")
    if await app.push_screen_wait(question):
        for runs_dir in _runs_dirs(view.dir for view in waiting):
            names = [str(view.dir.path.absolute()) for view in waiting if runs_dir in view.dir.path.parents]
            command = _run_and_tell(app, "resume", *names, "--runs-dir", str(runs_dir.absolute()), "--detach")
            app.run_worker(command, group="resume")


def _word(view: RunView) -> str:
    launcher = other_launcher(view.status)
    return f"queued by {launcher}" if launcher else view.state


def describe_stop(plan: StopPlan) -> str:
    """Name the runs that would be stopped."""
    hosts = sorted({host for _, host in plan.elsewhere})
    parts = (
        ("To be stopped:", plan.signalled),
        ("To stop, while other runs of the same worker continue:", plan.leaving),
        ("Cluster jobs, stopped through the shared directory:", plan.by_status),
        ("Queued, to be removed from the queue:", plan.dequeued),
        *((f"Not stopped, because they train on {host}; stop them there:", _on(host, plan)) for host in hosts),
    )
    lines = [f"{what}\n{_names(dirs)}" for what, dirs in parts if dirs]
    return "\n\n".join([*lines, "Workers write a checkpoint first: all can be resumed (R)."])


def describe_resume(waiting: Sequence[RunView], others: Sequence[tuple[str, RunDir]]) -> str:
    """Name the runs that would be resumed. Looks for their checkpoints."""
    dirs = [view.dir for view in waiting]
    resumable = {run_dir for run_dir in dirs if run_dir.has_checkpoint}
    jobs = [view.dir for view in waiting if view.status.is_submitted]
    parts = (
        (f"{len(resumable)} to resume from a checkpoint:", resumable),
        (f"{len(dirs) - len(resumable)} to start over, without a checkpoint:", set(dirs) - resumable),
        (f"Of these, submitted to {scheduler().title} again with their options, unless a job is still pending:", jobs),
    )
    lines = [f"{what}\n{_names(run_dirs)}" for what, run_dirs in parts if run_dirs]
    if others:
        lines.append(f"Left as they are:\n{_by_word(others)}")
    if len(jobs) < len(dirs):
        lines.append(f"{'The others' if jobs else 'They'} train on this machine, in the background.")
    return "\n\n".join(lines)


def name_runs(dirs: Iterable[RunDir]) -> list[str]:
    """Return a line for each setting: ``cbp: seeds 0-4, 7``."""
    lines = []
    for (experiment, setting), of_setting in groupby(sorted(dirs), key=lambda one: (one.experiment, one.setting)):
        label = experiment if setting == "default" else f"{experiment} {setting}"
        lines.append(f"{label}: {name_seeds([run_dir.seed for run_dir in of_setting])}")
    return lines


async def run_lop(*arguments: str) -> tuple[int, str]:
    """Run a `lop` command in a child process; return its exit status and the last lines of its output.

    The command keeps running when the dashboard ends. Raises OSError if it cannot be started.
    """
    environment = {key: value for key, value in os.environ.items() if key != "FORCE_COLOR"} | {"NO_COLOR": "1"}
    with tempfile.TemporaryFile() as output:  # not a pipe: background processes of the command would keep it open
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "lop_tui", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=environment,
        )
        while child.poll() is None:
            await asyncio.sleep(POLL_S / 4)
        output.seek(0)
        lines = [clean(line) for line in output.read().decode("utf-8", "replace").split("\n")]
    return child.returncode, "\n".join([line for line in lines if line.strip()][-_MOST_LINES:])


async def _run_and_tell(app: App[Any], command: str, *arguments: str) -> None:
    try:
        status, lines = await run_lop(command, *arguments)
    except OSError as error:
        status, lines = 1, f"lop {command} cannot be started: {why(error)}"
    host_of(app).read_soon()
    if status:
        lines = lines or f"lop {command} ended with exit status {status}"
        app.notify(lines, severity="error", timeout=_LONG_S, markup=False)
    else:
        app.notify(lines or f"lop {command}: done", markup=False)


def _runs_dirs(dirs: Iterable[RunDir]) -> list[Path]:
    return list(dict.fromkeys(run_dir.path.parents[2] for run_dir in dirs))


def _look_at(dirs: Iterable[RunDir]) -> list[RunView]:
    """Return the current state of all runs in the directories that contain `dirs`."""
    return [view for runs_dir in _runs_dirs(dirs) for view in look_at(runs_dir)]


def _nothing_to_stop(plan: StopPlan, views: Sequence[RunView], chosen: Collection[RunDir]) -> str:
    if plan.elsewhere:
        hosts = ", ".join(sorted({host for _, host in plan.elsewhere}))
        return f"nothing to stop here: these train on {hosts}; stop them there"
    return f"nothing to stop:\n{_by_word([(view.state, view.dir) for view in views if view.dir in chosen])}"


def _on(host: str, plan: StopPlan) -> list[RunDir]:
    return [run_dir for run_dir, where in plan.elsewhere if where == host]


def _by_word(run_dirs: Sequence[tuple[str, RunDir]]) -> str:
    """Return a line for each word and setting: ``  finished: cbp: seeds 0-3``."""
    words = sorted({word for word, _ in run_dirs})
    return "\n".join(
        f"  {word}: {name}" for word in words for name in name_runs(run_dir for one, run_dir in run_dirs if one == word)
    )


def _names(dirs: Iterable[RunDir]) -> str:
    return "\n".join(f"  {line}" for line in name_runs(dirs))
