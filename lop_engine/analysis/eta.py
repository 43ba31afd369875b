"""Estimates when all runs will be done: running ones from their speed, waiting ones from similar runs."""

import heapq
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from itertools import chain, zip_longest
from statistics import fmean, median

import numpy as np

from lop_engine.analysis.groups import LONGEST_S
from lop_engine.runs.records import ENDED
from lop_engine.runs.views import RunView

RECENT_S = 60.0
_MOST_TASKS = 500
"""Number of last tasks that determine a run's speed. In longer runs the start of the worker is ignored."""


def study_eta_s(runs: Sequence[RunView], num_workers: int | None = None) -> float | None:
    """Return seconds until the last running or queued run will end.

    Waiting runs are grouped into stacks as large as those of their experiment so far. A stack takes a worker's start
    and the time of its tasks, and gets the first free worker.

    Args:
        num_workers: by default the most that trained at the same time in the last `RECENT_S`.
    Returns:
        None if no run is running or queued, or while the speed of one of them is unknown.
    """
    running, waiting = ([run for run in runs if run.state == state] for state in ("running", "queued"))
    workers = _by_worker(running)
    count = max(num_workers or (_recent_workers(runs) if waiting and running else 0), len(workers))
    if not count or not running + waiting:
        return None
    pace = _Pace(runs)
    busy = [_longest([_left_s(run, pace) for run in stack]) for stack in workers.values()]
    queue = [_longest([pace.left_s(run) for run in stack]) for stack in _stacks(waiting, runs)]
    if None in busy or None in queue:
        return None
    free = [*(seconds for seconds in busy if seconds is not None), *[0.0] * (count - len(busy))]
    heapq.heapify(free)
    for seconds in queue:
        heapq.heapreplace(free, free[0] + (seconds or 0.0) + pace.start_s)
    return max(free)


def _left_s(run: RunView, pace: "_Pace") -> float | None:
    """Return seconds to the end of a running run: by its recent speed, or if that is unknown, by its pace."""
    return pace.left_s(run) if run.status.eta_s is None else run.status.eta_s


class _Pace:
    """Durations of training so far.

    A task takes the median of the runs of its setting; without such, of its experiment, of its method on the
    same problem, of its problem. Runs of an experiment are compared by the epoch, others by the update. Where some of
    these runs were ended early, by a rule or because they diverged, a run is expected to be as long as their mean.
    """

    def __init__(self, runs: Sequence[RunView]) -> None:
        seconds: dict[Hashable, list[float]] = defaultdict(list)
        shares: dict[Hashable, list[float]] = defaultdict(list)
        starts = []
        for run in runs:
            for kind, _ in _kinds(run) if run.state in (*ENDED, "running") else ():
                shares[kind].append(run.progress if run.state in ENDED else 1.0)
            known = run.seconds[-_MOST_TASKS:]
            known = known[(known >= 0) & (known < LONGEST_S)]
            if len(known):
                of_epoch = float(known.mean()) / _num_epochs(run)
                for kind, size in _kinds(run):
                    seconds[kind].append(of_epoch / size)
                starts += _start_s(run, known) if len(run.seconds) <= _MOST_TASKS else []
        self._seconds = {kind: median(values) for kind, values in seconds.items()}
        self._shares = {kind: fmean(values) for kind, values in shares.items()}
        self.start_s = median(starts) if starts else 0.0
        """Seconds from a worker's start to the first task."""

    def left_s(self, run: RunView) -> float | None:
        """Return seconds for the rest of a run in a worker; None if no similar run has finished a task."""
        share = next((self._shares[kind] for kind, _ in _kinds(run) if kind in self._shares), 1.0)
        left = share - run.progress if run.progress < share else 1 - run.progress
        epochs = run.num_tasks * left * _num_epochs(run)
        return next((epochs * self._seconds[kind] * size for kind, size in _kinds(run) if kind in self._seconds), None)


def _kinds(run: RunView) -> Iterator[tuple[Hashable, int]]:
    """Yield the groups that runs are compared with, from the most similar on; and the size of an epoch in each."""
    updates = max(1, run.steps_per_task // _num_epochs(run))
    yield ("setting", run.experiment, run.setting), 1
    yield ("experiment", run.experiment), 1
    yield ("method", run.problem_name, run.method), updates
    yield ("problem", run.problem_name), updates


def _start_s(run: RunView, seconds: np.ndarray) -> list[float]:
    """Return a worker's time with a run besides tasks; empty if the tasks include those of an earlier worker."""
    status = run.status
    if status.started_at is None or status.heartbeat_at is None:
        return []
    in_progress = status.epochs_done / _num_epochs(run) * float(seconds.mean())
    beside = status.heartbeat_at - status.started_at - float(seconds.sum()) - in_progress
    return [beside] if beside >= 0 else []


def _num_epochs(run: RunView) -> int:
    return max(1, run.status.num_epochs or int(run.spec.get("num_showings", 1)))


def _longest(seconds: Sequence[float | None]) -> float | None:
    """Return the longest; None if one is unknown."""
    known = [one for one in seconds if one is not None]
    return max(known) if len(known) == len(seconds) else None


def _by_worker(runs: Sequence[RunView]) -> dict[Hashable, list[RunView]]:
    by_worker: dict[Hashable, list[RunView]] = defaultdict(list)
    for run in runs:
        by_worker[run.status.worker].append(run)
    return by_worker


def _recent_workers(runs: Sequence[RunView]) -> int:
    """Return the most workers that recently trained together: an ended one is soon followed by the next."""
    spans: dict[Hashable, tuple[float, float]] = {}
    for run in runs:
        started, heartbeat = run.status.started_at, run.status.heartbeat_at
        if started is not None and heartbeat is not None and run.status.pid is not None:
            first, last = spans.get(run.status.worker, (started, heartbeat))
            spans[run.status.worker] = min(first, started), max(last, heartbeat)
    since = max((last for _, last in spans.values()), default=0.0) - RECENT_S
    recent = np.array([(max(first, since), last) for first, last in spans.values() if last >= since]).reshape(-1, 2)
    starts, ends = recent.T
    at = starts[:, None]
    return int(((starts <= at) & (at < ends)).sum(1).max(initial=0))


def _stacks(waiting: Sequence[RunView], runs: Sequence[RunView]) -> list[list[RunView]]:
    """Return the waiting runs in stacks, in the order of their start: experiments and settings alternate."""
    sizes, most = _sizes(runs)
    by_setting: dict[tuple[str, str], list[RunView]] = defaultdict(list)
    for run in waiting:
        by_setting[run.experiment, run.setting].append(run)
    turns: dict[Hashable, list[RunView]] = defaultdict(list)
    for (experiment, setting), members in by_setting.items():
        size = sizes.get(experiment, most)
        turns[(experiment, setting) if len(members) >= size else experiment] += members
    cut = []
    for members in turns.values():
        size = sizes.get(members[0].experiment, most)
        cut.append([members[start : start + size] for start in range(0, len(members), size)])
    return [stack for stack in chain(*zip_longest(*cut)) if stack]


def _sizes(runs: Sequence[RunView]) -> tuple[dict[str, int], int]:
    """Return, by experiment, the most of its runs that a worker has trained together; at least 1."""
    begun = [run for run in runs if run.status.pid is not None]
    sizes: dict[str, int] = {}
    for stack in _by_worker(begun).values():
        experiment = stack[0].experiment
        sizes[experiment] = max(sizes.get(experiment, 1), len(stack))
    return sizes, max(sizes.values(), default=1)
