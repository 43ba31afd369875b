"""Messages for system errors, and paths to pipes, devices, directories, link loops and huge files."""

import errno
import io
import os
import stat
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from lop_engine.datasets import read_class_order
from lop_engine.errors import LaunchError, UserError, instead, sentence, why
from lop_engine.experiment.run import load_runs
from lop_engine.files import read_small, replacing
from lop_engine.files import writing as writing_output
from lop_engine.launch.slurm.options import read_options
from lop_engine.runs.logs import LogTail, last_line
from lop_engine.runs.reading import RunsReader
from lop_tui.dashboard.settings import Settings, load_settings, save_settings
from lop_tui.words.console import Console, confirm
from tests.cli.test_views import lop, refused
from tests.helpers import make_run

pytestmark = pytest.mark.timeout(20)  # a hang fails these tests soon


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "a.json"), "a.json: No space left on device"),
        (OSError(errno.EXDEV, "Cross-device link", "a", None, "b"), "a -> b: Cross-device link"),
        (OSError(errno.EACCES, "Permission denied", b"a\xff"), "a\udcff: Permission denied"),
        (OSError("stale file handle"), "stale file handle"),
        (OSError(errno.EIO, "Input/output error", 7), "Input/output error"),
        (OSError(), "OSError"),
    ],
)
def test_a_system_error_becomes_a_sentence_without_its_number(error, words):
    assert sentence(error) == words
    assert why(error) in words


@pytest.mark.parametrize("writing", [replacing, writing_output])
def test_a_failed_write_names_the_file_and_not_the_temporary_one(tmp_path, writing):
    with pytest.raises(OSError, match="left") as caught, writing(tmp_path / "a.png"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert str(caught.value) == f"[Errno 28] No space left on device: '{tmp_path / 'a.png'}'"
    assert sentence(caught.value) == f"{tmp_path / 'a.png'}: No space left on device"


def test_a_run_on_a_failing_disk_shows_the_error_without_its_number(tmp_path, monkeypatch):
    run = make_run(tmp_path, "bp", num_tasks=1)

    def fail(self):
        raise OSError(errno.EIO, "Input/output error", str(self.tasks_json), None, None)

    monkeypatch.setattr("lop_engine.runs.directory.RunDir.read_config", fail)
    [view] = RunsReader(tmp_path).read().runs
    assert view.problem == f"{run.tasks_json}: Input/output error"


def make_irregular(path: Path, kind: str) -> Path:
    """Make `path` a pipe without a writer, a link to an endless device, a directory, or a file of 5 GB; return it."""
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "directory":
        path.mkdir()
    else:
        with open(path, "wb") as file:
            file.truncate(5 * 2**30)
    return path


KINDS = ["pipe", "device", "directory", "large"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("bp.json", load_runs),
        ("order.json", read_class_order),
        ("order.csv", read_class_order),
        ("order.npy", read_class_order),
        ("class_order", read_class_order),
        ("lop.toml", lambda path: read_options([], path.parent)),
    ],
)
def test_a_pipe_device_directory_or_huge_file_as_input_is_refused_at_once(tmp_path, kind, name, read):
    path = make_irregular(tmp_path / name, kind)
    with pytest.raises(UserError) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert "None" not in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_pipe_device_directory_or_huge_file_as_a_component_is_refused_at_once(tmp_path, kind):
    path = make_irregular(tmp_path / "mine.py", kind)
    content = {"agent": "./mine.py", "step_size": 0.1, "num_tasks": 1, "num_showings": 1, "dataset": "synthetic"}
    (tmp_path / "own.json").write_bytes(orjson.dumps(content))
    with pytest.raises(UserError, match=rf'own.json: key "agent": "./{path.name}": '):
        load_runs(tmp_path / "own.json")


@pytest.mark.parametrize("name", ["./a\0.py", "~nobody-of-this-name/a.py", "./loop.py:Mine", f"./{'a' * 300}.py"])
def test_an_invalid_component_path_is_refused(tmp_path, name):
    (tmp_path / "loop.py").symlink_to("loop.py")
    content = {"agent": name, "step_size": 0.1, "num_tasks": 1, "num_showings": 1, "dataset": "synthetic"}
    (tmp_path / "own.json").write_bytes(orjson.dumps(content))
    with pytest.raises(UserError, match=r'own\.json: key "agent": '):
        load_runs(tmp_path / "own.json")


@pytest.mark.parametrize(
    "words",
    [
        ("merge", "runs", "--to", "loop"),
        ("merge", "loop", "--to", "new"),
        ("export", "--format", "csv", "-o", "loop/runs.csv", "--runs-dir", "runs"),
        ("plot", "-o", "loop/figure.png", "--runs-dir", "runs"),
    ],
)
def test_a_path_through_a_link_loop_is_refused_in_one_line(tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "runs", "bp", num_tasks=20)
    (tmp_path / "loop").symlink_to("loop")
    message = refused(monkeypatch, capsys, *words)
    assert "loop" in message
    assert message.count("\n") == 1


def test_dashboard_settings_are_saved_even_if_the_runs_directory_cannot_be_resolved(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "loop").symlink_to("loop")
    save_settings(tmp_path / "loop", Settings(smoothing=3))
    assert load_settings(tmp_path / "loop").smoothing == 3


def test_a_run_with_a_negative_number_of_tasks_is_listed_with_its_problem(tmp_path):
    make_run(tmp_path, "bp", num_tasks=20)
    run = make_run(tmp_path, "cbp", num_tasks=20)
    run.run_json.write_bytes(b'{"spec": {"agent": "cbp", "num_tasks": -5}, "seed": 0}')
    [_, view] = RunsReader(tmp_path).read().runs
    assert view.problem == f"{run.run_json}: num_tasks is -5; should be 1 or more"


def test_the_middle_of_a_huge_value_is_cut_from_a_message(monkeypatch, capsys):
    message = refused(monkeypatch, capsys, "status", "--where", f"seed:{'x' * 100_000}")
    assert message.startswith('lop: seed "xxx')
    assert message.endswith("or several with commas\n")
    assert " ... " in message
    assert len(message) < 5000


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["run.json", "status.json"])
def test_a_run_whose_json_files_are_not_regular_files_is_listed_with_its_problem(tmp_path, kind, name):
    run = make_run(tmp_path, "bp", num_tasks=1)
    make_irregular(run.path / name, kind)
    [view] = RunsReader(tmp_path).read().runs
    assert view.problem
    assert str(run.path / name) in view.problem
    assert name in lop("status", "--runs-dir", tmp_path)


@pytest.mark.parametrize("name", ["tasks.json", "worker.log"])
def test_a_pipe_in_a_run_directory_does_not_block_readers(tmp_path, monkeypatch, capsys, name):
    run = make_run(tmp_path, "bp", num_tasks=1)
    make_irregular(run.path / name, "pipe")
    [view] = RunsReader(tmp_path).read().runs
    assert bool(view.problem) == (name == "tasks.json")
    assert LogTail(run.log).read().remark
    if name == "worker.log":
        output = refused(monkeypatch, capsys, "logs", "bp", "--runs-dir", tmp_path)
        assert output == f"lop: {run.log}: not a regular file\n"


def test_read_small_accepts_files_up_to_its_limit(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"x" * 100)
    assert len(read_small(path, 100)) == 100
    with pytest.raises(OSError, match="larger than"):
        read_small(path, 99)


def test_the_last_line_of_a_log_is_read_as_plain_text(tmp_path):
    log = tmp_path / "worker.log"
    log.write_bytes(b"first\n" + b"x" * 300_000 + b"\n\x1b[31mout of memory\x1b[0m\n\n  \n")
    assert last_line(log) == "out of memory"
    log.write_bytes(b"")
    assert last_line(log) == ""


@pytest.mark.parametrize("command", [["rm", "bp"], ["run", "bp.json", "--fresh"]])
def test_a_command_that_cannot_ask_without_stdin_is_refused_and_changes_nothing(tmp_path, command):
    run = make_run(tmp_path / "runs", "bp", num_tasks=1)
    spec = {"agent": "bp", "step_size": 0.1, "num_tasks": 1, "num_showings": 1, "dataset": "synthetic"}
    (tmp_path / "bp.json").write_bytes(orjson.dumps(spec))
    shell = f"{sys.executable} -m lop_tui {' '.join(command)} <&-"
    done = subprocess.run(shell, shell=True, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("lop: ")
    assert done.stderr.count("\n") == 1
    assert "--yes" in done.stderr
    assert stat.S_ISREG(run.tasks_json.stat().st_mode)


def test_a_device_as_an_experiment_file_is_refused_in_one_line(monkeypatch, capsys):
    assert refused(monkeypatch, capsys, "run", "/dev/zero") == "lop: /dev/zero: cannot be read: not a regular file\n"


def test_the_end_of_the_input_counts_as_no(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stdin", Terminal(""))
    with pytest.raises(LaunchError, match="nothing removed"):
        confirm(Console(file=io.StringIO()), "Remove?", "nothing removed")


def test_suggestions_list_all_choices_or_the_nearest_of_many():
    assert instead("testing", ["train", "test"]) == '; did you mean "test"? (there are train, test)'
    assert instead("x", ["train", "test"]) == " (there are train, test)"
    many = [f"rank_{number}" for number in range(40)] + ["test_accuracy"]
    text = instead("test_acuracy", many)
    assert text.startswith('; did you mean "test_accuracy"? (there are test_accuracy, ')
    assert text.endswith(" and 35 others)")


@pytest.mark.parametrize("words", [["status"], ["list"], ["watch", "--once"], ["plot"], ["resume"], ["run", "demo/bp"]])
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.write_text(""), "not a directory"),
        (os.mkfifo, "not a directory"),
        (lambda path: path.symlink_to("nowhere"), "a link that leads nowhere"),
        (lambda path: path.symlink_to(path.name), "a link that leads nowhere"),
    ],
    ids=["file", "pipe", "broken link", "circle"],
)
def test_a_runs_directory_that_is_not_a_directory_is_refused(tmp_path, monkeypatch, capsys, words, make, reason):
    path = tmp_path / "mine"
    make(path)
    message = refused(monkeypatch, capsys, *words, "--runs-dir", path)
    assert message == f"lop: {path}: {reason}; name the directory that holds the runs\n"
