"""`lop rm` and `lop logs`: their output, questions and effects."""

import subprocess

import pytest

from lop_engine.runs.directory import RunDir, find_runs
from lop_engine.runs.reading import RunsReader
from lop_engine.runs.selection import select
from tests.cli.test_lifecycle import states
from tests.cli.test_run import lop, write_config
from tests.helpers import make_run


@pytest.mark.long
def test_logs_prints_the_end_and_follows_until_the_run_ends(here):
    write_config(here / "cbp.json", num_tasks=30)
    assert lop("run", "cbp.json", "--seeds", "1").returncode == 0
    [run] = find_runs(here / "runs")
    whole = run.log.read_text().splitlines()
    assert len(whole) == 31
    assert lop("logs", "cbp", "-n", "3").stdout.splitlines() == whole[-3:]
    assert lop("logs", "cbp/default/0", "-n", "1000").stdout.splitlines() == whole
    assert lop("logs", "cbp", "-f", "-n", "1").stdout.splitlines() == whole[-1:]
    assert 'did you mean "cbp"' in lop("logs", "cpb").stderr


def test_logs_of_several_runs_have_headings(here):
    for seed in range(2):
        make_run(here / "runs", "bp", seed)
    refused = lop("logs", "bp")
    assert refused.returncode == 2
    assert "names 2 runs with 2 logs; choose one of bp/default/seed_000, bp/default/seed_001" in refused.stderr
    assert "no log yet" in lop("logs", "bp/default/1").stderr


def test_rm_needs_a_confirmation(here):
    make_run(here / "runs", "bp")
    refused = lop("rm", "bp", stdin=subprocess.DEVNULL)
    assert refused.returncode == 2
    assert "Confirm with --yes" in refused.stderr
    assert states(here) == {"bp/default/seed_000": "finished"}


@pytest.mark.parametrize(
    ("selectors", "chosen"),
    [
        ([], ["a0", "a1", "a10", "b0", "c0"]),
        (["bp"], ["a0", "a1", "a10", "b0"]),
        (["runs/bp/step_size=0.1"], ["a0", "a1", "a10"]),
        (["bp/step_size=0.1"], ["a0", "a1", "a10"]),
        (["bp/*=0.1"], ["a0", "a1", "a10"]),
        (["0"], ["a0", "b0", "c0"]),
        (["seed_000"], ["a0", "b0", "c0"]),
        (["1-10"], ["a1", "a10"]),
        (["bp/0"], ["a0", "b0"]),
        (["*/*/1"], ["a1"]),
        (["cbp", "1"], ["a1", "c0"]),
        (["runs/bp/step_size=0.1/seed_010/"], ["a10"]),
        (["*bp"], ["a0", "a1", "a10", "b0", "c0"]),
    ],
)
def test_selectors_match_names_settings_and_seeds(here, selectors, chosen):
    names = {"a": ("bp", "step_size=0.1"), "b": ("bp", "step_size=0.01"), "c": ("cbp", "default")}
    by_dir: dict[RunDir, str] = {}
    for name in ["a0", "a1", "a10", "b0", "c0"]:
        method, setting = names[name[0]]
        by_dir[make_run(here / "runs", method, int(name[1:]), setting=setting)] = name
    views = select(RunsReader(here / "runs").read(), selectors)
    assert sorted(by_dir[RunDir(view.dir.path)] for view in views) == sorted(chosen)


def test_rm_does_not_follow_links_out_of_the_runs_directory(here):
    outside = make_run(here / "elsewhere", "bp")
    (here / "runs").mkdir()
    (here / "runs" / "bp").symlink_to(here / "elsewhere" / "bp")
    refused = lop("rm", "bp", "--yes")
    assert refused.returncode == 2
    assert "is a symbolic link or lies behind one" in refused.stderr
    assert outside.run_json.exists()
