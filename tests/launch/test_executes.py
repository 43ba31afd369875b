"""Only workers and the describing child process execute code of users and packages; commands do not."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lop_engine.errors import ConfigError
from lop_engine.experiment import child, registry
from lop_engine.experiment.run import load_runs
from lop_engine.runs.store import read_table
from tests.experiment.test_own_files import OWN, VIEWS, look, own_registries
from tests.helpers import ROOT

__all__ = ["look", "own_registries"]

#: Lines for the top of a file that record which process executes it.
NOTES = "import sys\nopen({!r}, 'a').write(' '.join(sys.orig_argv) + '\\n')\n"
RUN = {"problem": "toy_regression", "agent": "toy_decay", "step_size": 0.01, "num_tasks": 1} | {
    "num_features": 6,
    "num_hidden_layers": 1,
}


@pytest.fixture
def package(monkeypatch):
    """Install the toy package here with modules that record who executes them; return the folder of these records."""
    place = Path("package").absolute()
    shutil.copytree(ROOT / "tests/toy_package", place, ignore=shutil.ignore_patterns("__pycache__"))
    notes = Path("executed").absolute()
    for path in place.rglob("*.py"):
        docstring, _, rest = path.read_text().partition("\n")
        path.write_text(f"{docstring}\n{NOTES.format(str(notes))}{rest}")
    monkeypatch.syspath_prepend(place)
    monkeypatch.setenv("PYTHONPATH", str(place))
    registry.installed_entry_points.cache_clear()
    yield place
    registry.installed_entry_points.cache_clear()


def lop(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "lop_tui", *arguments]
    environment = os.environ | {"COLUMNS": "200", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def executed_by() -> set[str]:
    """Return the main modules of the processes that executed the package since the last call."""
    notes = Path("executed")
    lines = notes.read_text().splitlines() if notes.exists() else []
    notes.unlink(missing_ok=True)
    return {line.partition(" -m ")[2].split()[0] for line in lines}


@pytest.mark.long
def test_only_workers_and_the_describing_process_execute_an_installed_package(package, look):
    Path("toy.json").write_text(json.dumps(RUN))
    for command, others in (
        (["run", "toy.json", "--seeds", "1", "--dry-run"], {"lop_engine.bench.child"}),
        (["run", "toy.json", "--seeds", "1"], {"lop_engine.worker"}),
        (["methods"], set()),
        (["problems", "toy_regression", "--json"], set()),
    ):
        answer = lop(*command)
        assert answer.returncode == 0, answer.stdout + answer.stderr
        assert executed_by() == {"lop_engine.experiment.describe", *others}, command
    for command in VIEWS:
        if command[0] == "compare":
            assert "toy" in lop("compare", "toy", "toy").stderr
        else:
            look([word.replace("mine/agent=my_redo/0", "toy") for word in command])
        assert executed_by() == set(), command


def test_built_in_components_execute_no_package(package):
    Path("bp.json").write_text(json.dumps({"agent": "bp", "step_size": 0.1, "num_tasks": 1, "dataset": "synthetic"}))
    lop("run", "bp.json", "--seeds", "1", "--dry-run", "--no-estimate")
    lop("run", "bp.json", "--set", "agent=bq", "--dry-run")
    assert executed_by() == set()


@pytest.mark.parametrize(
    ("top", "message"),
    [
        ("raise ValueError('no licence')", "ValueError: no licence"),
        ("raise SystemExit(4)", "SystemExit: 4"),
        ("import os; os._exit(7)", "exit status 7"),
        ("import os; os.kill(os.getpid(), 11)", "ended by signal SIGSEGV"),
        ("while True: pass", "not done after 2 s"),
        ("def f(): f()\nf()", "RecursionError"),
    ],
)
@pytest.mark.long
def test_a_broken_package_is_named_in_one_line(package, top, message, monkeypatch):
    monkeypatch.setattr(child, "LIMIT_S", 2.0)
    path = package / "toys/descriptions.py"
    path.write_text(f"{top}\n{path.read_text()}")
    with pytest.raises(ConfigError) as refused:
        registry.METHODS.find("toy_decay")
    assert str(refused.value).startswith(
        "method toy_decay of package toys (toys.descriptions:TOY_DECAY) cannot be loaded"
    )
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
    problems: list[str] = []
    assert "cbp" in [one.name for one in registry.METHODS.all(problems)]
    assert len(problems) == 1


SIDE_EFFECTS = """
import os, subprocess, sys, threading, time
print('x' * 10**7)
print('y' * 10**7, file=sys.stderr)
try: input()
except EOFError: pass
subprocess.Popen(['sleep', '100'])
threading.Thread(target=time.sleep, args=[100], daemon=True).start()
os.chdir('/')
sys.stdout.close()
os.close(0)
os.close(1)
"""


@pytest.mark.parametrize(
    "top", [SIDE_EFFECTS, "import os\nif os.fork() == 0: print('I am the copy')"], ids=["all", "fork"]
)
@pytest.mark.long
def test_a_file_with_side_effects_is_described_and_trained(top):
    docstring, _, rest = (OWN / "my_redo.py").read_text().partition("\n")
    Path("my_redo.py").write_text(f"{docstring}\n{top}\n{rest}")
    content = {"agent": "./my_redo.py", "step_size": 0.1, "num_tasks": 1, "num_showings": 1, "mini_batch_size": 600}
    more = {"dataset": "synthetic", "train_images": 10, "test_images": 5, "width": 0.125, "metrics": ["test_accuracy"]}
    Path("mine.json").write_text(json.dumps(content | more))
    answer = lop("run", "mine.json", "--seeds", "1")
    assert answer.returncode == 0, (answer.stdout + answer.stderr)[-2000:]
    [document] = read_table(Path("runs/mine/default/seed_000/tasks.json"))
    assert document["task"] == 0


def test_a_file_that_runs_lop_during_its_import_is_refused():
    Path("mine.json").write_text(json.dumps({"agent": "./mine.py", "step_size": 0.1, "num_tasks": 1}))
    Path("mine.py").write_text(
        "from pathlib import Path\nfrom lop_engine.experiment.run import load_runs\n"
        "load_runs(Path('mine.json'), seeds=[0])"
    )
    with pytest.raises(ConfigError, match="a component runs lop while it is imported"):
        load_runs(Path("mine.json"), seeds=[0])
