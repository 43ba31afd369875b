"""Child processes that time jobs: asked here, without torch."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import IO, Any, Self

from lop_engine.errors import LaunchError
from lop_engine.experiment.spec import Spec
from lop_engine.launch import worker_environment
from lop_engine.machine.devices import place
from lop_engine.runs.code import files_of

GRACE_S = 10


class Children:
    """So many child processes that do the same at the same time. A context: they end with it.

    Args:
        as_typed: without a worker's environment (its allocator settings), as a script that anybody starts.
    """

    def __init__(self, devices: Sequence[str], threads: int, as_typed: bool = False) -> None:
        self.devices = list(devices)
        environment = dict(os.environ) if as_typed else worker_environment(threads)
        self._files = ExitStack()
        self._said = [self._log() for _ in self.devices]
        self._processes = [
            self._start(device, threads, environment, said)
            for device, said in zip(self.devices, self._said, strict=True)
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            assert process.stdin
            with suppress(OSError):  # what a child did not read any more
                process.stdin.close()  # the sign to end
        for process in self._processes:
            assert process.stdout
            try:
                process.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()
        self._files.close()

    def hello(self) -> dict[str, Any]:
        """Wait until they are ready; answer with torch's version and the GPU's name."""
        return self._ask(do="hello")[0]

    def make(self, name: str, job: str, spec: Spec, num_seeds: int = 1) -> dict[str, Any]:
        """Prepare a job (`jobs.Jobs`) under a name. Raises LaunchError if it cannot be done."""
        files = [group[0]["path"] for group in files_of(spec)]
        return self._ask(do="make", name=name, job=job, spec=spec.to_dict(), num_seeds=num_seeds, files=files)[0]

    def run(self, name: str, count: int = 1) -> float:
        """Mean milliseconds of a job, done `count` times by each child at once."""
        answers = self._ask(do="run", name=name, count=count)
        return sum(answer["ms"] for answer in answers) / len(answers)

    def memory(self) -> dict[str, Any]:
        """The most that one of them has held so far, in bytes."""
        return self._ask(do="memory")[0]

    def _start(self, device: str, threads: int, environment: dict[str, str], said: IO[str]) -> subprocess.Popen[str]:
        device, more = place(device)
        command = [sys.executable, "-P", "-m", "lop_engine.bench.child", "--device", device, "--threads", str(threads)]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=said, text=True, env=environment | more)

    def _log(self) -> IO[str]:
        return self._files.enter_context(tempfile.TemporaryFile("w+", errors="replace"))

    def _ask(self, **request: Any) -> list[dict[str, Any]]:
        for process in self._processes:
            assert process.stdin
            with suppress(BrokenPipeError):
                process.stdin.write(json.dumps(request) + "\n")
                process.stdin.flush()
        answers = [self._answer(*child) for child in zip(self._processes, self._said, strict=True)]
        for answer in answers:
            if "error" in answer:
                raise LaunchError(f"measuring: {answer['error']}")
        return answers

    def _answer(self, process: subprocess.Popen[str], said: IO[str]) -> dict[str, Any]:
        assert process.stdout
        line = process.stdout.readline()
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        said.seek(0)
        lines = said.read().strip().splitlines()
        return {"error": f"the child process ended: {lines[-1] if lines else 'it said nothing'}"}
