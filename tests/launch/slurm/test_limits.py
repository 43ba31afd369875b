"""Limits of a cluster, from recorded answers of several Slurm versions: what lop requests and what it refuses."""

import json
import os
import sys
from pathlib import Path

import pytest

from lop_engine.errors import LaunchError
from lop_engine.launch import Plan, Resources
from lop_engine.launch.slurm import submission as submission_module
from lop_engine.launch.slurm.limits import fit_to_cluster
from lop_engine.launch.slurm.options import SlurmRequest
from lop_engine.launch.slurm.submission import Submission
from lop_engine.runs.directory import RunDir
from lop_tui import cli
from tests.helpers import TINY
from tests.launch.slurm.tasks import stand_in

#: ``scontrol show partition``. 17.11 wraps its lines without --oneliner.
V17 = """PartitionName=batch
   AllowGroups=ALL AllowAccounts=ALL AllowQos=ALL
   AllocNodes=ALL Default=YES QoS=N/A
   DefaultTime=00:10:00 DisableRootJobs=NO ExclusiveUser=NO GraceTime=0 Hidden=NO
   MaxNodes=UNLIMITED MaxTime=1-12:00:00 MinNodes=1 LLN=NO MaxCPUsPerNode=UNLIMITED
   Nodes=node[01-20]
   PriorityJobFactor=1 PriorityTier=1 RootOnly=NO ReqResv=NO OverSubscribe=NO
   OverTimeLimit=NONE PreemptMode=OFF
   State=UP TotalCPUs=640 TotalNodes=20 SelectTypeParameters=NONE
   DefMemPerNode=UNLIMITED MaxMemPerNode=UNLIMITED

PartitionName=debug
   AllowGroups=ALL AllowAccounts=ALL AllowQos=ALL
   AllocNodes=ALL Default=NO QoS=N/A
   DefaultTime=NONE DisableRootJobs=NO ExclusiveUser=NO GraceTime=0 Hidden=NO
   MaxNodes=2 MaxTime=00:30:00 MinNodes=1 LLN=NO MaxCPUsPerNode=UNLIMITED
   Nodes=node01
   State=UP TotalCPUs=32 TotalNodes=1 SelectTypeParameters=NONE

"""
V22 = """\
PartitionName=low AllowGroups=ALL AllowAccounts=ALL AllowQos=ALL AllocNodes=ALL Default=YES QoS=N/A DefaultTime=NONE \
DisableRootJobs=NO ExclusiveUser=NO GraceTime=10 Hidden=NO MaxNodes=UNLIMITED MaxTime=01:00:00 MinNodes=0 LLN=NO \
MaxCPUsPerNode=UNLIMITED Nodes=localhost PriorityJobFactor=1 PriorityTier=1 RootOnly=NO ReqResv=NO OverSubscribe=NO \
OverTimeLimit=NONE PreemptMode=REQUEUE State=UP TotalCPUs=4 TotalNodes=1 SelectTypeParameters=NONE JobDefaults=(null) \
DefMemPerNode=UNLIMITED MaxMemPerNode=UNLIMITED TRES=cpu=4,mem=1M,node=1,billing=4
PartitionName=free AllocNodes=ALL Default=NO QoS=N/A DefaultTime=NONE MaxTime=UNLIMITED Nodes=localhost State=UP
PartitionName=short AllocNodes=ALL Default=NO QoS=N/A DefaultTime=00:05:00 MaxTime=00:10:00 Nodes=localhost State=UP
PartitionName=brief AllocNodes=ALL Default=NO QoS=N/A DefaultTime=NONE MaxTime=00:02:00 Nodes=localhost State=UP
PartitionName=broken AllocNodes=ALL Default=NO QoS=N/A DefaultTime=NONE MaxTime=02:00:00 Nodes=localhost State=DOWN
"""
V24 = """\
PartitionName=gpu AllowGroups=ALL AllowAccounts=ALL AllowQos=ALL AllocNodes=ALL Default=YES QoS=gpu-part \
DefaultTime=01:00:00 DisableRootJobs=NO ExclusiveUser=NO ExclusiveTopo=NO GraceTime=0 Hidden=NO MaxNodes=UNLIMITED \
MaxTime=3-00:00:00 MinNodes=0 LLN=NO MaxCPUsPerNode=UNLIMITED MaxCPUsPerSocket=UNLIMITED NodeSets=all Nodes=g[1-4] \
PriorityJobFactor=1 PriorityTier=1 RootOnly=NO ReqResv=NO OverSubscribe=NO OverTimeLimit=NONE PreemptMode=OFF \
State=UP TotalCPUs=512 TotalNodes=4 SelectTypeParameters=NONE JobDefaults=(null) DefMemPerNode=UNLIMITED \
MaxMemPerNode=UNLIMITED TRES=cpu=512,mem=2000000M,node=4,billing=512,gres/gpu=16
"""
CONFIG = """Configuration data as of 2026-11-26T14:11:21
AccountingStorageType   = accounting_storage/none
MaxArraySize            = {size}
MaxJobCount             = 10000
SchedulerParameters     = {parameters}

Slurmctld(primary) at localhost(127.0.0.1) is UP
"""
NO_ANSWER = "slurm_load_partitions: Unable to contact slurm controller\n"
ANSWERS = {"17.11": V17, "22.05": V22, "24.05": V24, "nothing": "", "noise": NO_ANSWER}
#: ``sacctmgr -nP show qos format=Name,MaxWall,Flags``
QOS = "normal||\ngpu-part|12:00:00|DenyOnLimit\nlong|14-00:00:00|DenyOnLimit,PartitionTimeLimit\n"


@pytest.fixture
def cluster(here, monkeypatch):
    """Return a function that sets the answers of a cluster's commands."""
    monkeypatch.setenv("PATH", str(here / "bin"), prepend=os.pathsep)

    def say(partitions: str = "", config: str = "", nodes: str = "", qos: str = "") -> None:
        answers = here / "answers"
        answers.mkdir(exist_ok=True)
        for name, text in {"partition": partitions, "config": config, "nodes": nodes, "qos": qos}.items():
            (answers / name).write_text(text)
        stand_in(here / "bin", "scontrol", f'[ "$1" = show ] && cat {answers}/$2')
        stand_in(here / "bin", "sinfo", f"cat {answers}/nodes")
        stand_in(here / "bin", "sacctmgr", f"cat {answers}/qos")

    say()
    return say


def fit(*typed: str) -> SlurmRequest:
    return fit_to_cluster(SlurmRequest.of(typed))


@pytest.mark.parametrize(
    ("version", "typed", "minutes", "note"),
    [
        ("22.05", [], 60, "no time given; asking for time=60 (1:00:00), the limit of partition low"),
        ("17.11", [], 24 * 60, None),  # the limit is longer
        ("17.11", ["partition=debug"], 30, "no time given; asking for time=30 (0:30:00), the limit of partition debug"),
        ("22.05", ["partition=free"], 24 * 60, None),
        (
            "22.05",
            ["partition=free,short,low"],
            10,
            "no time given; asking for time=10 (0:10:00), the limit of partition short",
        ),
        ("22.05", ["partition=nowhere"], 24 * 60, None),  # sbatch refuses it
        ("22.05", ["partition=low", "time=60"], 60, None),
        ("17.11", ["time=1-12"], 36 * 60, None),
        (
            "22.05",
            ["partition=low,short", "time=30"],
            30,
            "partition short allows 0:10:00: a job of time=30 may never start",
        ),
        ("nothing", [], 24 * 60, None),
        ("noise", ["time=9000"], 9000, None),
    ],
)
def test_a_job_requests_at_most_the_time_that_its_partitions_allow(cluster, version, typed, minutes, note):
    cluster(ANSWERS[version])
    request = fit(*typed)
    assert request.options.time == minutes
    assert [one for one in request.notes if one.startswith(note or "")] == list(request.notes)
    assert len(request.notes) == bool(note)


@pytest.mark.parametrize(
    ("version", "typed", "message"),
    [
        (
            "22.05",
            ["time=1-0"],
            r"time=1440 \(1-00:00:00\) is too long: partition low allows 1:00:00; ask .* time=60 or less",
        ),
        (
            "22.05",
            ["partition=short,low", "time=90"],
            "low allows 1:00:00, partition short allows 0:10:00; .* time=60 or",
        ),
        ("17.11", ["time=1-12:01"], r"\(1-12:01:00\) is too long: partition batch allows 1-12:00:00"),
    ],
)
def test_a_time_above_the_limit_of_all_partitions_is_refused_with_partition_and_limit(cluster, version, typed, message):
    cluster(ANSWERS[version])
    with pytest.raises(LaunchError, match=message) as refused:
        fit(*typed)
    assert "\n" not in str(refused.value)


def test_a_time_from_a_file_counts_like_a_typed_one(cluster, here):
    cluster(V22)
    (here / "lop.toml").write_text('[slurm]\ntime = "12:00:00"\n')
    with pytest.raises(LaunchError, match=r"time=720 \(12:00:00\) is too long: partition low allows 1:00:00"):
        fit()


def test_the_partition_in_sbatch_s_environment_variable_is_used(cluster, monkeypatch):
    cluster(V22)
    monkeypatch.setenv("SBATCH_PARTITION", "short")
    assert fit().options.time == 10
    assert fit("partition=low").options.time == 60


def test_a_time_too_short_for_the_warning_signal_is_refused(cluster):
    cluster(V22)
    needs = "is too short: a job needs 90 seconds to start, and is warned grace=90 seconds before"
    with pytest.raises(LaunchError, match=rf"time=2 \(0:02:00\) {needs} .* ask for --slurm time=3 or more"):
        fit("time=2")
    with pytest.raises(LaunchError, match=rf"\(0:02:00\), the limit of partition brief, {needs} .* another partition"):
        fit("partition=brief")
    assert fit("partition=brief", "grace=20").options.time == 2


@pytest.mark.parametrize(
    ("typed", "minutes", "note"),
    [
        ([], 12 * 60, "no time given; asking for time=720 (12:00:00), the limit of qos gpu-part"),
        (["time=1-0"], 24 * 60, "qos gpu-part allows 12:00:00: a job of time=1440 may never start"),
        # The qos allows more than the partition.
        (["time=4-0", "qos=long"], 4 * 24 * 60, "qos gpu-part allows 12:00:00"),
    ],
)
def test_the_limits_of_a_qos_are_used_or_noted(cluster, typed, minutes, note):
    cluster(V24, qos=QOS)
    request = fit(*typed)
    assert request.options.time == minutes
    [output] = request.notes
    assert output.startswith(note)


def test_a_partition_that_is_down_is_noted(cluster):
    cluster(V22)
    assert "partition broken is DOWN and starts no job now" in fit("partition=broken").notes


@pytest.mark.parametrize(
    ("nodes", "typed", "expected"),
    [
        ("drained|4|16000|(null)|n1\ndown*|8|16000|(null)|n2\n", ["cpus=4"], "(n1 drained, n2 down*)"),
        ("drained|4|16000|(null)|n1\nmixed|2|16000|(null)|n2\n", ["cpus=4"], "(n1 drained)"),
        ("draining|4|16000|(null)|n1\nidle|4|8000|(null)|n2\n", ["memory=12G"], "(n1 draining)"),
        ("maint|8|9000|gpu:a100:4(S:0-1)|n1\nidle|8|9000|(null)|n2\n", ["gpus=4"], "(n1 maint)"),
        ("drained|4|16000|(null)|n1\nallocated|4|16000|(null)|n2\n", ["cpus=4"], None),
        ("idle~|4|16000|(null)|n1\n", [], None),  # powered down until a job needs it
        ("idle|4|16000|(null)|n1\n", ["cpus=5"], None),  # no node can ever run it: sbatch refuses it
        ("drained|4|16000|(null)|n1\n", ["constraint=skylake"], None),
    ],
)
def test_a_note_says_that_jobs_wait_while_all_their_nodes_are_unavailable(cluster, nodes, typed, expected):
    cluster(V22, nodes=nodes)
    request = fit("time=30", *typed)
    output = [f"no node can start a task now {expected}: the jobs wait until one is back"] if expected else []
    assert (list(request.notes), request.waits_for_nodes) == (output, bool(expected))


def submission(request: SlurmRequest, number: int) -> Submission:
    dirs = [RunDir(Path("runs/bp/default") / f"seed_{seed:03d}") for seed in range(number)]
    return Submission(Plan([[run_dir] for run_dir in dirs], Resources(["cpu"], 1, 1)), request, Path("runs"), 1)


@pytest.mark.parametrize(
    ("size", "parameters", "number", "arrays"),
    [
        (1001, "(null)", 1001, [1001]),
        (5, "bf_interval=1", 12, [5, 5, 2]),
        (100001, "sched_interval=1,max_array_tasks=4", 9, [4, 4, 1]),
        (3, "max_array_tasks=1000", 4, [3, 1]),
        (0, "", 3, [1, 1, 1]),  # this cluster has no arrays
    ],
)
def test_arrays_have_as_many_tasks_as_the_cluster_allows(cluster, size, parameters, number, arrays):
    cluster(config=CONFIG.format(size=size, parameters=parameters))
    assert [len(array) for array in submission(fit(), number).arrays] == arrays


def test_arrays_of_a_cluster_without_a_known_limit_have_at_most_1000_tasks(cluster):
    assert [len(array) for array in submission(fit(), 2001).arrays] == [1000, 1000, 1]


def test_several_arrays_share_the_limit_of_concurrent_tasks(cluster):
    cluster(config=CONFIG.format(size=10, parameters=""))
    scripts = submission(fit("array_parallelism=8"), 24)
    assert [line for i in range(3) for line in scripts.script(i).splitlines() if "--array" in line] == [
        "#SBATCH --array=0-9%3",
        "#SBATCH --array=0-9%3",
        "#SBATCH --array=0-3%1",
    ]


@pytest.mark.parametrize("away", [True, False])
def test_jobs_for_temporarily_unavailable_nodes_are_submitted(cluster, here, away):
    """`sbatch --test-only` refuses jobs whose nodes are drained, but sbatch itself queues them."""
    cluster(V22, nodes=f"{'drained' if away else 'idle'}|4|16000|(null)|n1\n")
    refusal = "echo allocation failure: Requested node configuration is not available >&2; exit 1"
    stand_in(here / "bin", "sbatch", refusal)
    if away:
        submission(fit("cpus=2"), 1).check()
        return
    with pytest.raises(LaunchError, match="node configuration is not available"):
        submission(fit("cpus=2"), 1).check()


def test_sbatch_environment_variables_do_not_replace_the_options_of_lop(cluster, here, monkeypatch):
    """For sbatch, environment variables take precedence over options in the script."""
    stand_in(here / "bin", "sbatch", f"env > {here}/environment")
    for name in ("TIMELIMIT", "PARTITION", "ACCOUNT"):
        monkeypatch.setenv(f"SBATCH_{name}", "7")
    submission(fit("partition=low", "time=30"), 1).check()
    left = {line for line in (here / "environment").read_text().splitlines() if line.startswith("SBATCH")}
    assert left == {"SBATCH_ACCOUNT=7"}
    assert os.environ["SBATCH_TIMELIMIT"] == "7"


def lop(monkeypatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["lop", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code


def test_dry_run_submission_and_resume_print_the_options_that_lop_filled_in(cluster, here, monkeypatch, capsys):
    cluster(V22, CONFIG.format(size=2, parameters=""))
    for name in ("srun", "squeue", "sbatch"):
        stand_in(here / "bin", name, "echo Submitted batch job 17")
    monkeypatch.setattr(submission_module, "release", lambda jobs: None)
    (here / "tiny.json").write_text(json.dumps(TINY))
    taken = "note: no time given; asking for time=60 (1:00:00), the limit of partition low\n"
    run = ["run", "tiny.json", "--seeds", "3", "--launcher", "slurm"]
    lop(monkeypatch, *run, "--dry-run")
    output = capsys.readouterr().out
    assert taken in output
    assert "3 tasks of 2 job arrays" in output
    assert "the script of the first of 2 job arrays:\n" in output
    assert "#SBATCH --time=60\n" in output
    assert not (here / "runs").exists()
    lop(monkeypatch, *run)
    output = capsys.readouterr().out
    assert taken in output
    assert "submitted 3 tasks of 2 job arrays" in output
    lop(monkeypatch, "resume")
    assert taken in capsys.readouterr().out
