"""Arguments that look like options, options given more than once, and the options that commands share."""

import subprocess
import sys

import pytest
from typer.main import get_command

from lop_engine.launch.slurm.submission import cancel
from lop_engine.runs.directory import find_runs
from lop_engine.runs.store import read_table
from lop_tui import cli
from lop_tui.words.console import resume_command
from tests.cli.test_run import lop, write_config
from tests.cli.test_views import lop as checked
from tests.cli.test_views import refused


@pytest.mark.long
def test_a_runs_directory_that_looks_like_an_option_can_be_trained_in_and_plotted(tmp_path):
    write_config(tmp_path / "cbp.json")
    done = lop("run", "cbp.json", "--runs-dir=-x", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    [run_dir] = find_runs(tmp_path / "-x")
    assert len(read_table(run_dir.tasks_json)) == 3
    assert lop("plot", "--runs-dir=-x", cwd=tmp_path).returncode == 0
    assert (tmp_path / "-x" / "test_accuracy.png").exists()
    again = lop("resume", "--runs-dir", "-x", "--detach", cwd=tmp_path)
    assert again.returncode == 0, again.stderr


def test_advised_commands_can_be_pasted_into_a_shell(tmp_path):
    script = "import sys; print(sys.argv[1:])"
    for runs_dir, selectors in ((tmp_path / "my runs", ["b*", "-x/default"]), (tmp_path / "-x", ["a b"])):
        command = resume_command(runs_dir.relative_to(tmp_path), selectors).removeprefix("lop ")
        shell = subprocess.run(
            f"{sys.executable} -c '{script}' {command}", shell=True, capture_output=True, text=True, check=True
        )
        words = eval(shell.stdout)
        assert words[0] == "resume"
        assert [word for word in words if word in selectors] == selectors
        assert all(words.index("--") < words.index(word) for word in selectors if word.startswith("-"))


def test_only_job_numbers_are_passed_to_scancel(tmp_path, monkeypatch):
    scancel = tmp_path / "scancel"
    scancel.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/called\n')
    scancel.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    cancel(["--user=me", "12_4", "-u", "7", ""])
    assert (tmp_path / "called").read_text() == "12_4 7\n"
    cancel(["--user=me"])
    assert (tmp_path / "called").read_text() == "12_4 7\n"


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["doctor", "--runs-dir", "a", "--runs-dir", "b"], "--runs-dir"),
        (["run", "x.json", "--seeds", "3", "--seeds", "4"], "--seeds"),
        (["run", "x.json", "--device", "cpu", "--device", "cuda"], "--device"),
        (["plot", "-o", "a.png", "--output", "b.png"], "--output"),
        (["plot", "--log", "--no-log"], "--no-log"),
        (["export", "--format", "csv", "-o", "a", "-o", "b"], "--output"),
        (["data", "import", "x", "--to", "a", "--to", "b"], "--to"),
        (["run", "x.json", "--set", "num_tasks=3", "--set", "num_tasks=4"], "num_tasks"),
        (["run", "x.json", "--launcher", "slurm", "--slurm", "time=1", "--slurm", "time=2"], "time"),
    ],
)
def test_a_single_valued_option_given_twice_is_refused_by_name(tmp_path, monkeypatch, capsys, arguments, option):
    monkeypatch.chdir(tmp_path)
    output = refused(monkeypatch, capsys, *arguments)
    assert option in output
    assert "give it once" in output


def test_repeatable_options_and_repeated_flags_are_accepted(tmp_path):
    write_config(tmp_path / "cbp.json")
    more = ["--set", "num_tasks=2", "--set", "width=0.25", "--yes", "--yes", "--dry-run", "--no-estimate"]
    done = lop("run", "cbp.json", *more, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_run_notes_how_a_file_of_the_reference_s_generator_is_trained(tmp_path):
    (tmp_path / "temp_cfg").mkdir()
    generated = {"index": 0, "run_idx": "3", "num_runs": 30, "opt": "adam", "momentum": 0.9, "data_dir": "data/bp/0/"}
    write_config(tmp_path / "temp_cfg" / "0.json", **generated)
    cfg = tmp_path / "temp_cfg" / "0.json"
    output = " ".join(checked("run", cfg, "--dry-run", "--no-estimate", "--runs-dir", tmp_path / "runs").split())
    assert "0.json: only seed 3 (run_idx) is trained" in output
    assert "0.json: left out: momentum belongs to opt sgd and opt rmsprop; this file's opt is adam" in output
    output = " ".join(checked("run", cfg, "--dry-run", "--no-estimate", "--seeds", "2", "--runs-dir", tmp_path).split())
    assert "--seeds replaces the file's seed 3 (run_idx)" in output


def options_of_commands():
    """Return the options of each command, by its name."""
    group = get_command(cli.app)
    commands = {}
    for name, command in group.commands.items():
        nested = {f"{name} {sub}": one for sub, one in getattr(command, "commands", {}).items()}
        commands |= nested or {name: command}
    return {
        name: [one for one in command.params if one.param_type_name == "option"] for name, command in commands.items()
    }


def test_o_and_output_always_name_the_file_that_a_command_writes():
    with_output = {}
    for name, options in options_of_commands().items():
        for option in options:
            names = {"-o", "--output", "--to"} & set(option.opts)
            assert not names or {"-o", "--output"} <= names, f"lop {name} {option.opts}"
            if names:
                with_output[name] = "--to" in names
    took_to = {"merge", "data import", "data import-order", "data synth"}
    assert {name for name, is_alias in with_output.items() if is_alias} == took_to
    writing = {"plot", "report", "export", "table", "best", "power", "diff", "cite", "data info"}
    assert writing == with_output.keys() - took_to


def test_synth_accepts_o_output_and_to(tmp_path):
    for option in ("-o", "--output", "--to"):
        small = ["--classes", "2", "--train-images", "2", "--test-images", "1", "--replace"]
        checked("data", "synth", option, tmp_path / "set", *small)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize("module", ["lop_tui", "lop_tui.cli"])
def test_python_m_runs_lop(module):
    output = subprocess.run([sys.executable, "-m", module, "--version"], capture_output=True, text=True, check=True)
    assert output.stdout.startswith("lop 0.")
