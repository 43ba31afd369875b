"""docs/paper.md: its files and commands, on made records of the runs that its files describe."""

import re
import shlex
import shutil
import subprocess

import pytest

from lop_engine.experiment.run import load_runs
from tests.cli.test_views import lop
from tests.helpers import ROOT, append_tasks, make_metrics, make_run

PAGE = (ROOT / "docs/paper.md").read_text()
COMMANDS = re.findall(r"^    lop (.+)$", PAGE, re.MULTILINE)
FILES = dict(re.findall(r"^`(\w+\.json)`.*?```json\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL))
HOW_WELL = {0.1: "snp", 0.03: "l2", 0.01: "bp"}
"""By step size, whose curves the recorded runs have."""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A directory with the page's files, and records of the runs that they make."""
    directory = tmp_path_factory.mktemp("page")
    for name, content in FILES.items():
        (directory / name).write_text(content)
        for run in load_runs(directory / name, seeds=list(range(6))):
            spec = run.spec.to_dict()
            made = make_run(directory / "runs", run.experiment, run.seed, setting=run.setting, tasks_done=0, spec=spec)
            curves = "cbp" if run.experiment == "cbp" else HOW_WELL[run.spec.step_size]
            append_tasks(made, make_metrics(curves, run.spec.num_tasks, run.seed), 0, run.spec.num_tasks)
    run = make_run(directory / "elsewhere/runs", "bp", 6, setting="step_size=0.1", spec=spec_of_bp(directory))
    assert run.path.exists()
    return directory


def spec_of_bp(directory):
    """The page's backprop with its first step size."""
    return load_runs(directory / "bp.json", seeds=[6])[0].spec.to_dict()


@pytest.mark.long
def test_every_command_of_the_page_runs(place, monkeypatch):
    monkeypatch.chdir(place)
    assert "54 runs" in lop(*shlex.split(COMMANDS[0]), "--dry-run", "--no-estimate", "--runs-dir", "elsewhere")
    output = {command: lop(*shlex.split(command)) for command in COMMANDS[1:]}
    assert "chosen on seeds 0-2" in output["best"]
    for figure in ("sensitivity.pdf", "grid.pdf", "methods.pdf"):
        assert (place / figure).read_bytes().startswith(b"%PDF")
    assert (place / "table.tex").read_text().startswith(r"\documentclass")
    assert (place / "rows.tex").read_text().startswith(r"\begin{tabular}")
    if shutil.which("pdflatex"):  # else tests/cli/test_paper.py has parsed it
        command = ["pdflatex", "-interaction=batchmode", "-halt-on-error", "table.tex"]
        assert subprocess.run(command, cwd=place, capture_output=True, check=False).returncode == 0
