"""A sweep over methods, from its file to the views."""

import json

import pytest

from lop_engine.runs.directory import find_runs
from tests.cli.test_run import lop
from tests.helpers import TINY, make_run


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = TINY | {"agent": ["bp", "cbp", "linear"], "step_size": [0.02, 0.01], "num_tasks": 2, "num_runs": 2}
    (tmp_path / "all.json").write_text(json.dumps(content))
    return tmp_path


@pytest.mark.long
def test_a_sweep_over_methods_trains_each_with_its_keys_and_views_distinguish_them(here):
    plan = lop("run", "all.json", "--dry-run", "--no-estimate").stdout
    assert [method for method in ("bp", "cbp", "linear") if plan.count(f"│ {method} ") != 2] == []
    done = lop("run", "all.json")
    assert done.returncode == 0, done.stderr
    specs = {run.name: run.read_spec() for run in find_runs(here / "runs")}
    assert len(specs) == 12
    assert all(("replacement_rate" in spec) == ("agent=cbp" in name) for name, spec in specs.items())
    assert all(("width" in spec) == ("agent=linear" not in name) for name, spec in specs.items())

    listed = json.loads(lop("list", "--json").stdout)["settings"]
    assert [(one["setting"], one["method"]) for one in listed[:2]] == [
        ("agent=bp,step_size=0.01", "bp"),
        ("agent=bp,step_size=0.02", "bp"),
    ]
    chosen = json.loads(lop("status", "--json", "--where", "method:linear seed:0").stdout)["runs"]
    assert [one["setting"] for one in chosen] == ["agent=linear,step_size=0.01", "agent=linear,step_size=0.02"]

    compared = lop("compare", "all/agent=bp,step_size=0.02", "all/agent=cbp,step_size=0.02")
    assert compared.returncode == 0, compared.stderr
    assert "protocol" not in compared.stdout + compared.stderr

    figure = lop("plot", "--kind", "methods", "-o", "methods.svg")
    assert figure.stdout.count("is the best of 2 settings") == 3, figure.stdout + figure.stderr
    assert (here / "methods.svg").exists()

    again = lop("run", "all.json")
    assert "12 of 12 runs are finished already" in again.stdout, again.stderr
    assert lop("stop", "method:cbp").returncode == 0


@pytest.mark.long
def test_tables_have_a_method_column_if_the_experiment_name_is_not_the_method(tmp_path):
    make_run(tmp_path, "cbp", num_tasks=2)
    for command in ("list", "status"):
        assert "method" not in lop(command, "--runs-dir", str(tmp_path)).stdout
    make_run(tmp_path, "mine", num_tasks=2, spec={"agent": "bp", "weight_decay": 1e-4})
    for command in ("list", "status"):
        [row] = [line for line in lop(command, "--runs-dir", str(tmp_path)).stdout.splitlines() if "mine" in line]
        assert "l2" in row
    for command in ("list", "status"):
        done = lop(command, "--where", "method:mine", "--runs-dir", str(tmp_path))
        assert "mine is an experiment: write experiment:mine" in done.stdout + done.stderr
    assert "method    l2 (L2 regularisation)" in lop("show", "mine", "--runs-dir", str(tmp_path)).stdout
    assert json.loads(lop("show", "mine", "--json", "--runs-dir", str(tmp_path)).stdout)["method"] == "l2"
