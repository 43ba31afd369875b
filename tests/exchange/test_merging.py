"""`lop merge`: copies all runs of several directories into one, or none; conflicts are named."""

import hashlib
import json
import os
import shutil

import pytest

from lop_engine.errors import LaunchError, UserError
from lop_engine.exchange import merging
from lop_engine.exchange.merging import merge_runs
from lop_engine.runs.directory import RunDir, find_runs, write_json
from lop_engine.runs.locks import hold
from lop_engine.runs.reading import RunsReader
from tests.cli.test_views import lop
from tests.cli.test_views import refused as refused_command
from tests.helpers import make_run


def content(directory):
    """Return the bytes of every file below `directory`, by path."""
    files = sorted(path for path in directory.rglob("*") if path.is_file() and not path.name.endswith(".lock"))
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def two(tmp_path):
    """Make seeds 0-1 of two methods in `a`, and seeds 2-3 of one of them in `b`."""
    for seed in range(2):
        make_run(tmp_path / "a", "bp", seed)
        make_run(tmp_path / "a", "cbp", seed)
        make_run(tmp_path / "b", "bp", seed + 2, state="stopped", tasks_done=7)
    return tmp_path


def test_every_run_is_copied_unchanged_and_the_sources_stay(two):
    before = content(two / "a"), content(two / "b")
    output = lop("merge", two / "a", two / "b", "--to", two / "c")
    assert "6 runs of" in output
    assert content(two / "c") == before[0] | before[1]
    assert (content(two / "a"), content(two / "b")) == before
    assert len(json.loads(lop("list", "--json", "--runs-dir", two / "c"))["settings"]) == 2


def test_runs_can_be_merged_into_a_directory_with_runs(two):
    merge_runs([two / "a"], two / "c")
    assert [run_dir.seed for run_dir in merge_runs([two / "b"], two / "c")] == [2, 3]
    assert len(list(find_runs(two / "c"))) == 6


def refused(two, *words, sources=("a", "b"), target="c", error=UserError):
    """Check that a merge is refused with a message that contains all of `words`, and changes nothing."""
    before = content(two)
    with pytest.raises(error) as caught:
        merge_runs([two / source for source in sources], two / target)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert content(two) == before
    assert not list(two.glob("c/.merge.*"))


def test_a_run_with_fewer_records_than_its_status_says_is_copied_and_named(two):
    tasks = two / "a/cbp/default/seed_001/tasks.json"
    lines = tasks.read_text().splitlines(keepends=True)
    tasks.write_text("".join(lines[: len(lines) // 2]))
    output = lop("merge", two / "a", two / "b", "--to", two / "c")
    assert (two / "c/cbp/default/seed_001/tasks.json").read_bytes() == tasks.read_bytes()
    [line] = [line for line in output.splitlines() if "cbp/default/seed_001" in line]
    assert "tasks" in line


def test_a_seed_that_exists_twice_is_refused_and_both_are_named(two):
    make_run(two / "b", "cbp", 1)
    refused(two, "a/cbp/default/seed_001", "b/cbp/default/seed_001", "same seed")


def test_a_seed_that_the_target_has_is_refused(two):
    make_run(two / "c", "bp", 3)
    refused(two, "c/bp/default/seed_003", "b/bp/default/seed_003")


def test_a_differing_configuration_is_refused_with_key_and_values(two):
    make_run(two / "b", "cbp", 2, spec={"step_size": 0.5})
    refused(two, "a/cbp/default/seed_000", "b/cbp/default/seed_002", "step_size is 0.01 in the first and 0.5")


def test_different_code_is_refused(two):
    run = make_run(two / "b", "cbp", 2)
    write_json(run.run_json, json.loads(run.run_json.read_text()) | {"code": {"numerics": 99}})
    refused(two, "a/cbp/default/seed_000", "b/cbp/default/seed_002", "different code (lop's own numerics)")


@pytest.mark.parametrize("state", ["running", "queued"])
def test_a_run_that_has_not_ended_is_refused(two, state):
    make_run(two / "b", "cbp", 2, state=state, heartbeat_at=4e9)
    refused(two, f"b/cbp/default/seed_002 is {state}", "lop stop")


def test_a_run_that_cannot_be_read_is_refused(two):
    (two / "b/bp/default/seed_002/tasks.json").write_text("{]")
    refused(two, "b/bp/default/seed_002", "cannot be read")


def test_invalid_combinations_of_directories_are_refused(two):
    refused(two, "the target itself", sources=("a", "b"), target="a")
    refused(two, "same directory", sources=("a", "a"))
    refused(two, "no runs in", sources=("a", "nothing"))


def test_a_run_locked_by_another_command_is_refused(two, monkeypatch):
    monkeypatch.setattr("lop_engine.runs.locks.PATIENCE_S", 0)
    monkeypatch.setattr(merging, "hold", lambda run_dir: hold(run_dir, patience_s=0))
    with hold(RunDir(two / "b/bp/default/seed_002")):
        refused(two, "b/bp/default/seed_002".rpartition("/")[2], error=LaunchError)


def test_commands_for_one_directory_refuse_several_and_advise_merge(two, monkeypatch, capsys):
    output = refused_command(monkeypatch, capsys, "stop", "--runs-dir", two / "a", "--runs-dir", two / "b")
    assert "--runs-dir is given 2 times; give it once; lop merge copies" in output


def test_a_full_disk_leaves_nothing_behind(two, monkeypatch):
    copied = []

    real = shutil.copytree
    monkeypatch.setattr(
        merging.shutil, "copytree", lambda source, target, **o: _copy(copied, real, source, target, **o)
    )
    with pytest.raises(OSError, match="No space left"):
        merge_runs([two / "a", two / "b"], two / "c")
    assert RunsReader(two / "c").read().runs == ()
    assert not list((two / "c").glob(".merge.*"))


def test_a_file_that_cannot_be_copied_is_named_with_the_reason(two, monkeypatch):
    pipe = two / "a" / "bp" / "default" / "seed_000" / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(UserError, match=rf"^merge: {pipe}: is a named pipe; nothing was added to the target$"):
        merge_runs([two / "a", two / "b"], two / "c")
    pipe.unlink()

    def full(source, target, **options):
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(UserError, match=r"^merge: .*/a/bp/.*: No space left on device; nothing was added"):
        merge_runs([two / "a", two / "b"], two / "c")
    assert RunsReader(two / "c").read().runs == ()


def test_a_target_that_is_a_file_is_refused(two):
    (two / "c").write_text("")
    with pytest.raises(UserError, match="c: is a file; name a directory"):
        merge_runs([two / "a", two / "b"], two / "c")


def _copy(copied, real, source, target, **options):
    copied.append(source)
    if len(copied) == 4:
        raise OSError(28, "No space left on device")
    return real(source, target, **options)
