"""Documents and example files that cannot rot."""

import dataclasses
import inspect
import re
import sys
import types

import pytest
import torch
from typer.main import get_command

from lop_engine.experiment import methods as described
from lop_engine.experiment.components import Component
from lop_engine.experiment.components import Problem as DescribedProblem
from lop_engine.experiment.registry import METHODS
from lop_engine.experiment.run import load_runs
from lop_engine.experiment.spec import Spec
from lop_engine.methods.method import Method
from lop_engine.problems import Problem
from lop_engine.training.learner import Learner
from lop_tui.cli import app
from tests.dashboard_document import build as dashboard_page
from tests.helpers import ROOT
from tests.methods_document import build as methods_page
from tests.metrics_document import build as metrics_page

DOCUMENTS = [ROOT / "README.md", ROOT / "data/README.md", *sorted((ROOT / "docs").glob("*.md"))]
README = (ROOT / "README.md").read_text()


def all_commands() -> dict[str, object]:
    """Every command by the words that call it: ``run``, ``data import``."""
    found: dict[str, object] = {}
    for name, command in get_command(app).commands.items():
        found |= {f"{name} {sub}": one for sub, one in getattr(command, "commands", {}).items()} or {name: command}
    return found


COMMANDS = all_commands()

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
        assert (spec.train_images, spec.test_images, spec.metrics_every) == (0, 0, 1)
        assert name == "linear" or spec.width == 1.0
        assert spec.curvature_every == 0
        assert (spec.momentum, spec.new_heads, spec.dataset) == (0.9, True, "imagenet32")


@pytest.mark.parametrize("path", sorted((ROOT / "cfg").rglob("*.json")), ids=str)
def test_every_example_file_loads_and_is_what_its_name_says(path):
    assert load_runs(path)[0].spec.method == path.stem


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_an_example_and_a_place_in_the_readme(name):
    command = COMMANDS[name]
    assert command.help
    assert "Example:" in command.epilog
    assert f"lop {name}" in README + (ROOT / "docs/data.md").read_text()
    assert all(
        parameter.help for parameter in command.params if hasattr(parameter, "help") and parameter.name != "help"
    )


def test_every_lop_command_in_the_documents_exists():
    groups = {name.split()[0] for name in COMMANDS}
    for path in DOCUMENTS:
        for line in re.findall(r"^ +lop (.+)$|`lop ([^`]+)`", path.read_text(), re.MULTILINE):
            words = (line[0] or line[1]).split("#")[0].split()
            said = f"{path.name}: lop {' '.join(words)}"
            name = next((n for n in (" ".join(words[:2]), words[0]) if n in COMMANDS), None)
            if name is None:
                assert words in [["--help"], ["--version"], *([group] for group in groups)], said
                continue
            known = {option for p in COMMANDS[name].params for option in p.opts} | {"--help"}
            assert {word for word in words if word.startswith("--")} <= known, said


def test_every_link_in_the_documents_leads_somewhere():
    for path in {*DOCUMENTS, *ROOT.glob("*.md"), ROOT / "runs/README.md"}:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name} -> {target}"


def test_the_example_of_adding_a_method_works(monkeypatch):
    page = (ROOT / "docs/adding-a-method.md").read_text()
    module_code, description = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    named = vars(described).copy()
    exec(description, named)
    monkeypatch.setattr(described, "WeightClipping", named["WeightClipping"], raising=False)
    method = named["WEIGHT_CLIPPING"]
    monkeypatch.setitem(METHODS._known, method.name, method)
    module = types.ModuleType(method.code.partition(":")[0])
    exec(module_code, module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    spec = Spec(agent="weight_clipping", clip_kappa=3, step_size=1e4, num_tasks=1, num_showings=1, width=0.125)
    learner = Learner(spec, [0, 1], torch.device("cpu"))
    torch.manual_seed(0)
    for _ in range(3):
        learner.step(torch.randn(2, 10, 3, 32, 32), torch.randint(0, 2, (2, 10)))
    for layer in learner.net.layers:
        assert learner.params[f"{layer.name}.weight"].detach().abs().max() <= 3 / layer.fan_in**0.5 + 1e-6
    assert float(learner.params["fc3.bias"].detach().abs().max()) == pytest.approx(
        3 / learner.net.layers[-1].fan_in ** 0.5
    )


def test_the_page_of_adding_a_method_lists_the_hooks_in_their_order():
    page = (ROOT / "docs/adding-a-method.md").read_text()
    hooks = [name for name, one in vars(Method).items() if inspect.isfunction(one) and not name.startswith("_")]
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == hooks


def test_the_example_of_adding_a_problem_is_the_package_that_tests_train():
    page = (ROOT / "docs/adding-a-problem.md").read_text()
    package = ROOT / "tests/toy_package"
    sources = [file.read_text() for file in package.rglob("*.py")]
    blocks = re.findall(r"```python\n(.*?)\n```", page, re.DOTALL)
    assert len(blocks) == 4
    for block in blocks:
        assert any(block in source for source in sources), block
    points = (package / "toys-1.0.dist-info/entry_points.txt").read_text()
    for line in re.findall(r'^(\w+) = "(.*)"$', page, re.MULTILINE):
        assert " = ".join(line) in points


def test_the_page_of_adding_a_problem_lists_every_field_and_member():
    page = (ROOT / "docs/adding-a-problem.md").read_text()
    listed = {name for row in re.findall(r"^\| (`.*?) \|", page, re.MULTILINE) for name in re.findall(r"`(\w+)", row)}
    own = {field.name for field in dataclasses.fields(DescribedProblem)} - {
        field.name for field in dataclasses.fields(Component)
    }
    members = {name for name in (*vars(Problem), *Problem.__annotations__) if not name.startswith("_")}
    assert listed == own | members | {"fields", "provides"}


def test_the_page_of_methods_is_the_descriptions():
    page = (ROOT / "docs/methods.md").read_text()
    assert page == methods_page(), "python -m tests.methods_document > docs/methods.md"


def test_the_page_of_metrics_is_the_docstrings():
    page = (ROOT / "docs/metrics.md").read_text()
    assert page == metrics_page(), "python -m tests.metrics_document > docs/metrics.md"


def test_the_page_of_the_dashboard_tells_every_key():
    page = (ROOT / "docs/dashboard.md").read_text()
    assert page == dashboard_page(), "python -m tests.dashboard_document"
