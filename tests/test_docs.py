"""Documents and example files that cannot rot."""

import re
from pathlib import Path

import pytest
from typer.main import get_command

from lop_engine.spec import load_runs
from lop_tui.cli import app

ROOT = Path(__file__).parents[1]
COMMANDS = get_command(app).commands  # type: ignore[attr-defined]
README = (ROOT / "README.md").read_text()

PAPER = {
    "bp": ("bp", 2000, [0.01, 0.001, 0.0001]),
    "l2": ("l2", 5000, [0.03]),
    "snp": ("snp", 5000, [0.01]),
    "cbp": ("cbp", 5000, [0.01]),
    "cbp2": ("cbp2", 5000, [0.01]),
    "linear": ("linear", 2000, [0.01]),
}


@pytest.mark.parametrize("name", PAPER)
def test_the_paper_s_files_are_the_paper_s_protocol(name):
    method, num_tasks, step_sizes = PAPER[name]
    runs = load_runs(ROOT / "cfg" / f"{name}.json")
    assert len(runs) == 30 * len(step_sizes)
    assert [run.spec.step_size for run in runs[::30]] == step_sizes
    for spec in {run.spec for run in runs}:
        assert (spec.method, spec.num_tasks, spec.num_showings, spec.mini_batch_size) == (method, num_tasks, 250, 100)
        assert (spec.train_images, spec.test_images, spec.width, spec.metrics_every) == (600, 100, 1.0, 1)
        assert (spec.momentum, spec.new_heads, spec.dataset) == (0.9, True, "imagenet32")


@pytest.mark.parametrize("path", sorted((ROOT / "cfg").rglob("*.json")), ids=str)
def test_every_example_file_loads_and_is_what_its_name_says(path):
    assert load_runs(path)[0].spec.method == path.stem


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_an_example_and_a_place_in_the_readme(name):
    command = COMMANDS[name]
    assert command.help
    assert "Example:" in command.epilog
    assert f"lop {name}" in README
    assert all(
        parameter.help for parameter in command.params if hasattr(parameter, "help") and parameter.name != "help"
    )


def test_every_lop_command_in_the_documents_exists():
    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for line in re.findall(r"^ +lop (.+)$|`lop ([^`]+)`", path.read_text(), re.MULTILINE):
            words = (line[0] or line[1]).split()
            assert words[0] in {*COMMANDS, "--help", "--version"}, f"{path.name}: lop {' '.join(words)}"
            if words[0] in COMMANDS:
                known = {option for p in COMMANDS[words[0]].params for option in p.opts} | {"--help"}
                assert {word for word in words if word.startswith("--")} <= known, f"{path.name}: lop {' '.join(words)}"


def test_every_link_in_the_documents_leads_somewhere():
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "data/README.md", ROOT / "runs/README.md"]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name} -> {target}"
