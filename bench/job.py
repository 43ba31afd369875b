"""Submit, train and read runs of a cluster's job under strace, without a cluster."""

import hashlib
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import lop_engine
from bench.make_runs import append_tasks, invented_metrics, write_run
from bench.system_calls import CallCounts, traced, tracing
from lop_engine.datasets.class_folder import ClassEntry, Manifest, combined_sha256
from lop_engine.runs.directory import RunDir, find_runs
from lop_engine.runs.store import TableWriter

NUM_CLASSES, NUM_IMAGES = 1000, 700
SMALL: dict[str, Any] = {
    "agent": "bp",
    "step_size": 0.01,
    "momentum": 0.9,
    "train_images": 20,
    "test_images": 10,
    "width": 0.1,
    "mini_batch_size": 20,
    "curvature_images": 4,
}
EVENTS = ("start and end", "heartbeat", "checkpoint", "recorded epoch", "task")
SELDOM_S = 3600.0

#: Slurm's answers about a job.
_JOB = {"SLURM_JOB_ID": "12", "SLURM_JOB_NODELIST": "node1", "SLURM_JOB_NUM_NODES": "1", "SUBMITIT_EXECUTOR": "slurm"}
#: The command of a task in the job, with another heartbeat interval.
_TASK = """import sys
from lop_engine.launch.slurm import task
task.HEARTBEAT_EVERY_S = float(sys.argv.pop(1))
from submitit.core.submission import submitit_main
submitit_main()"""
#: `lop watch` without its screen: reads all runs for every input line.
_READER = """import sys
from pathlib import Path
from lop_engine import runs
from lop_engine.runs.reading import RunsReader
runs.LOOK_AT_JOBS_EVERY_S = 0.0
reader = RunsReader(Path(sys.argv[1]))
for line in sys.stdin:
    reader.read()
    print(flush=True)"""


@dataclass(frozen=True)
class Scenario:
    """A run in which one event happens more or less often than in the other scenarios."""

    tasks: int = 2
    epochs: int = 1
    checkpoint_every_s: float = SELDOM_S
    heartbeat_every_s: float = SELDOM_S


#: There are as many scenarios as events, so that the calls of each event can be solved for.
SCENARIOS = (
    Scenario(),
    Scenario(heartbeat_every_s=0.1),
    Scenario(tasks=8, checkpoint_every_s=0),
    Scenario(epochs=6),
    Scenario(tasks=8),
)


def make_images(directory: Path) -> Path:
    """Write a data set like `lop data import`. All classes are links to one file, which saves space."""
    classes = directory / "images" / "classes"
    classes.mkdir(parents=True)
    images = np.random.default_rng(0).integers(0, 256, (NUM_IMAGES, 3, 32, 32), np.uint8)
    np.save(classes / "0.npy", images)
    for index in range(1, NUM_CLASSES):
        os.link(classes / "0.npy", classes / f"{index}.npy")
    digest = hashlib.sha256(images.tobytes()).hexdigest()
    Manifest(
        source={},
        dtype="uint8",
        shape=[3, 32, 32],
        train_images=600,
        test_images=100,
        normalisation="scaled",
        minimum=0,
        maximum=255,
        channel_means=[127.5] * 3,
        channel_stds=[74.0] * 3,
        classes=[ClassEntry(name=str(index), images=NUM_IMAGES, sha256=digest) for index in range(NUM_CLASSES)],
        sha256=combined_sha256("uint8", [digest] * NUM_CLASSES),
    ).write(classes.parent)
    return classes.parent


class Cluster:
    """A directory with images and a stand-in for Slurm's commands, which accept every job and start none."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.resolve()
        self.images = make_images(self.directory)
        self.installation = {
            Path(sys.prefix).resolve(): "installation",
            Path(lop_engine.__file__).resolve().parents[1]: "installation",
        }
        programs = self.directory / "bin"
        programs.mkdir()
        for name, says in {"sbatch": "Submitted batch job 12", "scontrol": "node1"}.items():
            (programs / name).write_text(f"#!/bin/sh\necho {says}\n")
            (programs / name).chmod(0o755)
        self.environment = {
            # Unbuffered output would be written to the log in pieces.
            **{name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "PYTHON"))},
            "PATH": f"{programs}:{os.environ['PATH']}",
            "XDG_CONFIG_HOME": str(self.directory),  # without the user's lop.toml
        }

    def places(self, runs_dir: Path) -> dict[Path, str]:
        return {runs_dir / ".slurm": "submitit", runs_dir: "runs", self.images: "images"} | self.installation

    def submit(self, runs_dir: Path, num_seeds: int, spec: Mapping[str, Any]) -> CallCounts:
        """Run `lop run --launcher slurm`, with a task per seed."""
        path = self.directory / "bp.json"
        path.write_text(json.dumps({**spec, "dataset": str(self.images)}))
        command = [sys.executable, "-m", "lop_tui", "run", str(path), "--seeds", str(num_seeds)]
        command += ["--launcher", "slurm", "--runs-dir", str(runs_dir)]
        with open(self.directory / "submission.log", "w") as log:
            return self._traced(command, runs_dir, env=self.environment, stdout=log)

    def train(self, runs_dir: Path, heartbeat_every_s: float) -> CallCounts:
        """Run the job of a single seed to its end, like a node."""
        command = [sys.executable, "-u", "-c", _TASK, str(heartbeat_every_s), str(runs_dir / ".slurm")]
        with open(runs_dir / ".slurm" / "12_0_log.out", "w") as log:
            counted = self._traced(command, runs_dir, env=self.environment | _JOB, stdout=log, stderr=log)
        run_dir = next(find_runs(runs_dir))
        if (status := run_dir.read_status()).state != "finished":
            raise SystemExit(f"{run_dir.path}: {status.state}: {status.error or ''}")
        return counted

    def run(self, scenario: Scenario, name: str, spec: Mapping[str, Any] = SMALL) -> tuple[RunDir, CallCounts]:
        """Submit one seed and train it."""
        runs_dir = self.directory / name
        more = {"num_tasks": scenario.tasks, "num_showings": scenario.epochs}
        self.submit(runs_dir, 1, {**spec, **more, "checkpoint_every_s": scenario.checkpoint_every_s})
        return next(find_runs(runs_dir)), self.train(runs_dir, scenario.heartbeat_every_s)

    def _traced(self, command: Sequence[str], runs_dir: Path, **options: Any) -> CallCounts:
        return traced(command, self.places(runs_dir), cwd=self.directory, **options)


def count_events(scenario: Scenario, counted: CallCounts, first: Counter[str]) -> tuple[int, ...]:
    """Return how often each of EVENTS happened in a run; `first` has the files replaced at start and end."""
    beats, checkpoints = (counted.replaced[name] - first[name] for name in ("status.json", "checkpoint.pt"))
    return 1, beats, checkpoints, scenario.tasks * scenario.epochs, scenario.tasks


def by_event(scenarios: Sequence[Scenario], counted_runs: Sequence[CallCounts], place: str) -> dict[str, Counter[str]]:
    """Return the calls of each of EVENTS at a place, by kind. Raises SystemExit if the runs do not agree."""
    often = [
        count_events(scenario, one, counted_runs[0].replaced)
        for scenario, one in zip(scenarios, counted_runs, strict=True)
    ]
    kinds = sorted({kind for one in counted_runs for kind in one.counts[place]})
    counted = np.array([[one.counts[place][kind] for kind in kinds] for one in counted_runs])
    solved = np.linalg.solve(np.array(often), counted)
    if np.abs(solved - solved.round()).max() > 1e-6:
        raise SystemExit(f"{place}: the counts do not add up: {dict(zip(EVENTS, solved.tolist(), strict=True))}")
    return {
        event: Counter({kind: int(value) for kind, value in zip(kinds, row.round(), strict=True) if value})
        for event, row in zip(EVENTS, solved, strict=True)
    }


def make_running(runs_dir: Path, num_runs: int) -> list[RunDir]:
    """Make runs that are being trained on other hosts."""
    for seed in range(num_runs):
        write_run(runs_dir, "bp", seed, 5000, 20, running=True, num_recorded_epochs=0)
    run_dirs = list(find_runs(runs_dir))
    for run_dir in run_dirs:
        status = replace(run_dir.read_status(), host="node1", heartbeat_every_s=15.0, job=f"12_{run_dir.seed}")
        run_dir.write_status(status)
    return run_dirs


def beat(runs: Sequence[RunDir]) -> None:
    for run_dir in runs:
        run_dir.write_status(run_dir.read_status())


def end_task(runs: Sequence[RunDir]) -> None:
    for run_dir in runs:
        with TableWriter(run_dir.tasks_json, "tasks") as table:
            append_tasks(
                table, invented_metrics("bp", run_dir.seed, 5000), range(table.num_documents, table.num_documents + 1)
            )


def refreshes(runs_dir: Path, number: int, between: Callable[[], None] = lambda: None) -> Counter[str]:
    """Count the calls of `number` refreshes of a new dashboard; call `between` before each except the first."""
    command = [sys.executable, "-c", _READER, str(runs_dir)]
    with tracing(command, {runs_dir: "runs"}, stdin=-1, stdout=-1, text=True) as (reader, counted):
        for turn in range(number):
            if turn:
                between()
            reader.stdin.write("\n")
            reader.stdin.flush()
            reader.stdout.readline()
    return counted.counts["runs"]
