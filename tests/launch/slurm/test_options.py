"""Options for Slurm, from files and the command line, and the refusal of invalid ones."""

import json
import os
import sys
from pathlib import Path

import pytest

from lop_engine.errors import ConfigError
from lop_engine.launch.slurm.launcher import plan_tasks
from lop_engine.launch.slurm.options import SlurmRequest, read_options
from lop_engine.runs.directory import RunDir
from lop_engine.runs.records import RunStatus
from lop_tui import cli
from lop_tui.commands.cluster import LauncherOptions
from tests.helpers import TINY


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("90", 90), ("1:30", 2), ("2:00:00", 120), ("1-0", 1440), ("1-12", 2160), ("1-12:30", 2190), ("0:00:30", 1)],
)
def test_times_are_parsed_as_slurm_parses_them(here, text, minutes):
    assert read_options([f"time={text}"]).time == minutes


def test_options_of_the_command_line_win_over_the_directory_s_file_and_that_over_the_user_s(here):
    (here / "config" / "lop").mkdir(parents=True)
    (here / "config" / "lop" / "lop.toml").write_text('[slurm]\naccount = "mine"\npartition = "old"\ngpus = 1\n')
    (here / "lop.toml").write_text('[slurm]\npartition = "new"\nsetup = ["module load python", "true"]\n')
    options = read_options(["gpus=2", "memory=8gb"])
    assert (options.account, options.partition, options.gpus, options.memory) == ("mine", "new", 2, "8G")
    assert options.setup == ("module load python", "true")


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("partitoin=x", r'--slurm: unknown option "partitoin"; did you mean "partition"\?'),
        ("gpus", "write key=value"),
        ("gpus=two", 'gpus "two": .*integer'),
        ("time=soon", 'time "soon": not a time: write'),
        ("time=0", "not a time"),
        ("memory=lots", 'memory "lots": not an amount'),
        ("cpus=0", "cpus .*greater"),
    ],
)
def test_an_invalid_option_is_refused_by_name(here, typed, message):
    with pytest.raises(ConfigError, match=message):
        read_options([typed])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[slurm", "not valid TOML"),
        ("slurm = 3", "is a section"),
        ("[slurm]\ncolour = 1", r"\[slurm\]: unknown option"),
    ],
)
def test_an_invalid_options_file_is_named(here, text, message):
    (here / "lop.toml").write_text(text)
    with pytest.raises(ConfigError, match=f"lop.toml.*{message}"):
        read_options([])


def test_a_missing_slurm_is_reported_in_one_line_and_nothing_is_written(here, monkeypatch, capsys):
    (here / "cbp.json").write_text(json.dumps(TINY))
    monkeypatch.setattr(sys, "argv", ["lop", "run", "cbp.json", "--seeds", "1", "--launcher", "slurm"])
    monkeypatch.setenv("PATH", str(here))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert "sbatch: command not found; run lop on a login node" in capsys.readouterr().err
    assert not (here / "runs").exists()


def test_a_refusal_by_sbatch_is_reported_in_its_words(here, monkeypatch, capsys):
    (here / "cbp.json").write_text(json.dumps(TINY))
    sbatch = here / "sbatch"
    sbatch.write_text(
        "#!/bin/sh\necho allocation failure: Invalid account or account/partition combination specified >&2\nexit 1\n"
    )
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", str(here), prepend=os.pathsep)
    monkeypatch.setattr(sys, "argv", ["lop", "run", "cbp.json", "--launcher", "slurm", "--slurm", "account=nobody"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    output = capsys.readouterr().err
    assert "Invalid account or account/partition combination specified (account=nobody)\n" in output
    assert output.count("\n") == 1
    assert not (here / "runs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [(["--launcher", "slrum"], "choose local or slurm"), (["--slurm", "gpus=1"], "--slurm is for --launcher slurm")],
)
def test_an_unknown_launcher_is_refused(here, monkeypatch, capsys, words, message):
    (here / "cbp.json").write_text(json.dumps(TINY))
    monkeypatch.setattr(sys, "argv", ["lop", "run", "cbp.json", *words])
    with pytest.raises(SystemExit):
        cli.main()
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "runs_per_worker", "seeds", "devices", "threads"),
    [
        ([], None, [1] * 25, ["cpu"], 1),
        (["cpus=8"], None, [8, 8, 8, 1], ["cpu"] * 8, 1),
        (["gpus=1", "cpus=4"], None, [10, 10, 5], ["cuda:0"], 4),
        (["gpus=2", "cpus=4"], 5, [10, 10, 5], ["cuda:0", "cuda:1"], 2),
        (["gpus=4"], None, [25], ["cuda:0", "cuda:1", "cuda:2", "cuda:3"], 1),
    ],
)
def test_a_task_has_a_worker_for_each_gpu_or_cpu(here, typed, runs_per_worker, seeds, devices, threads):
    dirs = [RunDir(here / "bp" / "default" / f"seed_{seed:03d}") for seed in range(25)]
    plan = plan_tasks(dirs, read_options(typed), runs_per_worker)
    assert [len(stack) for stack in plan.stacks] == seeds
    assert (plan.resources.devices, plan.resources.threads) == (devices, threads)


def test_earlier_options_hold_until_others_are_typed(here):
    (here / "lop.toml").write_text('[slurm]\npartition = "new"\ntime = 60\n')
    request = SlurmRequest.of(["gpus=2"], before=["gpus=1", "time=30"])
    assert (request.options.gpus, request.options.time, request.options.partition) == (2, 30, "new")
    assert request.typed == ("time=30", "gpus=2")


def test_several_setup_lines_can_be_typed(here):
    (here / "lop.toml").write_text('[slurm]\nsetup = ["module load old"]\n')
    request = SlurmRequest.of(["setup=module load new", "setup=export A=b"], before=["setup=false"])
    assert request.options.setup == ("module load new", "export A=b")
    assert SlurmRequest.of([], before=request.typed) == request


def test_runs_resume_with_their_launcher_unless_another_is_typed(here):
    job, local = RunStatus("stopped", job="12_3", job_options=["cpus=4"]), RunStatus("stopped")
    assert LauncherOptions().request(job).options.cpus == 4
    assert LauncherOptions().request(local) is None
    assert LauncherOptions("local").request(job) is None
    assert LauncherOptions("slurm", ("cpus=2",)).request(job).options.cpus == 2


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("", r"is not a directory; quote .*'\$TMPDIR'"),
        ("scratch", "begin with /, ~ or a variable"),
        ("$(mktemp -d)", r"only \$NAME and \$\{NAME\} are expanded on the node"),
    ],
)
def test_an_invalid_staging_directory_is_refused(tmp_path, monkeypatch, typed, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=f'--slurm: stage ".*": {message}'):
        read_options([f"stage={typed}"])


def lop(monkeypatch, capsys, *words: str) -> str:
    """Run a command that is refused; return its message."""
    monkeypatch.setattr(sys, "argv", ["lop", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    output = capsys.readouterr().err
    assert output.count("\n") == 1
    return output


def test_an_option_left_empty_by_an_unset_shell_variable_is_detected(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("tiny.json").write_text(json.dumps(TINY))
    quote_it = "the shell here expands it: '$TMPDIR'"
    # lop run tiny.json --stage $TMPDIR --launcher slurm
    assert quote_it in lop(monkeypatch, capsys, "run", "tiny.json", "--stage", "--launcher", "slurm")
    # ... --stage "$TMPDIR"
    assert quote_it in lop(monkeypatch, capsys, "run", "tiny.json", "--launcher", "slurm", "--stage", "")
    assert "--stage is for --launcher slurm" in lop(monkeypatch, capsys, "run", "tiny.json", "--stage", "$TMPDIR")
