"""From runs to worker processes: prepares directories, plans workers, starts and reaps them."""

from lop_engine.launch.ending import (
    StopPlan,
    cancel_jobs,
    idle_jobs,
    look_at,
    look_at_removal,
    plan_stop,
    remove_runs,
    stop_runs,
    wait_for_status,
    wait_until_stopped,
)
from lop_engine.launch.launcher import LAUNCHERS, ClusterLauncher, JobRequest, Launcher, cluster
from lop_engine.launch.local import LocalLauncher, worker_environment
from lop_engine.launch.places import Places
from lop_engine.launch.plan import Plan, Resources, decide_resources, describe_workers, plan_runs
from lop_engine.launch.prepare import prepare_run_dirs, take_up
from lop_engine.launch.resolve import Resolved, as_begun, resolve_runs

__all__ = [
    "LAUNCHERS",
    "ClusterLauncher",
    "JobRequest",
    "Launcher",
    "LocalLauncher",
    "Places",
    "Plan",
    "Resolved",
    "Resources",
    "StopPlan",
    "as_begun",
    "cancel_jobs",
    "cluster",
    "decide_resources",
    "describe_workers",
    "idle_jobs",
    "look_at",
    "look_at_removal",
    "plan_runs",
    "plan_stop",
    "prepare_run_dirs",
    "remove_runs",
    "resolve_runs",
    "stop_runs",
    "take_up",
    "wait_for_status",
    "wait_until_stopped",
    "worker_environment",
]
