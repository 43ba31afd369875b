"""Identifies processes, independent of clock changes and reused process numbers."""

import os
import resource
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_STATE, _START_TICKS = 0, 19
"""Positions in /proc/<pid>/stat after the process's name: fields 3 and 22 of proc(5)."""


@dataclass(frozen=True)
class Process:
    """One process on one host."""

    pid: int
    host: str
    start: str | None
    """Its start, see `start_of`; a pair (pid, start) is never used twice. None if unknown."""
    since: float
    """About the same time in Unix seconds, for messages."""

    def __str__(self) -> str:
        return describe(self.pid, self.host, self.since)

    @property
    def token(self) -> str:
        """Return the process as one word, for an environment variable or a command line."""
        return f"{self.host}:{self.pid}:{self.start}"

    @property
    def is_here(self) -> bool:
        """Whether it runs, or ran, on this host."""
        return self.host == socket.gethostname()

    @property
    def may_be_alive(self) -> bool:
        """Whether it is running now. A process of another host cannot be checked and counts as alive."""
        return not self.is_here or start_of(self.pid) == self.start is not None


def this_process() -> Process:
    """Return the calling process."""
    return process_with_pid(os.getpid())


@cache
def process_with_pid(pid: int) -> Process:
    return Process(pid, socket.gethostname(), start_of(pid), time.time())


def start_of(pid: int) -> str | None:
    """Return the start of a process on this host: boot id and clock ticks since boot, or psutil's start time elsewhere.

    Unlike wall-clock time, these do not change when the clock is set. None if there is no such process, or if it is a
    zombie.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return None if fields[_STATE] in (b"Z", b"X") else f"{_boot_id()}/{fields[_START_TICKS].decode()}"
    except FileNotFoundError:
        return None if Path("/proc/self/stat").exists() else _start_by_psutil(pid)
    except (OSError, IndexError):
        return None


def open_files_limit() -> int:
    """Return how many files this process may have open (``ulimit -n``)."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def allow_more_open_files() -> None:
    """Raise that limit as far as the system allows without privileges."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # macOS reports no limit, but has one
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def describe(pid: int | None, host: str | None, since: float | None) -> str:
    """Describe a process: ``process 123 on this-host since 2026-01-31 14:05``."""
    began = f" since {time.strftime('%Y-%m-%d %H:%M', time.localtime(since))}" if since else ""
    return f"process {pid} on {host}{began}"


@cache
def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _start_by_psutil(pid: int) -> str | None:
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else str(process.create_time())
    except (psutil.Error, ValueError, OverflowError):
        return None
