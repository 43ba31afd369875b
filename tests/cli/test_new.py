"""`lop new`: the written files pass their test and train, using only the installed packages."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lop_engine.runs.directory import find_runs
from lop_tui.cli import main
from tests.experiment.test_own_files import lop, own_registries

__all__ = ["own_registries"]

KINDS = {"method": "agent", "problem": "problem", "network": "network", "metric": "metrics"}


@pytest.fixture
def new(monkeypatch, capsys):
    """Run `lop new`; return its exit status and what it prints."""

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["lop", "new", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        output = capsys.readouterr()
        return int(ended.value.code or 0), output.out + output.err

    return run


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.long
def test_written_files_pass_their_test_train_and_appear_in_views(kind, new):
    name = f"fancy_{kind}2"
    status, output = new(kind, name)
    assert status == 0
    assert sorted(path.name for path in Path().iterdir()) == sorted([f"{name}.json", f"{name}.py", f"test_{name}.py"])
    assert f'"{KINDS[kind]}": ' in output
    for path in Path().iterdir():
        assert "my_" not in path.read_text()
        assert "My" not in path.read_text()
    [command] = [line.split("  ")[1] for line in output.splitlines() if "pytest" in line]
    assert command.split()[1:] == ["-m", "pytest", f"test_{name}.py"]
    check = subprocess.run([sys.executable, *command.split()[1:], "-q"], capture_output=True, text=True, check=False)
    assert check.returncode == 0, check.stdout + check.stderr
    assert "2 passed" in check.stdout
    lop("run", f"{name}.json", "--seeds", "1", "--set", "num_tasks=2", "--set", "num_showings=1")
    runs = list(find_runs(Path("runs")))
    assert len(runs) == 2
    assert {run.read_status().state for run in runs} == {"finished"}
    components = json.dumps([run.read_config()["components"] for run in runs])
    assert f'"{name}"' in components


def test_the_written_test_fails_if_the_component_breaks_a_rule(new):
    new("method", "leaky")
    path = Path("leaky.py")
    path.write_text(path.read_text().replace("return self.means", "return {}"))
    check = subprocess.run([sys.executable, "test_leaky.py"], capture_output=True, text=True, check=False)
    assert check.returncode == 1
    assert "leaky.py: Leaky: the state is incomplete: self.means['fc1." in check.stderr.splitlines()[-1]


@pytest.mark.parametrize("file", ["mine.py", "test_mine.py", "mine.json"])
def test_nothing_is_overwritten(file, new):
    Path(file).write_text("precious")
    status, output = new("metric", "mine")
    assert status == 2
    assert output == f"lop: {file}: exists already, and nothing was written; choose another name, or remove it\n"
    assert [path.name for path in Path().iterdir()] == [file]
    assert Path(file).read_text() == "precious"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["method", "2fast"], 'new: "2fast": should be letters, digits and _, beginning with a letter'),
        (["method", "my method"], "should be letters, digits and _"),
        (["method", "../mine"], "should be letters, digits and _"),
        (["method", "lambda"], "should be letters, digits and _"),
        (["method", "x" * 41], "40 characters at most"),
        (["method", "cbp"], 'new: "cbp": lop has a method of that name; choose one such as my_method'),
        (["network", "mlp"], "lop has a network of that name"),
        (["metric", "curvature"], "lop has a metric of that name"),
        (["problem", "json"], "json.py would hide the Python module of that name"),
        (["problem", "torch"], "torch.py would hide the Python module of that name"),
        (["methods", "mine"], 'new: no kind of component "methods"; did you mean "method"?'),
    ],
)
def test_an_invalid_name_is_refused_in_one_line(arguments, message, new):
    status, output = new(*arguments)
    assert status == 2
    assert message in output
    assert output.count("\n") == 1
    assert not list(Path().iterdir())


@pytest.mark.parametrize(("name", "class_name"), [("a_b", "AB"), ("Mine", "MineMethod"), ("x1", "X1"), ("_a", "A")])
def test_names_in_any_style_become_a_class_name(name, class_name, new):
    assert new("method", name)[0] == 0
    assert f"class {class_name}(Method):" in Path(f"{name}.py").read_text()
    compile(Path(f"{name}.py").read_text(), name, "exec")


def test_the_written_test_runs_as_a_script_without_pytest(new, monkeypatch):
    monkeypatch.setattr("lop_tui.commands.new.find_spec", lambda name: None)
    status, output = new("metric", "mine")
    assert status == 0
    [line] = [line for line in output.splitlines() if "test_mine.py " in line and "wrote" not in line]
    command = line.split("  ")[1].split()
    assert command[-1] == "test_mine.py"
    assert "pytest" not in command
    blocked = "import sys, runpy; sys.modules['pytest'] = None; runpy.run_path('test_mine.py', run_name='__main__')"
    check = subprocess.run([sys.executable, "-c", blocked], capture_output=True, text=True, check=False)
    assert check.stdout == "mine: passed\n", check.stderr
