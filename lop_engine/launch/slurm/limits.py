"""The limits of a cluster: time limits of its partitions, the size of an array, usable nodes.

Slurm accepts a job that asks for more time than its partition allows, or for a partition that is down, and never
starts it. ``sbatch --test-only`` accepts it too, so the limits are queried first.
"""

import os
import re
import subprocess
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from lop_engine.errors import LaunchError
from lop_engine.launch.slurm.options import SlurmOptions, SlurmRequest, minutes_of

_PATIENCE_S = 60


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a Slurm command and return its output, whatever its exit status. Raises LaunchError if it does not answer."""
    try:
        return subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_PATIENCE_S, check=False
        )
    except FileNotFoundError:
        raise LaunchError(f"{command[0]}: command not found; run lop on a login node of the cluster") from None
    except subprocess.TimeoutExpired:
        raise LaunchError(f"{command[0]} did not answer within {_PATIENCE_S} seconds") from None


def reason(output: str) -> str:
    """Return the line of a command's output that says why it failed."""
    lines = [
        re.sub(r"^(sbatch|scontrol|allocation failure)?:?\s*(error:)?\s*", "", line) for line in output.splitlines()
    ]
    return next((line for line in lines if line.strip()), "Slurm gave no reason")


START_S = 90
"""A worker starts in half a minute, and Slurm may send its warning up to a minute early."""
#: States in which a node starts no job until an administrator returns it to service. ``idle*`` does not respond.
_AWAY = re.compile(r"(down|drain|fail|maint|inval|unk|block|reboot).*|.*\*")


@dataclass(frozen=True)
class Partition:
    """A partition as ``scontrol show partition`` describes it."""

    name: str
    state: str = "UP"
    minutes: int | None = None
    """The longest job in minutes; None without a limit."""
    qos: str | None = None
    is_default: bool = False


@dataclass(frozen=True)
class Qos:
    """A quality of service as ``sacctmgr show qos`` describes it."""

    name: str
    minutes: int | None
    """The longest job in minutes; None without a limit."""
    overrides_partition: bool
    """Whether its jobs may exceed the time limit of their partition."""


def fit_to_cluster(request: SlurmRequest) -> SlurmRequest:
    """Query the limits of the cluster, and fit a request to them. Limits that Slurm does not report are ignored.

    Returns:
        The request with the time to ask for, the size of arrays, and `notes` on both for the user.
    Raises:
        LaunchError: the time exceeds the limit of every partition, or is too short to train in.
    """
    options = request.options
    partitions = _chosen(_partitions(), options.partition or os.environ.get("SBATCH_PARTITION"))
    own_qos = options.qos or os.environ.get("SBATCH_QOS")
    qos = _qos({own_qos, *(one.qos for one in partitions)})
    may_exceed = any(one.overrides_partition for one in qos if one.name == own_qos)
    limits = {f"partition {one.name}": one.minutes for one in partitions if one.minutes and not may_exceed}
    limits_of_qos = {f"qos {one.name}": one.minutes for one in qos if one.minutes}
    if "time" in options.model_fields_set:
        notes = _check_time(options.time, limits, limits_of_qos, len(partitions))
        _refuse_too_short(options)
    else:
        options, notes = _take_time(options, limits | limits_of_qos)
    notes += [f"partition {one.name} is {one.state} and starts no job now" for one in partitions if one.state != "UP"]
    away = _nodes_away(options, [one.name for one in partitions])
    return replace(
        request,
        options=options,
        tasks_per_array=_tasks_per_array(),
        notes=(*notes, *away),
        waits_for_nodes=bool(away),
    )


def clock(minutes: int) -> str:
    """Write minutes in Slurm's format: ``1:00:00``, ``2-00:00:00``."""
    days, rest = divmod(minutes, 1440)
    return (f"{days}-{rest // 60:02d}" if days else f"{rest // 60}") + f":{rest % 60:02d}:00"


def _take_time(options: SlurmOptions, limits: Mapping[str, int]) -> tuple[SlurmOptions, list[str]]:
    """Use the default time or the shortest of `limits`, with a note. Raises LaunchError if it is too short."""
    shortest = min(limits, key=limits.__getitem__, default=None)
    if shortest is None or limits[shortest] >= options.time:
        return options, []
    options = options.model_copy(update={"time": limits[shortest]})
    _refuse_too_short(options, f", the limit of {shortest},")
    return options, [f"no time given; asking for {_in_words(options.time)}, the limit of {shortest}"]


def _check_time(
    time: int, limits: Mapping[str, int], limits_of_qos: Mapping[str, int], num_partitions: int
) -> list[str]:
    """Warn of limits that a given time exceeds. Raises LaunchError if it exceeds the limit of every partition.

    For a limit of a qos this only warns: which of several applies depends on settings that users cannot see.
    """
    over = {what: minutes for what, minutes in limits.items() if minutes < time}
    if over and len(over) == num_partitions:
        allowed = ", ".join(f"{what} allows {clock(minutes)}" for what, minutes in over.items())
        raise LaunchError(
            f"--launcher slurm: {_in_words(time)} is too long: {allowed}; "
            f"ask for --slurm time={max(over.values())} or less, or another partition"
        )
    over |= {what: minutes for what, minutes in limits_of_qos.items() if minutes < time}
    return [
        f"{what} allows {clock(minutes)}: a job of time={time} may never start there" for what, minutes in over.items()
    ]


def _refuse_too_short(options: SlurmOptions, source: str = "") -> None:
    """Raise LaunchError for a time so short that Slurm would repeatedly stop the job before it trains."""
    needed_s = options.grace + START_S
    if options.time * 60 < needed_s:
        advice = "another partition" if source else f"--slurm time={-(-needed_s // 60)} or more"
        raise LaunchError(
            f"--launcher slurm: {_in_words(options.time)}{source} is too short: a job needs {START_S} seconds to "
            f"start, and is warned grace={options.grace} seconds before the end; "
            f"ask for {advice}, or for a smaller grace (at least 20)"
        )


def _in_words(minutes: int) -> str:
    return f"time={minutes} ({clock(minutes)})"


def _answer(*command: str) -> str:
    """Return the output of a Slurm command; "" if it is missing, fails or does not answer."""
    with suppress(LaunchError):
        answer = run(*command)
        return "" if answer.returncode else answer.stdout
    return ""


def _partitions() -> list[Partition]:
    partitions = []
    for part in re.split(r"(?=\bPartitionName=)", _answer("scontrol", "show", "partition", "--all", "--oneliner")):
        fields = dict(re.findall(r"(\w+)=(\S*)", part))
        if name := fields.get("PartitionName"):
            qos = fields.get("QoS", "N/A")
            partitions.append(
                Partition(
                    name,
                    fields.get("State", "UP"),
                    minutes_of(fields.get("MaxTime", "")),
                    None if qos in ("N/A", "(null)", "") else qos,
                    fields.get("Default") == "YES",
                )
            )
    return partitions


def _chosen(partitions: Iterable[Partition], names: str | None) -> list[Partition]:
    """Return the partitions in the comma-separated `names`; without names the default one."""
    if names is None:
        return [one for one in partitions if one.is_default]
    return [one for one in partitions if one.name in names.split(",")]


def _qos(names: Collection[str | None]) -> list[Qos]:
    """Return the qos in `names`; empty if the cluster has no accounting."""
    if not set(names) - {None}:
        return []
    lines = _answer("sacctmgr", "-nP", "show", "qos", "format=Name,MaxWall,Flags").splitlines()
    rows = [row for line in lines if len(row := line.split("|")) == 3]
    return [Qos(name, minutes_of(wall), "PartitionTimeLimit" in flags) for name, wall, flags in rows if name in names]


def _tasks_per_array() -> int | None:
    """Return the largest number of tasks in an array; 1 if arrays are disabled, None if unknown."""
    config = _answer("scontrol", "show", "config")
    numbers = re.findall(r"^MaxArraySize\s*=\s*(\d+)|\bmax_array_tasks=(\d+)", config, re.MULTILINE)
    return min((max(1, int(size or most)) for size, most in numbers), default=None)


def _nodes_away(options: SlurmOptions, partitions: Sequence[str]) -> list[str]:
    """Return a note if every node that could run a task is down or drained; none if one is up, or none could run it."""
    if not partitions or options.constraint:
        return []
    lines = _answer("sinfo", "-h", "-N", "-p", ",".join(partitions), "-o", "%T|%c|%m|%G|%N").splitlines()
    rows = [row for line in lines if len(row := line.strip().split("|")) == 5]
    states = {node: state for state, cpus, memory, gres, node in rows if _fits(options, cpus, memory, gres)}
    if not states or not all(_AWAY.fullmatch(state) for state in states.values()):
        return []
    named = ", ".join(f"{node} {state}" for node, state in list(states.items())[:3])
    more = f" and {len(states) - 3} more" if len(states) > 3 else ""
    return [f"no node can start a task now ({named}{more}): the jobs wait until one is back"]


def _fits(options: SlurmOptions, cpus: str, memory: str, gres: str) -> bool:
    """Whether a free node has the resources that a task requests."""
    gpus = sum(map(int, re.findall(r"\bgpu(?::[^:,()]+)?:(\d+)", gres)))
    number, unit = re.fullmatch(r"(\d+)([KMGT]?)", options.memory or "0").groups()  # type: ignore[union-attr]
    megabytes = int(number) * {"K": 2**-10, "M": 1, "": 1, "G": 2**10, "T": 2**20}[unit]
    return int(cpus.rstrip("+")) >= options.cpus and int(memory.rstrip("+")) >= megabytes and gpus >= options.gpus
