"""A user's own components: files beside the experiment file, without changes to lop's source."""

import html
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BeforeValidator

from lop_engine.analysis import group_runs
from lop_engine.errors import ConfigError, DataError
from lop_engine.experiment import child, component_files, lookup
from lop_engine.experiment.components import Component
from lop_engine.experiment.fields import Fields, fields_of, schema_of
from lop_engine.experiment.registry import METHODS, METRICS, NETWORKS, OPTIMIZERS, PROBLEMS, REGISTRIES
from lop_engine.experiment.run import load_runs
from lop_engine.files import source_checksum
from lop_engine.launch import prepare_run_dirs, resolve_runs
from lop_engine.runs.directory import RunDir
from lop_engine.runs.reading import RunsReader
from lop_engine.runs.store import read_table
from lop_tui.cli import main
from lop_tui.report.configuration import own_sources, recipes
from lop_tui.report.contents import how_to_run_again
from lop_tui.report.page import Page, as_html
from tests.helpers import ROOT

OWN = Path(__file__).parents[1] / "own"
MINE = {
    "problem": "./my_problem.py",
    "network": "./my_mlp.py",
    "agent": ["./my_redo.py", "./my_l2_init.py"],
    "step_size": 0.01,
    "tau": 0.5,
    "period": 5,
    "num_tasks": 3,
    "examples": 10,
    "metrics": ["online_error", "dormant_proportion", "./my_metric.py"],
}
VIEWS = (
    ["status"],
    ["list"],
    ["watch", "--once"],
    ["plot", "all", "-o", "all.png"],
    ["compare", "mine/agent=my_redo", "mine/agent=my_l2_init"],
    ["report", "-o", "report.html"],
    ["export", "--format", "csv", "-o", "all.csv"],
    ["show", "mine/agent=my_redo/0"],
    ["check"],
    ["doctor"],
)


@pytest.fixture(autouse=True)
def own_registries(monkeypatch):
    """Remove the components that a test registered or read."""
    monkeypatch.setattr(lookup, "from_run_json", {kind: {} for kind in lookup.from_run_json})
    before = {key: dict(registry.by_name) for key, registry in REGISTRIES.items()}
    yield
    component_files.answers.clear()
    child.close()
    for key, known in before.items():
        REGISTRIES[key].by_name = known


def lop(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "lop_tui", *arguments]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"COLUMNS": "160"})
    if check:
        assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer


@pytest.fixture
def look(monkeypatch, capsys):
    """Run a viewing command in this process, which has not loaded the files; return its output."""

    def look_at(command) -> str:
        monkeypatch.setattr(sys, "argv", ["lop", *command])
        monkeypatch.setenv("COLUMNS", "160")
        with pytest.raises(SystemExit) as ended:
            main()
        answer = capsys.readouterr()
        assert ended.value.code in (0, 3), answer  # 3: lop check finds no published results
        return answer.out

    return look_at


def write(**changes) -> None:
    for path in OWN.glob("my_*.py"):
        shutil.copy(path, path.name)
    content = {key: value for key, value in (MINE | changes).items() if value is not None}
    Path("mine.json").write_text(json.dumps(content))


def records(run_dir: RunDir) -> list[dict]:
    return [{key: value for key, value in one.items() if key != "seconds"} for one in read_table(run_dir.tasks_json)]


@pytest.mark.long
def test_components_of_five_files_train_and_appear_in_all_views_also_after_their_removal(look):
    assert all(len(path.read_text().splitlines()) <= 60 for path in OWN.glob("my_*.py"))
    write()
    lop("run", "mine.json", "--seeds", "2")
    views = {command[0]: look(command) for command in VIEWS}
    assert "4 finished" in views["watch"]
    for what in ("squared error", "my_redo", "my_l2_init"):
        assert what in views["list"] + views["compare"]
    assert "large weights" in views["show"]
    assert "large_weights" in Path("all.csv").read_text().splitlines()[0]
    assert "accuracy" not in " ".join(views.values()).replace("test_accuracy", "")
    pictures = Path("report.html").read_bytes(), Path("all.csv").read_bytes()
    for path in Path().glob("my_*.py"):
        path.unlink()
    there = Path("elsewhere")
    there.mkdir()
    shutil.copytree("runs", there / "runs")
    os.chdir(there)
    for command in VIEWS[:-1]:
        if command[0] not in ("show", "report", "list"):  # these show paths and times
            assert look(command) == views[command[0]], command
    assert Path("all.csv").read_bytes() == pictures[1]


@pytest.mark.long
def test_a_viewing_command_never_executes_a_file(look):
    write(num_tasks=1)
    lop("run", "mine.json", "--seeds", "1")
    for name in ("my_redo.py", "my_problem.py"):
        path = Path(name)
        path.write_text(f"open({str(Path('executed').absolute())!r}, 'a').write('x')\n" + path.read_text())
    for command in VIEWS:
        look(command)
        assert not Path("executed").exists(), command


@pytest.mark.parametrize(
    ("content", "value", "message"),
    [
        ("import nonsense", "./mine.py", "line 1: ModuleNotFoundError: No module named 'nonsense'"),
        ("x = 1\ny = (", "./mine.py", "line 2: SyntaxError"),
        ("x = 1\nraise SystemExit(3)", "./mine.py", "line 2: SystemExit: 3"),
        ("x = 1", "./mine.py", "describes no component"),
        (None, "./mime.py", 'No such file or directory; did you mean "mine.py"?'),
        ("{redo}", "./mine.py:other", "describes no method other (there are agent my_redo)"),
        ("{redo}\nB = describe.Method(name='b', title='b', code=MyReDo)", "./mine.py", "describes several methods"),
        ("{metric}", "./mine.py", "describes no method (there are metrics large_weights)"),
        (
            "{redo}\nMETHOD = describe.Method(name='redo', title='x', code=MyReDo)",
            "./mine.py",
            "lop has one of that name; choose another name",
        ),
    ],
)
@pytest.mark.long
def test_a_file_that_cannot_be_used_is_refused_in_one_line(content, value, message):
    texts = {"{redo}": (OWN / "my_redo.py").read_text(), "{metric}": (OWN / "my_metric.py").read_text()}
    if content is None:
        Path("mine.py").write_text("")
    else:
        for name, text in texts.items():
            content = content.replace(name, text)
        Path("mine.py").write_text(content)
    Path("mine.json").write_text(json.dumps({"agent": value, "step_size": 0.1, "num_tasks": 1, "num_showings": 1}))
    with pytest.raises(ConfigError) as refused:
        load_runs(Path("mine.json"), seeds=[0])
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_whose_import_never_ends_is_given_up(monkeypatch):
    Path("mine.py").write_text("while True: pass")
    Path("mine.json").write_text(json.dumps({"agent": "./mine.py", "step_size": 0.1, "num_tasks": 1}))
    monkeypatch.setattr(child, "LIMIT_S", 1.0)
    with pytest.raises(ConfigError, match="cannot be imported: not done after 1 s"):
        load_runs(Path("mine.json"), seeds=[0])


def test_a_component_path_is_relative_to_the_experiment_file_and_may_name_a_component():
    Path("there").mkdir()
    redo = (OWN / "my_redo.py").read_text()
    Path("there/two.py").write_text(f"{redo}\nB = describe.Method(name='b', title='B', fields=Keys, code=MyReDo)\n")
    experiment = {"agent": ["./two.py:b", "./two.py:my_redo"], "step_size": 0.1, "num_tasks": 1, "num_showings": 1}
    Path("there/mine.json").write_text(json.dumps(experiment))
    assert [run.spec.method for run in load_runs(Path("there/mine.json"), seeds=[0])] == ["b", "my_redo"]


def test_two_files_with_the_same_name_are_refused():
    redo = (OWN / "my_redo.py").read_text()
    for name in ("one", "two"):
        Path(f"{name}.py").write_text(redo)
    experiment = {"agent": ["./one.py", "./two.py"], "step_size": 0.1, "num_tasks": 1, "num_showings": 1}
    Path("mine.json").write_text(json.dumps(experiment))
    with pytest.raises(ConfigError, match=r"one\.py and .*two\.py: both describe method my_redo; rename one"):
        load_runs(Path("mine.json"), seeds=[0])


def described(*names: str, directory: str = ".") -> list[Component]:
    """Return the first component of each file."""
    paths = [Path(directory, name).resolve() for name in names]
    component_files.describe_files(paths)
    return [component_files.register(path, source_checksum(path.read_bytes()))[0] for path in paths]


def files_of(component: Component) -> list[str]:
    return [os.path.relpath(module.path) for module in component.modules]


def test_the_files_of_a_component_include_late_imports_and_no_unrelated_files():
    lines = "import helper\ndef later():\n    from parts.deep import thing\n    import importlib\n"
    Path("a.py").write_text(f"{lines}{describing('a')}")
    Path("b.py").write_text(f"import helper\n{describing('b')}")
    Path("helper.py").write_text("")
    Path("unrelated.py").write_text("")
    Path("parts").mkdir()
    Path("parts/__init__.py").write_text("")
    Path("parts/deep.py").write_text("from .other import thing\nfrom . import more")
    for name in ("other", "more"):
        Path(f"parts/{name}.py").write_text("thing = 1")
    a, b = described("a.py", "b.py")
    inner = [f"parts/{name}.py" for name in ("__init__", "deep", "more", "other")]
    assert files_of(a) == ["a.py", "helper.py", *inner]
    assert files_of(b) == ["b.py", "helper.py"]


def test_files_in_two_directories_import_their_own_modules_of_the_same_name():
    for name in ("one", "two"):
        Path(name).mkdir()
        Path(name, "mine.py").write_text(f"from helper import NAME\n{describing('NAME', quoted=False)}")
        Path(name, "helper.py").write_text(f"NAME = 'of_{name}'")
    one, two = described("one/mine.py", "two/mine.py")
    assert (one.name, two.name) == ("of_one", "of_two")
    assert files_of(two) == ["two/mine.py", "two/helper.py"]


def test_the_files_of_a_component_exclude_lop_s_source_beside_it(tmp_path):
    (tmp_path / "lop_engine").symlink_to(ROOT / "lop_engine")
    (tmp_path / "mine.py").write_text(describing("mine"))
    command = [
        sys.executable,
        "-c",
        "from tests.experiment.test_own_files import *; print(files_of(described('mine.py')[0]))",
    ]
    answer = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"}, capture_output=True, text=True
    )
    assert answer.stdout.strip() == "['mine.py']", answer.stderr


def describing(name: str, quoted: bool = True) -> str:
    """Return the lines of a file that describe a method."""
    call = f"Method(name={repr(name) if quoted else name}, title='x', code=object)"
    return f"from lop_engine.experiment.components import Method\nMETHOD = {call}\n"


def test_functions_in_a_description_are_called_in_the_child_process():
    content = (OWN / "my_problem.py").read_text()
    assert 'examples_per_task="examples"' in content
    changed = content.replace(
        'examples_per_task="examples"', "examples_per_task=lambda spec: 3 * spec.examples, data=look"
    )
    Path("my_problem.py").write_text(changed.replace("PROBLEM =", f"{LOOK}\nPROBLEM ="))
    experiment = {"problem": "./my_problem.py", "agent": "bp", "step_size": 0.1, "num_tasks": 2, "mini_batch_size": 1}
    Path("mine.json").write_text(json.dumps(experiment | {"examples": [10, 20], "num_showings": 1}))
    runs = load_runs(Path("mine.json"), seeds=[0])
    assert [run.spec.steps_per_task for run in runs] == [30, 60]
    assert resolve_runs(runs).images == ["numbers"]
    Path("mine.json").write_text(json.dumps(experiment | {"examples": 13, "num_showings": 1}))
    with pytest.raises(DataError, match="thirteen examples are not to be had"):
        resolve_runs(load_runs(Path("mine.json"), seeds=[0]))


LOOK = """
def look(spec, seeds):
    from lop_engine.datasets import Data
    from lop_engine.errors import DataError
    if spec.examples == 13:
        raise DataError("thirteen examples are not to be had")
    return Data(spec, "numbers")
"""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("title='x'", "title=3"),
        ("title='x'", "title='x', source=b'x'"),
        ("name='mine'", "name=''"),
        ("title='x'", "title='x', needs='labels'"),
    ],
)
def test_a_description_with_wrong_types_is_refused_in_one_line(change, message):
    Path("mine.py").write_text(describing("mine").replace(change, message))
    with pytest.raises(ConfigError, match=r"mine\.py: ") as refused:
        described("mine.py")
    assert "\n" not in str(refused.value)


def test_own_keys_keep_bounds_defaults_and_choices_across_processes():
    described = [one for registry in (PROBLEMS, NETWORKS, METHODS, OPTIMIZERS, METRICS) for one in registry.values()]
    for fields in {one.fields for one in described}:
        if fields.__pydantic_decorators__.field_validators:
            continue  # its own validators, which only workers run
        rebuilt = fields_of("rebuilt", json.loads(json.dumps(schema_of(fields))))
        assert list(rebuilt.model_fields) == list(fields.model_fields)
        for key, field in fields.model_fields.items():
            assert rebuilt.model_fields[key].description == field.description
            if any(isinstance(one, BeforeValidator) and one.func.__name__ == "_layered" for one in field.metadata):
                continue  # its own validator, which only workers run
            for value in (field.default, -1, 0, 0.5, 1, 2, 5e3, 1e10, "x", True, None, [1], "relu", "contribution"):
                assert accepts(rebuilt, key, value) == accepts(fields, key, value), (fields, key, value)


def accepts(fields: type[Fields], key: str, value: object) -> bool:
    try:
        fields(**{key: value})
    except ValueError:
        return False
    return True


def test_a_file_changed_within_a_second_is_executed_in_its_new_form():
    """This also holds for modules beside it. Python's byte code cache compares only size and modification second."""
    code = (
        "from pathlib import Path; from lop_engine.experiment.code import import_file; "
        "mine = import_file(Path('mine.py').resolve()); print(mine.OWN, mine.beside.TOO)"
    )
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": ""}
    for value in (1, 2):
        for path, text in (("mine.py", f"import beside\nOWN = {value}\n"), ("beside.py", f"TOO = {value}\n")):
            Path(path).write_text(text)
            os.utime(path, (1e9, 1e9))
        command = [sys.executable, "-P", "-c", code]
        answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
        assert answer.stdout == f"{value} {value}\n"


def test_the_files_in_a_report_reproduce_the_runs():
    """This works without the original files and runs, and with a package beside the file."""
    write(agent=["./my_redo.py", "bp"], tau=None, period=None, num_tasks=1)
    Path("parts").mkdir()
    Path("parts/more.py").write_text("NAME = 'more & <more>'\n")
    Path("my_redo.py").write_text(f"from parts.more import NAME\n{Path('my_redo.py').read_text()}")
    prepare_run_dirs(Path("runs"), load_runs(Path("mine.json"), seeds=[0, 1]))
    for path in (*Path().glob("my_*.py"), *Path("parts").glob("*.py")):
        path.unlink()
    groups = group_runs(RunsReader(Path("runs")).read().runs)
    files, sources = recipes(groups), own_sources(groups)
    page = html.unescape(as_html(Page("", "", [how_to_run_again(groups)], {})))
    assert all(content in page for content in (*sources.values(), *(one.content for one in files)))
    again = Path("again")
    (again / "parts").mkdir(parents=True)
    for name, content in {**sources, **{one.file_name: one.content for one in files}}.items():
        (again / name).write_text(content)
    for registry in REGISTRIES.values():
        registry.by_name = {name: registry[name] for name in registry.built_in}
    methods = {run.spec.method for one in files for run in load_runs(again / one.file_name, seeds=[0])}
    assert methods == {"my_redo", "bp"}
