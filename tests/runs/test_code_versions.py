"""Code versions of runs: every view names seeds of a setting that were trained by different code."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lop_engine import NUMERICS
from lop_engine.errors import LaunchError
from lop_engine.experiment import component_files
from lop_engine.experiment.registry import REGISTRIES
from lop_engine.experiment.run import load_runs
from lop_engine.launch import decide_resources, plan_runs, prepare_run_dirs
from lop_engine.runs.code import code_files, spec_to_train
from lop_engine.runs.code_versions import refuse_beside_other_code, settle_code
from lop_engine.runs.directory import RunDir, write_json
from lop_engine.runs.locks import REFUSED
from lop_tui.cli import main
from tests.experiment.test_own_files import OWN, own_registries
from tests.toys import make_toy

__all__ = ["own_registries"]

BEFORE, AFTER = "recycle(score <= tau)\n", "recycle(score > tau)\n"


def give_code(run_dir: RunDir, *versions: str, numerics: tuple[int, ...] = (1,)) -> None:
    """Record in a run's run.json that `versions` of my_redo.py trained it, one after another."""
    config = run_dir.read_config()
    files = [[[{"path": "/gone/my_redo.py", "sha256": version}]] for version in versions]
    code = {"numerics": numerics[-1], "earlier_numerics": list(numerics[:-1])}
    write_json(run_dir.run_json, config | {"files": files[-1], "earlier_files": files[:-1], "code": code})
    copy = run_dir.path / "code/0/my_redo.py"
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_text(versions[-1])


@pytest.fixture
def mixed():
    """Make seeds 0 and 1 of one version of the code, seeds 2 and 3 of another."""
    for seed in range(4):
        give_code(make_toy(Path("runs"), "mine", seed), BEFORE if seed < 2 else AFTER)
    make_toy(Path("runs"), "other", 0)
    return Path("runs")


@pytest.fixture
def lop(monkeypatch, capsys):
    """Run a command in this process; return its exit status and its output on one line."""

    def run(*command: str) -> tuple[object, str]:
        monkeypatch.setattr(sys, "argv", ["lop", *command])
        monkeypatch.setenv("COLUMNS", "400")
        with pytest.raises(SystemExit) as ended:
            main()
        answer = capsys.readouterr()
        return ended.value.code, " ".join((answer.out + answer.err).split())

    return run


NAMES = (
    ["list"],
    ["status"],
    ["watch", "--once"],
    ["doctor"],
    ["export", "--format", "csv", "-o", "all.csv"],
    ["export", "--format", "npz", "-o", "all.npz"],
)
REFUSES = (
    ["plot", "-o", "x.png"],
    ["plot", "--kind", "seeds", "-o", "x.png"],
    ["report", "-o", "x.html"],
    ["compare", "mine", "other"],
    ["check"],
)


@pytest.mark.parametrize("command", [*NAMES, *REFUSES], ids=" ".join)
def test_every_command_that_averages_names_seeds_of_different_code(mixed, lop, command):
    status, shown = lop(*command)
    for what in ("mine/default", "seeds 0-1 and seeds 2-3", "my_redo.py, line 1", "score <= tau", "score > tau"):
        assert what in shown
    assert shown.count("different code") == 1
    assert '--where "-seed:2-3"' in shown
    assert status == (2 if command in REFUSES else 1 if command == ["doctor"] else 0)


@pytest.mark.parametrize("command", [one for one in (*NAMES, *REFUSES) if one[0] not in ("doctor", "compare")])
def test_seeds_of_one_code_are_averaged(mixed, lop, command):
    status, shown = lop(*command, "--where", "-seed:2-3")
    assert "different code" not in shown
    assert status == (3 if command == ["check"] else 0)


@pytest.mark.parametrize("command", [["list"], ["status"], ["watch"]])
def test_json_names_seeds_of_different_code(mixed, lop, command):
    shown = json.loads(lop(*command, "--json")[1])
    assert "seeds 0-1 and seeds 2-3 were trained by different code" in json.dumps(shown)


def test_a_different_numerics_version_counts_as_different_code_and_older_runs_have_version_1(lop):
    for seed in range(3):
        run_dir = make_toy(Path("runs"), "mine", seed)
        if seed:
            write_json(run_dir.run_json, run_dir.read_config() | {"code": {"numerics": seed}})
    shown = lop("list")[1]
    assert "seeds 0-1 and seed 2 were trained by different code (lop's own numerics 1 and 2)" in shown


def test_a_seed_whose_code_changed_midway_counts_as_different_code(lop):
    give_code(make_toy(Path("runs"), "mine", 0), "4f5e")
    give_code(make_toy(Path("runs"), "mine", 1), "1a2b", "4f5e")
    assert "my_redo.py, which was changed while one of them was trained" in lop("list")[1]
    assert "numerics 1, my_redo.py 4f5e (1a2b when it began)" in lop("show", "mine/default/1")[1]


def test_a_comparison_names_files_whose_versions_differ_between_settings(lop):
    for setting, version in (("tau=1", BEFORE), ("tau=2", AFTER)):
        for seed in range(2):
            give_code(make_toy(Path("runs"), "mine", seed, setting=setting), version)
    shown = lop("compare", "mine/tau=1", "mine/tau=2")[1]
    assert "mine/tau=1 and mine/tau=2 were trained by different versions of my_redo.py" in shown


@pytest.mark.parametrize(
    "files", ["x", [["x"]], [[{"path": 3, "sha256": "x"}]], [[{"path": "/a", "sha256": "x"}, {"path": "/b/../../c"}]]]
)
def test_a_malformed_run_json_is_named_without_a_traceback(mixed, lop, files):
    run_dir = RunDir(mixed / "mine/default/seed_000")
    write_json(run_dir.run_json, run_dir.read_config() | {"files": files})
    assert lop("list")[0] == 0


@pytest.fixture
def queued_run():
    """Make a queued run of my_redo.py; return it and the file."""
    shutil.copy(OWN / "my_redo.py", "my_redo.py")
    Path("mine.json").write_text(json.dumps({"agent": "./my_redo.py", "step_size": 0.1, "num_tasks": 1} | SHORT))
    [run_dir] = prepare_run_dirs(Path("runs"), load_runs(Path("mine.json"), seeds=[0])).to_train
    return run_dir, Path("my_redo.py").absolute()


def forget() -> None:
    """Forget the components of files, as in a new process."""
    component_files.answers.clear()
    for registry in REGISTRIES.values():
        registry.by_name = {name: registry[name] for name in registry.built_in}


SHORT = {"num_showings": 1, "dataset": "synthetic"}


def executed(run_dir: RunDir) -> list[Path]:
    return [file.path for file in code_files(run_dir, run_dir.read_config())]


def change(path: Path, remark: str) -> str:
    path.write_text((OWN / "my_redo.py").read_text() + f"\n# {remark}\n")
    return path.read_text()


def test_code_can_be_accepted_after_the_copy_was_chosen(queued_run):
    run_dir, path = queued_run
    original = path.read_text()
    change(path, "second")
    settle_code([run_dir], "stored")
    [copy] = executed(run_dir)
    assert copy.read_text() == original
    third = change(path, "third")
    assert executed(run_dir) == [copy]  # the choice is still valid
    settle_code([run_dir], "accept")
    assert executed(run_dir) == [path]
    assert copy.read_text() == third
    change(path, "fourth")
    with pytest.raises(LaunchError, match="has changed since the run began"):
        executed(run_dir)


def test_the_copy_can_be_chosen_after_code_was_accepted(queued_run):
    run_dir, path = queued_run
    second = change(path, "second")
    settle_code([run_dir], "accept")
    change(path, "third")
    settle_code([run_dir], "stored")
    [copy] = executed(run_dir)
    assert copy.read_text() == second
    assert len(run_dir.read_config()["earlier_files"]) == 1


def test_accepting_the_unchanged_file_ends_the_use_of_the_copy(queued_run):
    run_dir, path = queued_run
    original = path.read_text()
    change(path, "second")
    settle_code([run_dir], "stored")
    path.write_text(original)
    settle_code([run_dir], "accept")
    assert executed(run_dir) == [path]
    change(path, "second")
    with pytest.raises(LaunchError, match="has changed since the run began"):
        executed(run_dir)


@pytest.mark.parametrize("choice", ["stored", "accept"])
@pytest.mark.long
def test_an_acceptance_killed_before_it_was_recorded_is_undone(queued_run, choice):
    run_dir, path = queued_run
    original = path.read_text()
    new = change(path, "second")
    (run_dir.path / "code").rename(run_dir.path / "code.earlier-1")
    (run_dir.path / "code/0").mkdir(parents=True)
    shutil.copy(path, run_dir.path / "code/0/my_redo.py")
    settle_code([run_dir], choice)
    [file] = executed(run_dir)
    assert file.read_text() == (original if choice == "stored" else new)


def test_a_run_without_recorded_code_resumes_and_is_named(queued_run):
    run_dir, _ = queued_run
    config = run_dir.read_config()
    assert settle_code([run_dir], "refuse") == []
    for choice in ("refuse", "accept", "stored"):
        write_json(run_dir.run_json, {key: value for key, value in config.items() if key != "code"})
        assert settle_code([run_dir], choice) == [run_dir]


def test_new_seeds_are_refused_beside_existing_seeds_of_different_code_even_if_those_are_not_selected(queued_run):
    run_dir, path = queued_run
    new = load_runs(Path("mine.json"), seeds=[1])
    refuse_beside_other_code(Path("runs"), new)
    config = run_dir.read_config()
    write_json(run_dir.run_json, config | {"code": {"numerics": NUMERICS + 1}})
    with pytest.raises(LaunchError, match=r"seed_001: mine/default/seed_000 was trained by .* \(lop's own numerics\)"):
        refuse_beside_other_code(Path("runs"), new)
    write_json(run_dir.run_json, config)
    change(path, "second")
    with pytest.raises(LaunchError, match=r"by different code \(my_redo.py\).*choose --accept-code-change"):
        refuse_beside_other_code(Path("runs"), load_runs(Path("mine.json"), seeds=[1]))


def test_windows_line_ends_do_not_change_the_code_version(queued_run):
    run_dir, path = queued_run
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert executed(run_dir) == [path]
    refuse_beside_other_code(Path("runs"), load_runs(Path("mine.json"), seeds=[1]))


@pytest.fixture
def copies_of_two_versions(queued_run):
    """Make two queued seeds with copies of different versions of a file that no longer exists."""
    first, path = queued_run
    change(path, "second")
    [second] = prepare_run_dirs(Path("runs"), load_runs(Path("mine.json"), seeds=[1])).to_train
    path.unlink()
    return first, second


def test_seeds_with_different_copies_never_share_a_worker(copies_of_two_versions):
    specs = {run_dir: spec_to_train(run_dir) for run_dir in copies_of_two_versions}
    resources = decide_resources(list(specs.values()), "cpu", 1, 2)
    assert plan_runs(list(specs), resources, specs).stacks == [[one] for one in copies_of_two_versions]
    command = [sys.executable, "-m", "lop_engine.worker", *(str(one.path) for one in copies_of_two_versions)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == REFUSED
    assert "has other code than mine/default/seed_000; they cannot share a worker" in answer.stderr


@pytest.mark.long
def test_a_file_that_was_renamed_is_the_same_code_and_an_edited_one_is_not(queued_run, lop):
    _, path = queued_run
    other = path.with_name("renamed.py")
    path.rename(other)
    Path("mine.json").write_text(Path("mine.json").read_text().replace("my_redo.py", "renamed.py"))
    forget()
    runs = load_runs(Path("mine.json"), seeds=[0, 1])
    refuse_beside_other_code(Path("runs"), runs)
    assert len(prepare_run_dirs(Path("runs"), runs).to_train) == 2
    assert "different code" not in lop("list")[1]
    change(other, "second")
    with pytest.raises(LaunchError, match=r"began with .*my_redo.py, and its experiment file now names .*renamed.py"):
        prepare_run_dirs(Path("runs"), load_runs(Path("mine.json"), seeds=[0]))


def test_a_link_that_now_leads_to_another_file_is_different_code(queued_run):
    _, path = queued_run
    other = path.with_name("other.py")
    change(other, "second")
    Path("link.py").symlink_to(other)
    Path("mine.json").write_text(Path("mine.json").read_text().replace("my_redo.py", "link.py"))
    forget()
    with pytest.raises(LaunchError, match=r"began with .*my_redo.py, and its experiment file now names .*other.py"):
        prepare_run_dirs(Path("runs"), load_runs(Path("mine.json"), seeds=[0]))


@pytest.mark.long
def test_doctor_reports_damaged_copies_and_no_other_problem_of_own_components(queued_run, lop):
    run_dir, _ = queued_run
    forget()
    assert "not part of lop" not in lop("doctor")[1]
    assert "seed_000" not in lop("doctor")[1]
    copy = run_dir.path / "code/0/my_redo.py"
    copy.write_text("x")
    status, shown = lop("doctor")
    assert (status, f"{copy}: this copy of a component's file is missing or was changed" in shown) == (1, True)
    write_json(run_dir.run_json, run_dir.read_config() | {"files": [[{"path": 3}]]})
    status, shown = lop("doctor")
    assert (status, 'run.json of mine/default/0: "files" is not what it should be' in shown) == (1, True)
    assert 'files" is not what it should be' in lop("resume")[1]


def test_check_says_that_own_components_have_no_published_protocol(queued_run, lop):
    forget()
    assert "mine: follows no published protocol: agent my_redo not part of lop" in lop("check")[1]
