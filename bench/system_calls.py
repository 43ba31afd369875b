"""Count the system calls of a command with strace, by kind and by place."""

import os
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: Kinds of calls. Calls that need no request to a file server are left out: close, seek, mmap, fstat of an open file.
_CALLS = {
    "look-up": "stat lstat newfstatat statx access faccessat faccessat2 readlink readlinkat",
    "open": "open openat openat2",
    "create": "creat",
    "rename": "rename renameat renameat2",
    "link": "link linkat symlink symlinkat",
    "unlink": "unlink unlinkat rmdir",
    "mkdir": "mkdir mkdirat",
    "readdir": "getdents64",
    "set attributes": "truncate ftruncate chmod fchmod fchmodat chown fchown fchownat utimensat",
    "lock": "flock",
    "fsync": "fsync fdatasync",
    "write": "write pwrite64 writev pwritev pwritev2",
    "read": "read pread64 readv preadv preadv2",
}
_KINDS = {call: kind for kind, calls in _CALLS.items() for call in calls.split()}
METADATA = tuple(kind for kind in _CALLS if kind not in ("fsync", "write", "read"))
"""Kinds of calls on names, as opposed to contents."""

_LINE = re.compile(r"(\w+)\((.*)\)\s+= (-?\d+)")
_PATH = re.compile(r'(?:\w+<(/[^>]*)>(?:\(deleted\))?)(?:, "([^"]*)")?|"([^"]*)"')


@dataclass(frozen=True)
class Call:
    """One system call that names a file."""

    kind: str
    paths: tuple[str, ...]


@dataclass
class CallCounts:
    """The calls of a command and its children."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    """Counts by place and kind."""
    replaced: Counter[str] = field(default_factory=Counter)
    """Number of times that each name was given to a new file (rename)."""


def parse(line: str, directory: str = "/") -> Call | None:
    """Return the call in a line of ``strace -y -s 0``, or None if it is of no listed kind or names no file.

    Args:
        directory: base of relative names.
    """
    match = _LINE.match(line)
    kind = _KINDS.get(match[1]) if match else None
    if not match or kind is None:
        return None
    arguments, result = match[2], int(match[3])
    if kind == "look-up" and "AT_EMPTY_PATH" in arguments:
        return None  # a call on an open file, whose opening was counted
    if kind == "readdir" and result == 0:
        return None  # the end of a directory, known from the previous answer
    if kind == "open" and "O_CREAT" in arguments:
        kind = "create"
    paths = tuple(
        os.path.normpath(os.path.join(directory, start or "", name or alone or ""))
        for start, name, alone in _PATH.findall(arguments)
    )
    return Call(kind, paths) if paths else None


def count(lines: Iterable[str], places: Mapping[Path, str], directory: str = "/") -> CallCounts:
    """Count the calls of `lines` by the name of the first of `places` that contains their path."""
    calls = CallCounts({name: Counter() for name in places.values()})
    for line in lines:
        call = parse(line, directory)
        if call is None:
            continue
        place = next((name for path, name in places.items() if any(_is_below(one, path) for one in call.paths)), None)
        if place:
            calls.counts[place][call.kind] += 1
            if call.kind == "rename":
                calls.replaced[os.path.basename(call.paths[-1])] += 1
    return calls


@contextmanager
def tracing(command: Sequence[str], places: Mapping[Path, str], **options: Any) -> Iterator[tuple[Any, CallCounts]]:
    """Run a command under strace; yield its process, and its counts, which are complete after the block.

    Args:
        places: names of directories, by absolute path without links; of nested directories the inner first.
        options: of subprocess.Popen.
    """
    if shutil.which("strace") is None:
        raise SystemExit("there is no strace here; on Debian and Ubuntu: apt-get install strace")
    calls = CallCounts()
    with tempfile.TemporaryDirectory() as directory:
        # Each thread has its own file, because threads would mix their lines in a common one. --seccomp-bpf stops
        # the command only at these calls.
        strace = ["strace", "-ff", "-qq", "-y", "-s", "0", "--seccomp-bpf", "-o", f"{directory}/trace"]
        strace += ["-e", "trace=" + ",".join(f"?{call}" for call in _KINDS)]
        with subprocess.Popen([*strace, *command], **options) as process:
            yield process, calls
            if process.stdin:
                process.stdin.close()
        if process.returncode:
            raise SystemExit(f"{' '.join(command[:4])} ...: ended with status {process.returncode}")
        counted = count(_lines(Path(directory)), places, str(options.get("cwd", os.getcwd())))
        calls.counts, calls.replaced = counted.counts, counted.replaced


def traced(command: Sequence[str], places: Mapping[Path, str], **options: Any) -> CallCounts:
    """Run a command to its end."""
    with tracing(command, places, **options) as (process, calls):
        process.wait()
    return calls


def metadata(counts: Mapping[str, float]) -> float:
    return sum(counts.get(kind, 0) for kind in METADATA)


def _lines(directory: Path) -> Iterator[str]:
    for path in sorted(directory.iterdir()):
        with open(path, errors="replace") as file:
            yield from file


def _is_below(path: str, directory: Path) -> bool:
    return path == str(directory) or path.startswith(f"{directory}/")
