"""`--launcher`: train runs on this machine or as jobs of a cluster."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from lop_engine.errors import LaunchError, StoreError
from lop_engine.launch import LAUNCHERS, ClusterLauncher, JobRequest, cluster
from lop_engine.runs.directory import RunDir
from lop_engine.runs.jobs import CLUSTERS, scheduler
from lop_engine.runs.records import ENDED, RunStatus
from lop_engine.runs.views import RunView
from lop_tui.commands.watch import watch_runs
from lop_tui.words.console import Console, in_runs_dir, say


@dataclass(frozen=True)
class LauncherOptions:
    """Options of the command line that say where runs are trained."""

    launcher: str | None = None
    """None by default: new runs on this machine, others where they were trained before."""
    options: tuple[str, ...] = ()
    """``key=value`` options for a cluster."""

    @classmethod
    def typed(cls, launcher: str | None, typed: Sequence[str] | None, stage: str | None) -> "LauncherOptions":
        """Parse the command line; ``--stage DIR`` is short for the option ``stage=DIR``. Raises LaunchError."""
        keys = [option.partition("=")[0] for option in typed or () if not option.startswith("setup=")]
        if again := next((key for key in keys if keys.count(key) > 1), None):
            raise LaunchError(f'{OPTION} gives "{again}" twice; give it once')
        if stage is None:
            return cls(launcher, tuple(typed or ()))
        try:
            return cls(launcher, (*(typed or ()), cluster().stage_option(stage)))
        except ValueError as error:
            raise LaunchError(f'--stage "{stage}": {error}') from None

    def request(self, status: RunStatus | None = None) -> JobRequest | None:
        """Return the request to a cluster; None if this machine trains. Raises ConfigError or LaunchError.

        Args:
            status: status of the run to resume.
        """
        if self.launcher not in (None, *LAUNCHERS):
            raise LaunchError(f'--launcher "{self.launcher}": choose {" or ".join(LAUNCHERS)}')
        before = status.job_options if status else None
        if self.launcher in CLUSTERS or (self.launcher is None and before is not None):
            return cluster(self.launcher).read_request(self.options, before or ())
        if self.options:
            word = "--stage" if all(option.startswith("stage=") for option in self.options) else OPTION
            raise LaunchError(f"{word} is for --launcher {' or '.join(CLUSTERS)}")
        return None

    def requests(self, views: Iterable[RunView]) -> Mapping[JobRequest | None, list[RunView]]:
        """Group resumed runs by `request`."""
        by_request = defaultdict(list)
        for view in views:
            by_request[self.request(view.status)].append(view)
        return by_request


HERE = LauncherOptions()

OPTION = f"--{next(iter(CLUSTERS))}"
"""The option that takes ``key=value``."""


def fit(console: Console, request: JobRequest) -> JobRequest:
    """Adjust a request to the cluster's limits, and print the consequences. Raises LaunchError."""
    request = cluster(request.launcher).fit(request)
    for note in request.notes:
        say(console, f"note: {note}", style="yellow")
    return request


def refuse_to_train_here(dirs: Iterable[RunDir]) -> None:
    """Refuse to train runs of a cluster on its login node. Raises LaunchError."""
    for run_dir in dirs:
        try:
            status = run_dir.read_status()
        except (OSError, StoreError):  # reported elsewhere
            continue
        if status.is_submitted and status.state not in ENDED:
            raise LaunchError(
                f"{run_dir.name} was submitted to {scheduler().title}: resume there with --launcher "
                f"{next(iter(CLUSTERS))}, or on this machine with --launcher local"
            )


def leave_to_jobs(console: Console, dirs: Sequence[RunDir], total: int, launcher_options: LauncherOptions) -> None:
    """Report runs that have a job, and release jobs that an interrupted submission left on hold. Raises LaunchError."""
    if dirs:
        queue = f"{scheduler().title}'s queue"
        say(console, f"{len(dirs)} of {total} runs have a job in {queue} already (lop stop removes it)")
    if launcher_options.launcher == "local":
        return
    jobs = [job for run_dir in dirs if (job := run_dir.read_status().job)]
    if jobs and (held := cluster().release_held(jobs)):
        say(console, f"released held jobs: {', '.join(f'job {job}' for job in held)}")


def submit(console: Console, launchers: Sequence[ClusterLauncher], runs_dir: Path, watch: bool = False) -> int:
    """Submit jobs for queued runs, and print how to follow or show them; return 0. Raises UserError."""
    for warning in launchers[0].left_behind():
        say(console, warning, style="yellow")
    for line in chain.from_iterable(launcher.start() for launcher in launchers):
        say(console, line)
    where = in_runs_dir(runs_dir)
    say(console, f"follow it: lop watch{where}    progress: lop status{where}    stop it: lop stop{where}")
    return watch_runs([runs_dir], once=False, as_json=False, refresh_s=1.0, query=None) if watch else 0
