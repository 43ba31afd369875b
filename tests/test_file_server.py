"""How `bench.file_server` reads and counts the lines of strace."""

from collections import Counter
from pathlib import Path

import pytest

from bench import system_calls
from bench.job import EVENTS, SCENARIOS, by_event
from bench.system_calls import Call, CallCounts, count, metadata, parse, traced

#: Output of strace 6.1 with -y -s 0.
LINES = r"""
mkdir("/runs/bp", 0777)                 = 0
openat(AT_FDCWD</work>, "/runs/bp/.status.json.7.tmp", O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC, 0666) = 3</runs/bp/.status.json.7.tmp>
newfstatat(3</runs/bp/.status.json.7.tmp>, "", {st_mode=S_IFREG|0644, st_size=0, ...}, AT_EMPTY_PATH) = 0
write(3</runs/bp/.status.json.7.tmp>, ""..., 5) = 5
fsync(3</runs/bp/.status.json.7.tmp>)   = 0
rename("/runs/bp/.status.json.7.tmp", "/runs/bp/status.json") = 0
openat(AT_FDCWD</work>, "/runs/bp", O_RDONLY|O_NONBLOCK|O_CLOEXEC|O_DIRECTORY) = 3</runs/bp>
getdents64(3</runs/bp>, 0x7f3a24001c10 /* 3 entries */, 32768) = 72
getdents64(3</runs/bp>, 0x7f3a24001c10 /* 0 entries */, 32768) = 0
newfstatat(3</runs/bp>, "run.json", {st_mode=S_IFREG|0644, st_size=5, ...}, 0) = 0
newfstatat(AT_FDCWD</runs>, "bp/run.lock", 0x7f3a2c910950, 0) = -1 ENOENT (No such file or directory)
stat("runs/bp", 0x7ffe) = -1 ENOENT (No such file or directory)
flock(5</runs/bp/run.lock>, LOCK_EX|LOCK_NB) = 0
pwrite64(5</runs/bp/tasks.json>, ""..., 200, 18) = 200
pread64(5</runs/bp/tasks.json>, ""..., 200, 18) = 200
unlink("/runs/bp/old")                  = 0
write(5</runs/bp/old>(deleted), ""..., 1) = 1
openat(AT_FDCWD</work>, "/images/classes/0.npy", O_RDONLY|O_CLOEXEC) = 4</images/classes/0.npy>
openat(AT_FDCWD</work>, "/runs2/bp", O_RDONLY) = 4</runs2/bp>
read(0</dev/pts/1>, ""..., 1) = ? ERESTARTSYS (To be restarted if SA_RESTART is set)
--- SIGTERM {si_signo=SIGTERM, si_code=SI_USER, si_pid=1, si_uid=0} ---
write(1<pipe:[77]>, ""..., 1) = 1
""".strip().splitlines()  # fmt: skip  # noqa: E501


def test_system_calls_are_counted_by_place_and_kind():
    calls = count(LINES, {Path("/runs"): "runs", Path("/images"): "images"}, directory="/")
    assert calls.counts["images"] == {"open": 1}
    assert calls.counts["runs"] == {
        "mkdir": 1,
        "create": 1,
        "open": 1,
        "rename": 1,
        "readdir": 1,
        "look-up": 3,
        "lock": 1,
        "unlink": 1,
        "fsync": 1,
        "write": 3,
        "read": 1,
    }
    assert metadata(calls.counts["runs"]) == 10
    assert calls.replaced == {"status.json": 1}


def test_relative_names_are_resolved_against_their_directory():
    assert parse('stat("a/../b", {...}) = 0', "/x") == Call("look-up", ("/x/b",))
    assert parse('renameat(3</x>, "a", 4</y>, "b") = 0') == Call("rename", ("/x/a", "/y/b"))


def test_a_call_counts_for_the_first_place_that_contains_its_path():
    calls = count(['mkdir("/runs/.slurm/1", 0777) = 0'], {Path("/runs/.slurm"): "submitit", Path("/runs"): "runs"})
    assert calls.counts == {"submitit": {"mkdir": 1}, "runs": {}}


def test_the_calls_of_each_event_are_solved_from_different_scenarios():
    expected = dict(
        zip(
            EVENTS,
            ({"open": 14, "write": 9}, {"open": 2}, {"open": 1, "fsync": 4}, {"write": 1}, {"write": 2}),
            strict=True,
        )
    )
    calls = []
    for beats, checkpoints, scenario in zip((0, 31, 0, 0, 0), (0, 0, 7, 0, 0), SCENARIOS, strict=True):
        often = (1, beats, checkpoints, scenario.tasks * scenario.epochs, scenario.tasks)
        counts: Counter[str] = Counter()
        for event, times in zip(EVENTS, often, strict=True):
            counts.update({kind: times * number for kind, number in expected[event].items()})
        calls.append(
            CallCounts({"runs": counts}, Counter({"status.json": 3 + beats, "checkpoint.pt": 2 + checkpoints}))
        )
    assert by_event(SCENARIOS, calls, "runs") == expected
    calls[2].counts["runs"]["open"] += 1
    with pytest.raises(SystemExit, match="runs: the counts do not add up"):
        by_event(SCENARIOS, calls, "runs")


def test_a_missing_strace_is_reported_with_what_to_install(monkeypatch):
    monkeypatch.setattr(system_calls.shutil, "which", lambda name: None)
    with pytest.raises(SystemExit, match="no strace here; on Debian and Ubuntu: apt-get install strace"):
        traced(["true"], {})
