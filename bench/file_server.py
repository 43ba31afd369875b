"""``python -m bench.file_server``: the load of 150 and 1,500 seeds on a file server that a cluster's nodes share.

Calls are counted, not timed: one seed is submitted, trained as by a job's task, and watched, all under strace. Five
short
runs differ in how many heartbeats, checkpoints, epochs and tasks they have; the calls of each of these events are
solved from their counts, and multiplied by how often it happens in an hour of the paper's protocol. With --check a run
of the paper's sizes, some minutes long, is counted and compared with the prediction.

System calls are not requests: a client's cache answers some look-ups, and an open may take several requests.
Submission and training happen on this machine, with stand-ins for sbatch and scontrol.
"""

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from bench import job
from bench.job import EVENTS, SCENARIOS, SMALL, Cluster, Scenario
from bench.make_runs import invented_metrics
from bench.system_calls import METADATA, metadata
from lop_engine.experiment.spec import validate
from lop_engine.launch.slurm.task import HEARTBEAT_EVERY_S
from lop_engine.runs.directory import RunDir
from lop_engine.runs.reading import LOOK_AT_JOBS_EVERY_S
from lop_engine.runs.records import epoch_document, task_document
from lop_engine.runs.store.layout import document_line
from lop_engine.training.learner import Learner
from lop_engine.training.loop import Position
from lop_engine.worker import checkpoint
from lop_engine.worker.stack import CHECKPOINT_OF_A_JOB_AT_MOST_EVERY_S

NUM_SEEDS = (150, 1500)
NUM_TASKS = (2000, 5000)
EPOCHS = 250
"""Of a task in the paper; all of them are recorded unless `metrics_every` says otherwise."""
PAPER: dict[str, Any] = SMALL | {
    "train_images": 600,
    "test_images": 100,
    "width": 1.0,
    "mini_batch_size": 100,
    "curvature_images": 0,
}
CBP = {"agent": "cbp", "util_type": "adaptable_contribution", "replacement_rate": 3e-4, "maturity_threshold": 100}
CHECKED = Scenario(3, 10, CHECKPOINT_OF_A_JOB_AT_MOST_EVERY_S, HEARTBEAT_EVERY_S)
NUM_CHANGED = 10
MB = 1e6

Events = Mapping[str, Counter[str]]


@dataclass(frozen=True)
class Pace:
    """Speed of a run."""

    name: str
    task_s: float
    epochs_recorded: int = EPOCHS
    """Recorded epochs per task."""

    def event_counts(self, seconds: float) -> dict[str, float]:
        """Return how often each event happens in `seconds`, without start and end."""
        tasks = seconds / self.task_s
        every = HEARTBEAT_EVERY_S, CHECKPOINT_OF_A_JOB_AT_MOST_EVERY_S
        return dict(zip(EVENTS[1:], (*(seconds / s for s in every), tasks * self.epochs_recorded, tasks), strict=True))


#: docs/performance.md: 12 steps of 39.9 ms an epoch, all metrics 4.758 s.
EPOCH_S, METRICS_S = 12 * 0.0399, 4.758
PACES = (
    Pace("CPU core", EPOCHS * (EPOCH_S + METRICS_S)),
    Pace("CPU core, metrics once a task", EPOCHS * EPOCH_S + METRICS_S, 1),
    Pace("50 times a CPU core (assumed)", EPOCHS * (EPOCH_S + METRICS_S) / 50),
)


def predicted(events: Events, event_counts: Mapping[str, float]) -> dict[str, float]:
    """Return calls by kind, for these numbers of events."""
    kinds = {kind for counts in events.values() for kind in counts}
    return {kind: sum(events[name][kind] * number for name, number in event_counts.items()) for kind in kinds}


def summed(counts: Mapping[str, float]) -> dict[str, float]:
    """Sum up the metadata calls; keep fsync and write."""
    return {"metadata": metadata(counts), "fsync": counts.get("fsync", 0), "write": counts.get("write", 0)}


def table_of(title: str, *headings: str) -> Table:
    table = Table(title=title)
    table.add_column("")
    for heading in headings:
        table.add_column(heading, justify="right")
    return table


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.2f}"


def table_of_calls(title: str, rows: Mapping[str, Mapping[str, float]]) -> Table:
    """Return calls with a column for each kind, without columns of zeros."""
    kinds = [kind for kind in METADATA if any(counts.get(kind) for counts in rows.values())]
    others = ("fsync", "write", "read")
    table = table_of(title, *kinds, "metadata, sum", *others)
    for name, counts in rows.items():
        values = [*(counts.get(kind, 0) for kind in kinds), metadata(counts), *(counts.get(kind, 0) for kind in others)]
        table.add_row(name, *map(number, values))
    return table


def hour_of(places: Mapping[str, Events]) -> dict[str, float]:
    """Return calls of one run in an hour of training, by cause and kind."""
    rows = {}
    for event in EVENTS[1:]:
        rates = {pace.name: pace.event_counts(3600)[event] for pace in PACES}
        for name, often in rates.items():
            at = f", {name}" if len(set(rates.values())) > 1 else ""
            for place, events in places.items():
                for kind, amount in summed(events[event]).items():
                    if amount:
                        rows[f"{number(often)} {event}s{at}; {place}: {kind}"] = often * amount
    return rows


def table_of_hours(places: Mapping[str, Events], watching: Sequence[float]) -> Table:
    """`watching` has the calls of a dashboard in a second, by number of runs."""
    table = table_of("an hour", "one run", *(f"{n:,} runs" for n in NUM_SEEDS), f"a second, {NUM_SEEDS[-1]:,} runs")
    for name, amount in hour_of(places).items():
        scaled = (amount, *(n * amount for n in NUM_SEEDS), NUM_SEEDS[-1] * amount / 3600)
        table.add_row(name, *map(number, scaled))
    table.add_row(
        f"lop watch, every {LOOK_AT_JOBS_EVERY_S:.0f} s: metadata",
        "",
        *(number(3600 * n) for n in watching),
        number(watching[-1]),
    )
    return table


def table_of_starts(once: Mapping[str, float]) -> Table:
    table = table_of("once: metadata", "one run", *(f"{n:,} runs" for n in NUM_SEEDS))
    for name, amount in once.items():
        table.add_row(name, *(number(n * amount) for n in (1, *NUM_SEEDS)))
    return table


def checkpoint_bytes(agent: dict[str, Any]) -> int:
    """Return the size of a checkpoint at the paper's width."""
    spec = validate(PAPER | agent | {"num_tasks": 1, "num_showings": 1}, "paper")
    state = Learner(spec, [0], torch.device("cpu")).state()
    with tempfile.TemporaryDirectory() as directory:
        run_dir = RunDir(Path(directory))
        tensors = {name: tensor[0] for name, tensor in state.items()}
        checkpoint.save(run_dir, checkpoint.Checkpoint(Position(), 0, 0, tensors))
        return run_dir.checkpoint.stat().st_size


def document_bytes(num_tasks: int) -> tuple[int, int]:
    """Return the bytes of a document of tasks.json and of epochs.json in the middle of a run."""
    task = num_tasks // 2
    values = {name: float(column[task]) for name, column in invented_metrics("bp", 0, num_tasks).items()}
    of_task = document_line(
        task, task_document(task, {"classes": [2 * task % 1000, (2 * task + 1) % 1000]}, PACES[0].task_s, values)
    )
    of_epoch = document_line(EPOCHS * task, epoch_document(task, EPOCHS // 2, values))
    return len(of_task + b",\n"), len(of_epoch + b",\n")


def table_of_room(run_dir: RunDir, num_tasks: int) -> Table:
    """Return the numbers of files and bytes of a run of `num_tasks` tasks trained on this machine."""
    table = table_of("files and MB", "one run", *(f"{n:,} runs" for n in NUM_SEEDS))
    files = len(list(run_dir.path.iterdir()))
    of_submitit = [path for path in (run_dir.path.parents[2] / ".slurm").glob("12_*") if path.suffix != ".sh"]
    log, size = run_dir.log.stat().st_size / num_tasks, checkpoint_bytes({})
    rows = {
        "files of a run": files,
        "inodes of a run: files and directory": files + 1,
        "submitit's files, a task": len(of_submitit),
        "two checkpoints, bp, MB": 2 * size / MB,
        "two checkpoints, cbp, MB": 2 * checkpoint_bytes(CBP) / MB,
        "checkpoints written in an hour, bp, MB": 3600 / CHECKPOINT_OF_A_JOB_AT_MOST_EVERY_S * size / MB,
    }
    for tasks in NUM_TASKS:
        of_task, of_epoch = document_bytes(tasks)
        rows[f"tasks.json and worker.log, {tasks:,} tasks, MB"] = tasks * (of_task + log) / MB
        rows[f"epochs.json, {tasks:,} tasks, every epoch, MB"] = EPOCHS * tasks * of_epoch / MB
        rows[f"epochs.json, {tasks:,} tasks, once a task, MB"] = tasks * of_epoch / MB
    for name, amount in rows.items():
        table.add_row(name, *(number(n * amount) for n in (1, *NUM_SEEDS)))
    return table


def submission(cluster: Cluster) -> dict[str, Counter[str]]:
    """Return the calls of `lop run --launcher slurm` on the login node, for each seed and fixed ones."""
    plan = SMALL | {"num_tasks": NUM_TASKS[-1], "num_showings": EPOCHS}
    few, many = (cluster.submit(cluster.directory / f"submitted{n}", n, plan).counts for n in (2, 2 + NUM_CHANGED))
    rows: dict[str, Counter[str]] = {}
    for place in ("runs", "submitit", "images"):
        each = Counter({kind: (amount - few[place][kind]) // NUM_CHANGED for kind, amount in many[place].items()})
        rows[f"{place}: a seed"] = each
        rows[f"{place}: once"] = Counter({kind: few[place][kind] - 2 * each[kind] for kind in each})
    return rows


def reading(directory: Path, num_runs: int) -> dict[str, Mapping[str, float]]:
    """Return the calls of one `lop status`, and of one refresh of `lop watch`."""
    runs_dir = directory / f"watched{num_runs}"
    changed = job.make_running(runs_dir, num_runs)[:NUM_CHANGED]
    first, several = job.refreshes(runs_dir, 1), job.refreshes(runs_dir, 4)
    quiet = {kind: (several[kind] - first[kind]) / 3 for kind in several}
    rows: dict[str, Mapping[str, float]] = {"lop status": first, "a look, nothing new": quiet}
    for what, change in {"a heartbeat": job.beat, "a task": job.end_task}.items():
        reads = job.refreshes(runs_dir, 2, partial(change, changed))
        rows[f"... more for {what}"] = {kind: (reads[kind] - first[kind] - quiet[kind]) / NUM_CHANGED for kind in reads}
    return rows


def a_second_of_watching(rows: Mapping[str, Mapping[str, float]], num_runs: int) -> float:
    more = metadata(rows["... more for a heartbeat"]) * num_runs / HEARTBEAT_EVERY_S
    return metadata(rows["a look, nothing new"]) / LOOK_AT_JOBS_EVERY_S + more


def table_of_check(cluster: Cluster, places: Mapping[str, Events], first: Counter[str]) -> Table:
    """Compare the counts of a run of the paper's size with the prediction from its time and from its events.

    Args:
        first: calls of a run that only starts and ends.
    """
    run_dir, counted = cluster.run(CHECKED, "checked", PAPER)
    status = run_dir.read_status()
    seconds = (status.heartbeat_at or 0) - (status.started_at or 0)
    expected = Pace("", seconds / CHECKED.tasks, CHECKED.epochs).event_counts(seconds) | {EVENTS[0]: 1}
    happened = dict(zip(EVENTS, job.count_events(CHECKED, counted, first), strict=True))
    table = table_of(
        f"a run of the paper's sizes, {seconds:.0f} s", "predicted from its time", "from its events", "counted"
    )
    table.caption = f"{happened['heartbeat']} heartbeats, {happened['checkpoint']} checkpoints between start and end"
    for place, events in places.items():
        columns = (
            summed(predicted(events, expected)),
            summed(predicted(events, happened)),
            summed(counted.counts[place]),
        )
        for kind, amount in columns[0].items():
            if amount:
                table.add_row(f"{place}: {kind}", *(number(column[kind]) for column in columns))
    return table


def print_tables(cluster: Cluster, console: Console) -> tuple[Mapping[str, Events], Counter[str]]:
    """Print all tables but that of the check; return the solution by place, and the files replaced by the first run."""
    trained = [cluster.run(scenario, f"runs{index}") for index, scenario in enumerate(SCENARIOS)]
    counted = [one for _, one in trained]
    places = {place: job.by_event(SCENARIOS, counted, place) for place in ("runs", "images")}
    others = {place: counted[-1].counts[place] for place in ("submitit", "installation")}
    starts = {place: events[EVENTS[0]] for place, events in places.items()} | others
    submitted = submission(cluster)
    rows = {f"{place}: {event}": events[event] for event in EVENTS[1:] for place, events in places.items()}
    rows = {name: counts for name, counts in rows.items() if counts}
    rows |= {f"{place}: start and end": counts for place, counts in starts.items()}
    console.print(table_of_calls("a job of one seed: system calls, solved from five runs", rows))
    console.print(table_of_calls("lop run --launcher slurm, a seed a task", submitted))
    read = {n: reading(cluster.directory, n) for n in NUM_SEEDS}
    rows_read = {f"{n:,} runs: {name}": counts for n, of_n in read.items() for name, counts in of_n.items()}
    console.print(table_of_calls("reading", rows_read))
    console.print(table_of_hours(places, [a_second_of_watching(of_n, n) for n, of_n in read.items()]))
    of_a_seed = sum(metadata(submitted[f"{place}: a seed"]) for place in ("runs", "submitit"))
    once = {"submission": of_a_seed} | {f"start and end: {place}": metadata(counts) for place, counts in starts.items()}
    console.print(table_of_starts(once))
    console.print(table_of_room(trained[-1][0], SCENARIOS[-1].tasks))
    return places, counted[0].replaced


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="count a run of the paper's sizes, too: some minutes more")
    given = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 160)
    with tempfile.TemporaryDirectory() as name:
        cluster = Cluster(Path(name))
        solved = print_tables(cluster, console)
        if given.check:
            console.print(table_of_check(cluster, *solved))


if __name__ == "__main__":
    main()
