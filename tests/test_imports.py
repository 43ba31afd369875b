"""What starts fast stays fast: looked at in a fresh interpreter, where the import contracts see only the code."""

import subprocess
import sys

import pytest


def modules_after(code: str) -> set[str]:
    script = f"{code}\nimport sys; print('\\n'.join(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    return set(answer.stdout.split())


HELP = """
import contextlib, io, sys
sys.argv = ["lop", "--help"]
from lop_tui.cli import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main()
"""


@pytest.mark.parametrize(
    ("code", "never"),
    [
        (HELP, {"torch", "textual", "matplotlib", "pydantic", "numpy", "plotext"}),
        ("import lop_tui.dashboard.app", {"torch", "matplotlib"}),
        ("import lop_tui.commands.status", {"torch", "textual", "matplotlib"}),
        ("import lop_tui.commands.components", {"torch", "textual", "matplotlib", "numpy"}),
        ("import lop_tui.commands.run", {"torch", "textual", "matplotlib"}),
        ("import lop_engine.launch, lop_engine.datasets, lop_engine.analysis", {"torch", "rich", "typer", "textual"}),
        ("import lop_engine.worker.process", {"torch", "rich", "typer", "textual", "matplotlib"}),
    ],
)
def test_nothing_heavy_comes_along(code, never):
    assert not modules_after(code) & never
