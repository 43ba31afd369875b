"""Takes all runs of a command, or none, into this process's queue."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from types import TracebackType

from lop_engine.errors import LaunchError, StoreError
from lop_engine.processes import this_process
from lop_engine.runs.directory import RunDir
from lop_engine.runs.locks import hold, other_launcher
from lop_engine.runs.records import RunStatus


class Claims:
    """Runs that this process takes one after another, each under its lock.

    An error before `keep` restores all of them, and removes those that were created.

    Args:
        job_options: options of the jobs that will train them; None if this machine trains them.
        handed_over: token of the process that queued these runs for this one and is still alive.
    """

    def __init__(self, job_options: Sequence[str] | None = None, handed_over: str | None = None) -> None:
        self._job_options = None if job_options is None else list(job_options)
        self._handed_over = handed_over
        self._before: dict[RunDir, RunStatus] = {}
        self._made: set[RunDir] = set()

    def __enter__(self) -> "Claims":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._give_back()

    def take(self, run_dir: RunDir, status: RunStatus) -> None:
        """Queue a run for this process. The run's lock must be held.

        Raises:
            LaunchError: it is in the queue of another process.
        """
        refuse_if_queued(run_dir, status, self._handed_over)
        self._before[run_dir] = status
        run_dir.write_status(self._queued(status))

    def make(self, run_dir: RunDir, make: Callable[[RunStatus], None]) -> None:
        """Create a run and queue it for this process. The run's lock must be held.

        Args:
            make: writes the run directory with this status.
        """
        self._made.add(run_dir)
        make(self._queued(RunStatus()))

    def keep(self, *run_dirs: RunDir) -> None:
        """Keep these runs: later errors do not restore them."""
        for run_dir in run_dirs:
            self._before.pop(run_dir, None)
            self._made.discard(run_dir)

    def _queued(self, status: RunStatus) -> RunStatus:
        """Return the status of a run in this process's queue. Its job is set when it is submitted."""
        return replace(
            status,
            state="queued",
            error=None,
            rule=None,
            rule_task=None,
            epochs_per_s=None,
            heartbeat_every_s=RunStatus().heartbeat_every_s,  # a worker of many runs writes heartbeats less often
            job=None,
            job_options=self._job_options,
            launcher=this_process(),
        )

    def _give_back(self) -> None:
        for run_dir in (*self._made, *self._before):
            with suppress(OSError, StoreError, LaunchError), hold(run_dir):
                if not is_ours(run_dir.read_status()):
                    continue
                if run_dir in self._before:
                    run_dir.write_status(self._before[run_dir])
                elif run_dir.path.exists():
                    run_dir.clear()


def is_ours(status: RunStatus) -> bool:
    """Whether a run is in this process's queue. A run without a launcher belongs to any process that asks."""
    launcher = status.launcher
    return status.state == "queued" and (launcher is None or launcher.token == this_process().token)


def refuse_if_queued(run_dir: RunDir, status: RunStatus, handed_over: str | None = None) -> None:
    """Raise LaunchError if a run is in the queue of a live process other than this one and `handed_over`."""
    launcher = other_launcher(status)
    if launcher and launcher.token != handed_over:
        raise LaunchError(
            f"{run_dir.name}: is queued by {launcher}, which will start it; lop stop {run_dir.name} takes it off "
            "that queue"
        )
