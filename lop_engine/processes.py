"""Processes by an identity that survives clock changes and reused process numbers."""

import os
import socket
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_STATE, _START_TICKS = 0, 19
"""Positions in /proc/<pid>/stat behind the process's name: fields 3 and 22 of proc(5)."""


@dataclass(frozen=True)
class Process:
    """One process on one host."""

    pid: int
    host: str
    start: str | None
    """When it began, as `start_of` says; the pair (pid, start) is never used twice. None if that is unknown."""
    since: float
    """About the same moment in Unix seconds, for people."""

    def __str__(self) -> str:
        return describe(self.pid, self.host, self.since)

    @property
    def token(self) -> str:
        """One word for the same process in an environment variable or on a command line."""
        return f"{self.host}:{self.pid}:{self.start}"

    @property
    def is_here(self) -> bool:
        """Whether it runs, or ran, on this host."""
        return self.host == socket.gethostname()

    @property
    def may_be_alive(self) -> bool:
        """Whether it runs now. From another host nobody can tell, so there it counts as alive."""
        return not self.is_here or start_of(self.pid) == self.start is not None


def this_process() -> Process:
    """The process that asks."""
    return _this_process(os.getpid())


@cache
def _this_process(pid: int) -> Process:
    return Process(pid, socket.gethostname(), start_of(pid), time.time())


def start_of(pid: int) -> str | None:
    """When a process of this host began: boot id and clock ticks since boot, or what psutil knows elsewhere.

    Unlike seconds of the day these do not move when the clock is set. None if there is no such process, or if it has
    ended and only waits to be reaped.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return None if fields[_STATE] in (b"Z", b"X") else f"{_boot_id()}/{fields[_START_TICKS].decode()}"
    except FileNotFoundError:
        return None if Path("/proc/self/stat").exists() else _start_by_psutil(pid)
    except (OSError, IndexError):
        return None


def describe(pid: int | None, host: str | None, since: float | None) -> str:
    """A process, for people: ``process 123 on this-host since 2026-01-31 14:05``."""
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
