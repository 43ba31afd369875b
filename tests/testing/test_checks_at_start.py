"""The check that a worker makes before it trains a user's component."""

import json
import random
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from lop_engine.errors import ConfigError, RuleError
from lop_engine.experiment import components as describe
from lop_engine.experiment.code import import_file, own_descriptions
from lop_engine.experiment.registry import METHODS as METHODS_KNOWN
from lop_engine.experiment.spec import Spec
from lop_engine.runs.directory import RunDir
from lop_engine.testing import check_file
from lop_engine.testing.rules import check_own_components
from tests.experiment.test_own_files import OWN, lop, own_registries
from tests.testing.test_rules import HEAD, METHOD, UPDATE

__all__ = ["own_registries"]


@pytest.mark.parametrize("path", sorted(OWN.glob("my_*.py")), ids=lambda path: path.stem)
def test_the_example_files_pass_the_rules(path):
    check_file(path, **{"my_redo": {"tau": 0.5, "period": 2, "network": "mlp"}}.get(path.stem, {}))


def test_a_file_without_a_component_or_with_a_built_in_name_is_refused():
    Path("mine.py").write_text("x = 1")
    with pytest.raises(ConfigError, match=r"mine\.py: describes no component"):
        check_file("mine.py")
    Path("yours.py").write_text((OWN / "my_metric.py").read_text().replace('name="large_weights"', 'name="train_loss"'))
    with pytest.raises(ConfigError, match="lop has one of that name"):
        check_file("yours.py")


@pytest.mark.long
def test_a_run_whose_component_breaks_a_rule_fails_at_its_start_with_one_line():
    content = HEAD + METHOD.format(hooks=f"{UPDATE}hidden[0].activation.mean().item()")
    Path("mine.py").write_text(content)
    Path("my_problem.py").write_text((OWN / "my_problem.py").read_text())
    experiment = {"agent": "./mine.py", "problem": "./my_problem.py", "step_size": 0.01, "num_tasks": 2}
    Path("mine.json").write_text(json.dumps(experiment))
    answer = lop("run", "mine.json", "--seeds", "1", check=False)
    assert answer.returncode == 1
    [output] = [line for line in answer.stdout.splitlines() if "failed: " in line]
    assert "mine.py: Mine: a step asks for a tensor's value" in output
    assert "line 20, in after_update" in output
    assert "trying again" not in answer.stdout
    run_dir = RunDir(Path("runs/mine/default/seed_000"))
    assert output.endswith(run_dir.read_status().error)
    assert not run_dir.tasks_json.exists()
    assert "Traceback" in next(run_dir.path.glob("worker.log")).read_text()
    Path("mine.py").write_text(content.replace(".item()", ""))
    lop("run", "mine.json", "--seeds", "1")  # nothing was trained, so the corrected code needs no --accept-code-change
    assert run_dir.read_status().state == "finished"


@pytest.mark.parametrize("kind", ["file", "installed package"])
def test_the_check_at_start_is_made_only_for_components_outside_lop(kind, monkeypatch):
    broken = METHOD.format(hooks=f"{UPDATE}hidden[0].activation.mean().item()")
    method = describe.Method(name="mine", title="mine", code="mine:Mine")
    if kind == "file":
        Path("mine.py").write_text(HEAD + broken)
        [method] = own_descriptions(import_file(Path("mine.py").resolve()))
    else:
        module = types.ModuleType("mine")
        exec(HEAD + broken, module.__dict__)
        monkeypatch.setitem(sys.modules, "mine", module)
    monkeypatch.setitem(METHODS_KNOWN.by_name, "mine", method)
    check_own_components(spec_of("bp"))
    with pytest.raises(RuleError, match="Mine: a step asks for a tensor's value"):
        check_own_components(spec_of("mine"))


def spec_of(agent: str) -> Spec:
    return Spec(agent=agent, step_size=0.01, num_tasks=2, num_showings=2, train_images=10, test_images=5)


def test_the_check_at_start_does_not_change_random_numbers(monkeypatch):
    drawing = f"{UPDATE}torch.rand(1), numpy.random.rand(), random.random()"
    module = types.ModuleType("mine")
    exec(HEAD + "import random, numpy\n" + METHOD.format(hooks=drawing), module.__dict__)
    monkeypatch.setitem(sys.modules, "mine", module)
    method = describe.Method(name="mine", title="mine", code="mine:Mine")
    monkeypatch.setitem(METHODS_KNOWN.by_name, "mine", method)
    generators = (torch.initial_seed, lambda: torch.get_rng_state().tolist(), random.getstate)
    before = [one() for one in generators], np.random.get_state()[1].tolist()
    check_own_components(spec_of("mine"))
    assert ([one() for one in generators], np.random.get_state()[1].tolist()) == before
