"""The pages of docs/ and the example files agree with the code."""

import dataclasses
import inspect
import json
import re
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from lop_engine.experiment.code import import_file
from lop_engine.experiment.components import Component
from lop_engine.experiment.components import Metric as DescribedMetric
from lop_engine.experiment.components import Problem as DescribedProblem
from lop_engine.experiment.methods_at_boundaries import METHODS_AT_BOUNDARIES
from lop_engine.experiment.methods_of_weights import HARE_TORTOISE, PARSEVAL, SNP_KUMAR, SPECTRAL
from lop_engine.experiment.registry import METHODS, METRICS
from lop_engine.experiment.run import load_runs
from lop_engine.methods.method import Method
from lop_engine.metrics import MetricInputs
from lop_engine.networks import Network
from lop_engine.problems import Problem
from lop_engine.testing import check_file, trained
from lop_tui.cli import app
from pages.commands import all_commands
from pages.commands import build as commands_page
from pages.dashboard import build as dashboard_page
from pages.equations import METHODS as METHOD_EQUATIONS
from pages.equations import METRICS as METRIC_EQUATIONS
from pages.methods import build as methods_page
from pages.metrics import build as metrics_page
from pages.pictures import draw
from pages.site import loaded_from_elsewhere
from tests.experiment.test_own_files import own_registries
from tests.helpers import ROOT

__all__ = ["own_registries"]

DOCUMENTS = [ROOT / "README.md", ROOT / "data/README.md", *sorted((ROOT / "docs").glob("*.md"))]
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
def test_the_files_of_the_paper_have_its_protocol(name):
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
def test_every_example_file_loads_and_is_named_after_its_method_or_optimiser(path):
    spec = load_runs(path)[0].spec
    assert path.stem in (spec.method, spec.to_dict().get("opt"))


@pytest.mark.parametrize(
    "method", [HARE_TORTOISE, SNP_KUMAR, PARSEVAL, SPECTRAL, *METHODS_AT_BOUNDARIES], ids=lambda one: one.name
)
def test_a_method_has_files_of_both_protocols_that_name_the_source_of_its_values(method):
    """They differ from CBP's files only in keys of the methods, and full_reset also in the number of tasks."""
    for folder, other in (("methods", "cbp"), ("demo/methods", "demo/cbp")):
        content = json.loads((ROOT / "cfg" / folder / f"{method.name}.json").read_text())
        assert content["agent"] == method.name
        assert len(content["_comment_values"]) > 40
        protocol = json.loads((ROOT / "cfg" / f"{other}.json").read_text())
        of_method = {"agent", *method.fields.model_fields}
        of_cbp = {"agent", *METHODS["cbp"].fields.model_fields}
        ours = {key: value for key, value in content.items() if key[0] != "_" and key not in of_method}
        theirs = {key: value for key, value in protocol.items() if key[0] != "_" and key not in of_cbp}
        if method.name == "full_reset":
            theirs["num_tasks"] = ours["num_tasks"]
        assert ours == theirs


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_an_example_and_an_entry_in_the_docs(name):
    command = COMMANDS[name]
    assert command.help
    assert "Example:" in command.epilog
    assert f"lop {name}" in (ROOT / "docs/commands.md").read_text() + (ROOT / "docs/data.md").read_text()
    assert all(
        parameter.help for parameter in command.params if hasattr(parameter, "help") and parameter.name != "help"
    )


def test_every_lop_command_in_the_docs_exists():
    groups = {name.split()[0] for name in COMMANDS}
    for path in DOCUMENTS:
        for line in re.findall(r"^ +lop (.+)$|`lop ([^`]+)`", path.read_text(), re.MULTILINE):
            words = (line[0] or line[1]).split("#")[0].split()
            output = f"{path.name}: lop {' '.join(words)}"
            name = next((n for n in (" ".join(words[:2]), words[0]) if n in COMMANDS), None)
            if name is None:
                assert words in [["--help"], ["--version"], *([group] for group in groups)], output
                continue
            known = {option for p in COMMANDS[name].params for option in p.opts} | {"--help"}
            assert {word for word in words if word.startswith("--")} <= known, output


def test_every_link_in_the_docs_has_a_target():
    for path in {*DOCUMENTS, *ROOT.glob("*.md"), ROOT / "runs/README.md"}:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name} -> {target}"


def commands_of_pytest() -> list[str]:
    """Return the arguments of every `pytest ...` in the docs."""
    return [words for path in DOCUMENTS for words in re.findall(r"`pytest ([^`]+)`", path.read_text())]


def test_every_pytest_command_in_the_docs_names_tests_that_exist():
    assert len(commands_of_pytest()) > 40
    for command in commands_of_pytest():
        paths, _, chosen = command.partition(" -k ")
        names = []
        for path in map(ROOT.joinpath, paths.split()):
            assert path.exists(), command
            for file in [path] if path.is_file() else path.rglob("test_*.py"):
                names += [file.name, *re.findall(r"def (test_\w+)", file.read_text())]
        assert any(chosen.strip('"') in name for name in names), command


def slugs(path: Path) -> set[str]:
    """Return the anchors that a forge generates from a page's headings."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_anchor_in_the_docs_exists():
    for path in DOCUMENTS:
        for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", path.read_text()):
            assert anchor in slugs(path.parent / target if target else path), f"{path.name} -> {target}#{anchor}"


def test_lists_in_the_docs_follow_an_empty_line():
    """Without the empty line Python-Markdown, which builds the site, adds a list to the paragraph before it."""
    for path in (ROOT / "docs").glob("*.md"):
        text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
        assert not re.findall(r"^[A-Za-z`\[].*\n(?:[-*]|1\.) .*", text, re.MULTILINE), path.name


def test_code_in_the_docs_parses():
    for path in DOCUMENTS:
        for kind, code in re.findall(r"```(\w+)\n(.*?)```", path.read_text(), re.DOTALL):
            if kind == "python":
                compile(code, path.name, "exec")
            elif kind == "json":
                json.loads(code)
            else:
                assert kind in ("math", "toml", "sh", "bash"), f"{path.name}: {kind}"


def test_the_example_in_concepts_md_is_a_sweep_of_two_settings():
    [experiment] = re.findall(r"```json\n(.*?)```", (ROOT / "docs/concepts.md").read_text(), re.DOTALL)
    Path("cbp.json").write_text(experiment)
    assert [run.setting for run in load_runs(Path("cbp.json"), seeds=[3])] == ["step_size=0.01", "step_size=0.003"]


def test_the_command_page_of_the_site_lists_every_option():
    sections = dict(re.findall(r"^## lop ([\w\- ]+)\n(.*?)(?=^## |\Z)", commands_page(), re.DOTALL | re.MULTILINE))
    assert sections.keys() == COMMANDS.keys()
    for name, command in COMMANDS.items():
        for parameter in command.params:
            for option in (*parameter.opts, *parameter.secondary_opts):
                assert option[:2] != "--" or option == "--help" or f"`{option}" in sections[name], f"{name} {option}"
    assert "`--retries N`" in sections["run"]
    assert "| `1` |" in sections["run"]


def test_help_names_the_value_of_each_option_and_shows_no_default_for_flags():
    text = CliRunner().invoke(app, ["run", "--help"], prog_name="lop", env={"COLUMNS": "200"}).output
    assert re.search(r"--workers +N ", text)
    assert re.search(r"--device +DEVICE ", text)
    assert "run [OPTIONS] CFG...  " in text
    assert "<str>" not in text
    assert "<list" not in text
    assert "<bool>" not in text
    assert "[default: True]" not in text


@pytest.mark.parametrize("words", [[], ["data"]], ids=" ".join)
def test_help_of_a_command_with_subcommands_names_no_python_type(words):
    text = CliRunner().invoke(app, [*words, "--help"], prog_name="lop", env={"COLUMNS": "200"}).output
    assert "Usage: lop" in text
    assert "<" not in text


def test_the_usage_of_configs_shows_that_its_name_may_be_left_out():
    text = CliRunner().invoke(app, ["configs", "--help"], prog_name="lop", env={"COLUMNS": "200"}).output
    assert "configs [OPTIONS] [NAME]" in text


@pytest.mark.parametrize(
    ("html", "addresses"),
    [
        ('<script async src="https://unpkg.com/x.js"></script>', ["https://unpkg.com/x.js"]),
        ("<img alt=x src=//a.example/b.png>", ["//a.example/b.png"]),
        ('<link href="https://fonts.example/css" rel="stylesheet">', ["https://fonts.example/css"]),
        ('<link rel="preconnect" href="https://fonts.example" crossorigin>', ["https://fonts.example"]),
        ('<a href="https://doi.org/1">paper</a><script src="assets/a.js"></script><img src="a.svg">', []),
        ('<link rel="canonical" href="https://lop.example/">', []),
    ],
)
def test_addresses_that_a_page_loads_from_other_sites_are_detected(html, addresses):
    assert loaded_from_elsewhere(html) == addresses


@pytest.mark.parametrize("path", sorted((ROOT / "docs").glob("*.svg")), ids=lambda path: path.name)
def test_pictures_load_no_other_file_and_are_small(path):
    text = path.read_text()
    assert not re.findall(r"""(?:href|src)=["'](?!#)|url\((?!["']?#)|@import|<script""", text)
    assert len(text) < 2_000_000
    assert ("@keyframes" in text) == (path.name == "watch.svg")


def test_an_animation_shows_its_frames_in_turn_and_stores_equal_rows_once():
    row = [["bp ", "#ff0000", "#121212", True], ["⣿▄─", "#0000ff", "#222222", False]]
    other = [["ok    ", "#ff0000", "#121212", False]]
    picture = draw([[row, row], [other, other]], [1, 3], still=1)
    assert picture.count("<g id=") == 2
    assert picture.count("<use ") == 4
    assert "@keyframes k0{0%{visibility:visible}25.00%,to{visibility:hidden}}" in picture
    assert "@keyframes k1{0%{visibility:hidden}25.00%{visibility:visible}to{visibility:visible}}" in picture
    assert ".f1{visibility:visible}@media(prefers-reduced-motion:no-preference)" in picture
    assert ">bp</text>" in picture
    assert "⣿" not in picture  # drawn as eight dots
    assert len(re.findall(r"M[\d.]+ [\d.]+h", picture)) >= 8 + 1 + 2
    ElementTree.fromstring(picture)


def test_the_equations_of_every_method_are_typeset():
    assert METHOD_EQUATIONS.keys() == {name for name in METHODS.built_in if METHODS[name].equation}
    for latex in (*METHOD_EQUATIONS.values(), *METRIC_EQUATIONS.values()):
        assert latex.count("{") - latex.count(r"\{") == latex.count("}") - latex.count(r"\}")


def code_blocks(page: str) -> list[str]:
    """Return the Python code of a page of docs/."""
    return re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)


PULL = """
METHOD = describe.Method(name="pull", title="pull", fields=Strength, code=Pull, mixes_settings=True)
"""


def test_the_example_in_adding_a_method_md_passes_the_rules_and_clips_weights():
    code, mixing = code_blocks("adding-a-method.md")
    Path("pull.py").write_text(code.partition("METHOD =")[0] + mixing + PULL)
    check_file("pull.py", network="mlp")
    Path("clipping.py").write_text(code)
    check_file("clipping.py", clip_kappa=0.9, network="mlp")
    learner = trained("clipping.py", clip_kappa=3, step_size=1e4)
    for layer in learner.net.layers:
        assert learner.params[f"{layer.name}.weight"].detach().abs().max() <= 3 / layer.fan_in**0.5 + 1e-6
    last = learner.net.layers[-1]
    assert float(learner.params[f"{last.name}.bias"].detach().abs().max()) == pytest.approx(3 / last.fan_in**0.5)


@pytest.mark.parametrize("kind", ["network", "metric"])
def test_the_example_on_each_page_equals_the_file_that_lop_new_writes(kind):
    """`tests/cli/test_new.py` writes, checks and trains these files in an empty directory."""
    [code] = code_blocks(f"adding-a-{kind}.md")
    assert code == (ROOT / f"lop_engine/templates/my_{kind}.py").read_text()


@pytest.mark.parametrize(
    ("kind", "listed"),
    [
        ("network", {name for name in (*vars(Network), *Network.__annotations__) if name[0] != "_"} | {"__call__"}),
        ("metric", {name for name in (*MetricInputs.__dataclass_fields__, *vars(MetricInputs)) if name[0] != "_"}),
        ("metric", {field.name for field in dataclasses.fields(DescribedMetric)} - {"takes"}),
    ],
)
def test_a_page_lists_every_member(kind, listed):
    page = (ROOT / f"docs/adding-a-{kind}.md").read_text()
    members = {name for row in re.findall(r"^\| (`.*?) \|", page, re.MULTILINE) for name in re.findall(r"`(\w+)", row)}
    not_listed = {"hidden_layers", "norm_of", "names_of"} | {field.name for field in dataclasses.fields(Component)} - {
        "title",
        "needs",
    }
    assert listed - members <= not_listed


def test_the_code_in_own_components_md_works():
    [experiment] = re.findall(r"```json\n(.*?)```", (ROOT / "docs/own-components.md").read_text(), re.DOTALL)
    Path("my_redo.py").write_text((ROOT / "tests/own/my_redo.py").read_text())
    Path("mine.json").write_text(experiment)
    [run] = load_runs(Path("mine.json"), seeds=[0])
    assert (run.spec.method, run.spec.tau) == ("my_redo", 0.1)
    description, check = code_blocks("own-components.md")
    names = vars(import_file(Path("my_redo.py").resolve()))
    exec(description, names)
    assert names["METHOD"].code is names["MyReDo"]
    exec(check, {})


def test_adding_a_method_md_lists_the_hooks_in_order():
    page = (ROOT / "docs/adding-a-method.md").read_text()
    hooks = [name for name, one in vars(Method).items() if inspect.isfunction(one) and not name.startswith("_")]
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == hooks


def test_the_example_in_adding_a_problem_md_is_the_toy_package():
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


def test_adding_a_problem_md_lists_every_field_and_member():
    page = (ROOT / "docs/adding-a-problem.md").read_text()
    listed = {name for row in re.findall(r"^\| (`.*?) \|", page, re.MULTILINE) for name in re.findall(r"`(\w+)", row)}
    own = {field.name for field in dataclasses.fields(DescribedProblem)} - {
        field.name for field in dataclasses.fields(Component)
    }
    members = {name for name in (*vars(Problem), *Problem.__annotations__) if not name.startswith("_")}
    assert listed == own | members | {"fields", "provides"}


def test_methods_md_is_generated_from_the_descriptions():
    page = (ROOT / "docs/methods.md").read_text()
    assert page == methods_page(), "run: make pages"


def test_metrics_md_is_generated_from_the_docstrings():
    page = (ROOT / "docs/metrics.md").read_text()
    assert page == metrics_page(), "run: make pages"


def test_metrics_md_has_each_metric_in_one_heading():
    headings = re.findall(r"^## (.+?)(?: \(default\))?$", metrics_page(), re.MULTILINE)
    assert "rank_1, rank_2, rank_3" in headings
    assert Counter(name for heading in headings for name in heading.split(", ")) == Counter(list(METRICS))


def test_dashboard_md_lists_every_key():
    page = (ROOT / "docs/dashboard.md").read_text()
    assert page == dashboard_page(), "run: make pages"
