"""The estimated time until all runs are done, in simulated studies with known speeds."""

import heapq
from dataclasses import dataclass, field, replace
from itertools import count, zip_longest
from pathlib import Path

import numpy as np
import pytest

from lop_engine.analysis.eta import study_eta_s
from lop_engine.runs.directory import RunDir
from lop_engine.runs.records import RunStatus
from lop_engine.runs.views import RunView

EPOCHS = 5


@dataclass
class Kind:
    """`num_runs` runs of one experiment with `num_tasks` tasks, each of which takes `task_s` seconds in its stack."""

    method: str
    task_s: float
    num_runs: int = 6
    num_tasks: int = 40
    stack: int = 1
    setting: str = "default"
    ended: float = 1.0
    """A rule ends runs of odd seeds at this share; of stacks of one."""


@dataclass
class Study:
    """A study trained by `num_workers` workers, one stack after another; a worker takes `start_s` seconds to start."""

    kinds: list[Kind]
    num_workers: int = 2
    start_s: float = 4.0
    restart_at: float | None = None
    """When all workers were killed; they started again at once, at the last whole task."""
    noise: float = 0.1
    total_s: float = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(0)
        cut = [
            [
                (kind, range(first, min(first + kind.stack, kind.num_runs)))
                for first in range(0, kind.num_runs, kind.stack)
            ]
            for kind in self.kinds
        ]
        self.stacks = [one for turn in zip_longest(*cut) for one in turn if one]
        self.tasks = [
            kind.task_s * np.exp(self.noise * rng.standard_normal(_num_tasks(kind, seeds[0])))
            for kind, seeds in self.stacks
        ]
        free, pids = [(0.0, worker) for worker in range(self.num_workers)], count(100)
        self.began, self.pids = [], [next(pids) for _ in self.stacks]
        for tasks in self.tasks:
            at, worker = heapq.heappop(free)
            self.began.append(at)
            heapq.heappush(free, (self._end(at, tasks), worker))
        self.total_s = max(at for at, _ in free)

    def _end(self, began: float, tasks: np.ndarray) -> float:
        end = began + self.start_s + tasks.sum()
        hit = self.restart_at is not None and began < self.restart_at < end
        return end + (self.start_s if hit else 0)

    def views(self, now: float) -> list[RunView]:
        views = []
        for (kind, seeds), tasks, began, pid in zip(self.stacks, self.tasks, self.began, self.pids, strict=True):
            for seed in seeds:
                views.append(self._view(kind, seed, tasks, began, pid, now))
        return sorted(views, key=lambda view: view.dir)

    def _view(self, kind: Kind, seed: int, tasks: np.ndarray, began: float, pid: int, now: float) -> RunView:
        extent = kind.num_tasks, EPOCHS
        status = RunStatus("queued", *extent)
        seconds = np.empty(0)
        if now >= began:
            end, started = self._end(began, tasks), began
            pause = 0.0
            if self.restart_at is not None and began < self.restart_at < min(now, end):
                started, pause, pid = self.restart_at, self.start_s, pid + 1000
            done = int(np.searchsorted(np.cumsum(tasks), now - began - self.start_s - pause, "right"))
            seconds = tasks[:done]
            is_whole = len(tasks) == kind.num_tasks
            state = "running" if now < end else "finished" if is_whole else "ended-by-rule"
            status = RunStatus(state, *extent, done, 0, pid, host="here", pid_start="1")
            status.started_at, status.heartbeat_at = started, min(now, end)
            if now < end and done:
                status.epochs_per_s = EPOCHS / float(seconds[-3:].mean())
        run_dir = RunDir(Path("runs") / kind.method / kind.setting / f"seed_{seed:03d}")
        spec = {"agent": kind.method, "num_tasks": kind.num_tasks, "num_showings": EPOCHS, "step_size": 0.1}
        return RunView(run_dir, spec, status, status.state, {}, seconds=seconds)


def _num_tasks(kind: Kind, seed: int) -> int:
    return round(kind.num_tasks * kind.ended) if seed % 2 else kind.num_tasks


STUDIES = {
    "one method": Study([Kind("bp", 2.0)]),
    "methods of different speed": Study([Kind("bp", 1.0), Kind("l2", 1.3), Kind("cbp", 4.0), Kind("redo", 8.0)]),
    "more workers than cores are used to": Study([Kind("bp", 1.0, 9), Kind("cbp", 3.0, 9)], num_workers=8),
    "stacks": Study([Kind("bp", 2.0, 12, stack=4), Kind("cbp", 5.0, 12, stack=4)], num_workers=2),
    "stacks that do not divide the runs": Study([Kind("bp", 2.0, 10, stack=4), Kind("cbp", 5.0, 7, stack=3)]),
    "different lengths": Study([Kind("bp", 1.0, num_tasks=100), Kind("cbp", 1.5, num_tasks=30)]),
    "short runs, long starts": Study([Kind("bp", 0.2, 20, num_tasks=10), Kind("cbp", 0.3, 20, num_tasks=10)]),
    "a restart in between": Study([Kind("bp", 1.0), Kind("l2", 1.3), Kind("cbp", 4.0)], restart_at=60.0),
    "stacks and a restart": Study([Kind("bp", 2.0, 12, stack=4), Kind("cbp", 5.0, 12, stack=4)], restart_at=120.0),
    "a sweep": Study([Kind("bp", 1.0, 3, setting=f"step_size={n}") for n in range(10)], num_workers=3),
    "rules": Study([Kind("bp", 1.0, 16, ended=0.2), Kind("cbp", 3.0, 16, ended=0.4)]),
    "uneven tasks": Study([Kind("bp", 1.0), Kind("cbp", 3.0)], noise=0.5),
}


@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize("share", [0.5, 0.75])
def test_at_half_time_the_estimate_is_within_30_percent(name, share):
    study = STUDIES[name]
    now = share * study.total_s
    estimate_s = study_eta_s(study.views(now))
    assert estimate_s == pytest.approx(study.total_s - now, rel=0.3)


def test_a_method_that_has_not_started_is_estimated_from_others_of_its_problem():
    study = Study([Kind("bp", 2.0, 4), Kind("cbp", 2.0, 4)])
    views = [view for view in study.views(60.0) if view.method == "bp"]
    later = [view for view in study.views(0.0) if view.method == "cbp" and view.state == "queued"]
    assert study_eta_s([*views, *later]) > study_eta_s(views)


def test_there_is_no_estimate_without_a_speed_or_without_unfinished_runs():
    study = Study([Kind("bp", 2.0)])
    assert study_eta_s(study.views(1.0)) is None
    assert study_eta_s(study.views(study.total_s + 1)) is None
    assert study_eta_s([]) is None


def test_the_number_of_workers_can_be_given():
    study = Study([Kind("bp", 2.0, 8)], num_workers=2)
    now = study.views(study.total_s / 2)
    assert study_eta_s(now, 4) < study_eta_s(now) < study_eta_s(now[:], 1) * 1.01


@pytest.mark.parametrize("name", ["methods of different speed", "stacks"])
def test_a_replaced_worker_changes_the_estimate_little(name):
    study = STUDIES[name]
    starts = sorted(began for began in study.began if began)
    next_start = starts[len(starts) // 2]
    before = study_eta_s(study.views(next_start - 1e-6))
    views = study.views(next_start + 0.1)
    starting = [
        replace(view, state="queued", status=RunStatus("queued", view.num_tasks, EPOCHS))
        if view.state == "running" and not len(view.seconds)
        else view
        for view in views
    ]
    assert starting != views
    assert study_eta_s(starting) == pytest.approx(before, rel=0.3)
