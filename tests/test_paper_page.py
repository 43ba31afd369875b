"""The files and commands of docs/paper.md, run on generated records."""

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
CURVES_OF_STEP_SIZE = {0.1: "snp", 0.03: "l2", 0.01: "bp"}
"""The method whose generated curves the runs of a step size have."""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a directory with the files of the page and generated records of their runs."""
    directory = tmp_path_factory.mktemp("page")
    for name, content in FILES.items():
        (directory / name).write_text(content)
        for run in load_runs(directory / name, seeds=list(range(6))):
            spec = run.spec.to_dict()
            made = make_run(directory / "runs", run.experiment, run.seed, setting=run.setting, tasks_done=0, spec=spec)
            curves = "cbp" if run.experiment == "cbp" else CURVES_OF_STEP_SIZE[run.spec.step_size]
            append_tasks(made, make_metrics(curves, run.spec.num_tasks, run.seed), 0, run.spec.num_tasks)
    run = make_run(directory / "elsewhere/runs", "bp", 6, setting="step_size=0.1", spec=spec_of_bp(directory))
    assert run.path.exists()
    return directory


def spec_of_bp(directory):
    """Return the spec of backprop on the page with its first step size."""
    return load_runs(directory / "bp.json", seeds=[6])[0].spec.to_dict()


@pytest.mark.long
def test_every_command_of_paper_md_runs(place, monkeypatch):
    monkeypatch.chdir(place)
    assert "54 runs" in lop(*shlex.split(COMMANDS[0]), "--dry-run", "--no-estimate", "--runs-dir", "elsewhere")
    output = {command: lop(*shlex.split(command)) for command in COMMANDS[1:]}
    assert "chosen on seeds 0-2" in output["best"]
    for figure in ("sensitivity.pdf", "grid.pdf", "methods.pdf"):
        assert (place / figure).read_bytes().startswith(b"%PDF")
    assert (place / "table.tex").read_text().startswith(r"\documentclass")
    assert (place / "rows.tex").read_text().startswith(r"\begin{tabular}")
    if shutil.which("pdflatex"):  # without it, tests/cli/test_paper.py still parses such tables
        command = ["pdflatex", "-interaction=batchmode", "-halt-on-error", "table.tex"]
        assert subprocess.run(command, cwd=place, capture_output=True, check=False).returncode == 0
