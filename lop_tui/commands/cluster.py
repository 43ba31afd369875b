"""`--launcher slurm`: the same runs as tasks of a job array."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from lop_engine.errors import LaunchError
from lop_engine.launch import Plan, Resources, plan_runs
from lop_engine.launch.slurm import SlurmOptions, Submission, read_options
from lop_engine.rundir import RunDir
from lop_tui.commands.console import in_runs_dir, plural, say
from lop_tui.commands.watch import watch_runs

LAUNCHERS = ("local", "slurm")
SEEDS_ON_A_GPU = 10


@dataclass(frozen=True)
class Launching:
    """Where runs are trained, as it was typed."""

    launcher: str | None = None
    """None where nothing was said: this machine."""
    options: tuple[str, ...] = ()
    """``key=value`` for Slurm."""

    def slurm_options(self) -> SlurmOptions | None:
        """What to ask Slurm for; None where this machine trains. Raises ConfigError or LaunchError."""
        if self.launcher not in (None, *LAUNCHERS):
            raise LaunchError(f'--launcher "{self.launcher}": choose {" or ".join(LAUNCHERS)}')
        if self.launcher == "slurm":
            return read_options(self.options)
        if self.options:
            raise LaunchError("--slurm is for --launcher slurm")
        return None


HERE = Launching()


def plan_for_cluster(dirs: Sequence[RunDir], options: SlurmOptions, seeds_per_worker: int | None) -> Plan:
    """A stack of seeds for each task: one on CPUs, ten on a GPU unless told otherwise."""
    size = seeds_per_worker or (SEEDS_ON_A_GPU if options.gpus else 1)
    return plan_runs(dirs, Resources([options.device], options.cpus, size))


def describe_array(plan: Plan, options: SlurmOptions) -> str:
    """``12 tasks of a job array (cpu, 1 thread each)``."""
    where = f"{options.device}, {plural(options.cpus, 'thread')} each"
    return f"{plural(len(plan.stacks), 'task')} of a job array ({where})"


def submit(
    console: Console, plan: Plan, options: SlurmOptions, runs_dir: Path, retries: int, watch: bool = False
) -> int:
    """Submit a plan whose runs are queued, say how to follow it or show it; return 0. Raises UserError."""
    numbers = Submission(plan, options, runs_dir, retries).submit()
    say(console, f"submitted {describe_array(plan, options)}: {', '.join(f'job {number}' for number in numbers)}")
    where = in_runs_dir(runs_dir)
    say(console, f"follow it: lop watch{where}    how it stands: lop status{where}    stop it: lop stop{where}")
    return watch_runs(runs_dir, once=False, as_json=False, refresh_s=1.0, query=None) if watch else 0
