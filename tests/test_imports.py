"""Modules that must start fast import no slow packages, checked in a fresh interpreter."""

import subprocess
import sys

import pytest


def modules_after(code: str) -> set[str]:
    script = f"{code}\nimport sys; print('\\n'.join(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    return set(answer.stdout.split())


HELP = """
import contextlib, io, sys
sys.argv = ["lop", *{words}]
from lop_tui.cli import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main()
"""


@pytest.mark.parametrize(
    ("code", "never"),
    [
        *(
            (HELP.format(words=words), {"torch", "textual", "matplotlib", "pydantic", "numpy", "plotext"})
            for words in (["--help"], ["run", "--help"], ["plot", "-h"], ["resume", "--help"], ["compare", "--help"])
        ),
        ("import lop_tui.dashboard.app", {"torch", "matplotlib"}),
        ("import lop_tui.words.runs, lop_tui.commands.reading", {"torch", "textual", "matplotlib"}),
        ("import lop_tui.words.components", {"torch", "textual", "matplotlib", "numpy"}),
        ("import lop_tui.commands.starting, lop_tui.commands.resuming", {"torch", "textual", "matplotlib"}),
        ("import lop_engine.launch, lop_engine.datasets, lop_engine.analysis", {"torch", "rich", "typer", "textual"}),
        ("import lop_engine.worker.process", {"torch", "rich", "typer", "textual", "matplotlib"}),
    ],
)
@pytest.mark.long
def test_modules_that_must_start_fast_import_no_slow_packages(code, never):
    assert not modules_after(code) & never
