"""Interfaces of launchers, wherever they train runs, and of launchers on a cluster."""

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from lop_engine.experiment.spec import Spec
from lop_engine.launch.plan import Plan
from lop_engine.runs import jobs
from lop_engine.runs.directory import RunDir

LAUNCHERS = ("local", *jobs.CLUSTERS)
"""Names that `--launcher` takes."""


class Launcher(Protocol):
    """Trains the runs of a plan. In time order: `check`, `start`, `poll` while it is `active`, `stop`."""

    plan: Plan

    def describe(self) -> str:
        """Return where the plan is trained: ``2 workers (cpu, 1 thread each)``."""

    def check(self) -> None:
        """Refuse impossible requests without changing anything. Raises LaunchError."""

    def start(self) -> list[str]:
        """Start to train runs that are queued for this process; return what to tell the user. Raises LaunchError."""

    @property
    def active(self) -> bool:
        """Whether this process must `poll`. A cluster trains without it."""

    def poll(self) -> None:
        """Check the workers."""

    def take_reports(self) -> list[str]:
        """Return what has happened to workers since the last call, for people."""

    def stop(self, at_once: bool = False) -> None:
        """Ask the workers to save and stop, or kill them `at_once`; start nothing more."""


class ClusterLauncher(Launcher, Protocol):
    """A launcher that submits jobs."""

    def preview(self) -> list[str]:
        """Return what `start` would submit, for people. Raises LaunchError if a required package is missing."""

    def left_behind(self) -> list[str]:
        """Return warnings about jobs of an interrupted submission: they are held and train nothing."""


class JobRequest(Protocol):
    """A request to a cluster."""

    @property
    def launcher(self) -> str:
        """Return one of `CLUSTERS`."""

    @property
    def typed(self) -> tuple[str, ...]:
        """Return the ``key=value`` options from the command line; the rest are from files."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Return notes for the user about the request on this cluster."""


class Cluster(Protocol):
    """The module ``launcher`` of one of `CLUSTERS`."""

    def read_request(self, typed: Sequence[str], before: Sequence[str] = ()) -> JobRequest:
        """Return the request as typed now, with the options of `before` as defaults. Raises ConfigError."""

    def fit(self, request: JobRequest) -> JobRequest:
        """Adjust a request to the cluster's limits. Raises LaunchError."""

    def launcher_of(
        self,
        dirs: Sequence[RunDir],
        request: JobRequest,
        runs_dir: Path,
        retries: int,
        runs_per_worker: int | None,
        specs: Mapping[RunDir, Spec] | None = None,
    ) -> ClusterLauncher:
        """Plan the jobs of some runs."""

    def stage_option(self, directory: str) -> str:
        """Return the option ``key=value`` that copies the images to a directory of each node. Raises ValueError."""

    def release_held(self, names: Iterable[str]) -> list[str]:
        """Release those jobs that are held, and return them. Raises LaunchError with the command to type."""

    def cancel(self, names: Iterable[str]) -> None:
        """Remove jobs from the queue; jobs that are already gone are ignored."""


def cluster(name: str | None = None) -> Cluster:
    """Return one of `CLUSTERS`; by default the one whose jobs a status names."""
    [only] = jobs.CLUSTERS
    return cast(Cluster, import_module(f"{jobs.CLUSTERS[name or only]}.launcher"))
