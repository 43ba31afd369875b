"""Start a real `lop watch --web` for tests of its pages."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

PATIENCE_S = 60


@dataclass(frozen=True)
class Served:
    """The process and the address of a server."""

    address: str
    """The address that it printed, with its token."""
    process: subprocess.Popen[str]

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def origin(self) -> str:
        """``http://127.0.0.1:8000``"""
        return self.address.partition("/?")[0]

    @property
    def port(self) -> int | None:
        return urlsplit(self.address).port

    @property
    def token(self) -> str:
        return self.address.partition("token=")[2]


@contextmanager
def serving(runs_dir: Path, *options: str) -> Iterator[Served]:
    """Serve the dashboard of `runs_dir` on a free port.

    If it still runs at the end, check that Ctrl-C ends it without output.
    """
    command = [sys.executable, "-m", "lop_tui", "watch", str(runs_dir), "--web", "--web-port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout
            line = process.stdout.readline()
            address = re.search(r"http://127\.0\.0\.1:\d+/\?token=[\w-]{32}(?= )", line)
            assert address, line
            assert ("read-only" in line) is ("--web-write" not in options)
            yield Served(address.group(), process)
        finally:
            has_ended = process.poll() is not None
            process.send_signal(signal.SIGINT)
            rest, _ = process.communicate(timeout=PATIENCE_S)
        assert "Traceback" not in rest, rest
        assert has_ended or process.returncode == 0
