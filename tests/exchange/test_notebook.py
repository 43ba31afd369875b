"""`lop_engine.load`: records as a tidy table with the columns of csv and parquet; the notebook of the docs."""

import csv
import json
import sys
import types

import numpy as np
import pyarrow.parquet as parquet
import pytest

import lop_engine
from lop_engine.analysis import final_value
from lop_engine.errors import QueryError, UserError
from lop_engine.runs.reading import RunsReader
from tests.cli.test_views import lop
from tests.helpers import ROOT, make_run


@pytest.fixture
def runs_dir(tmp_path, monkeypatch):
    """Make runs, and hide pandas if it is installed."""
    monkeypatch.setattr("lop_engine.exchange.tables.find_spec", lambda name: None)
    for seed in range(2):
        for step_size in (0.1, 0.01):
            spec = {"step_size": step_size}
            make_run(tmp_path / "runs", "bp", seed, setting=f"step_size={step_size}", num_tasks=20, spec=spec)
        make_run(
            tmp_path / "runs", "cbp", seed, num_tasks=20, tasks_done=20 - 5 * seed, spec={"replacement_rate": 1e-4}
        )
    return tmp_path / "runs"


def test_a_row_has_a_task_and_its_configuration(runs_dir):
    table = lop_engine.load(runs_dir)
    assert {len(column) for column in table.values()} == {2 * 2 * 20 + 20 + 15}
    rows = (table["method"] == "bp") & (table["step_size"] == 0.01) & (table["seed"] == 1)
    assert table["task"][rows].tolist() == list(range(1, 21))
    run = next(run for run in RunsReader(runs_dir).read().runs if run.dir.name == "bp/step_size=0.01/seed_001")
    assert table["test_accuracy"][rows].tolist() == run.series["test_accuracy"].tolist()
    assert table["test_accuracy"][rows & (table["task"] > 18)].mean() == final_value(run, "test_accuracy")
    assert set(table["replacement_rate"][table["method"] == "cbp"]) == {1e-4}
    assert np.isnan(table["replacement_rate"][rows]).all()
    assert set(table["num_tasks"]) == {20}
    assert table["num_tasks"].dtype.kind == "i"


def test_a_filter_selects_runs_and_mistakes_have_clear_messages(runs_dir):
    assert set(lop_engine.load(runs_dir, where="method:cbp seed:1")["seed"]) == {1}
    with pytest.raises(UserError, match='where "method:l2": matches none of the 6 runs'):
        lop_engine.load(runs_dir, where="method:l2")
    with pytest.raises(QueryError, match='unknown key "sed"'):
        lop_engine.load(runs_dir, where="sed:1")
    with pytest.raises(UserError, match="no runs in"):
        lop_engine.load(runs_dir / "nothing")


def test_csv_and_parquet_have_the_same_columns_and_values(runs_dir, tmp_path):
    table = lop_engine.load(runs_dir)
    lop("export", "--format", "csv", "-o", tmp_path / "x.csv", "--runs-dir", runs_dir)
    lop("export", "--format", "parquet", "-o", tmp_path / "x.parquet", "--runs-dir", runs_dir)
    with open(tmp_path / "x.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    columns = parquet.read_table(tmp_path / "x.parquet").to_pydict()
    assert list(rows[0]) == list(columns) == list(table)
    for name, values in table.items():
        in_csv = [row[name] for row in rows]
        if values.dtype.kind in "if":
            numbers = [float(cell or "nan") for cell in in_csv]
            assert np.array_equal(numbers, values, equal_nan=True), name
            assert np.array_equal(np.array(columns[name], dtype=float), values, equal_nan=True), name
        else:
            assert columns[name] == values.tolist(), name


def test_load_returns_a_data_frame_if_pandas_is_installed(runs_dir, monkeypatch):
    monkeypatch.setattr("lop_engine.exchange.tables.find_spec", lambda name: name)
    monkeypatch.setitem(sys.modules, "pandas", types.SimpleNamespace(DataFrame=lambda table: ("frame", list(table))))
    assert lop_engine.load(runs_dir)[0] == "frame"


def test_epochs_count_from_1(tmp_path, monkeypatch):
    monkeypatch.setattr("lop_engine.exchange.tables.find_spec", lambda name: None)
    from lop_engine.runs.records import epoch_document
    from lop_engine.runs.store import TableWriter

    run = make_run(tmp_path, "bp", num_tasks=2, num_epochs=3)
    with TableWriter(run.epochs_json, "epochs") as table:
        for task in range(2):
            for epoch in range(3):
                table.append(epoch_document(task, epoch, {"test_accuracy": task + epoch / 10}))
    loaded = lop_engine.load(tmp_path, epochs=True)
    assert loaded["task"].tolist() == [1, 1, 1, 2, 2, 2]
    assert loaded["epoch"].tolist() == [1, 2, 3] * 2
    assert loaded["test_accuracy"].tolist() == [0, 0.1, 0.2, 1, 1.1, 1.2]


def test_the_notebook_of_the_docs_runs(runs_dir, monkeypatch, capsys):
    monkeypatch.chdir(runs_dir.parent)
    cells = json.loads((ROOT / "docs/notebook.ipynb").read_text())["cells"]
    names: dict[str, object] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    listed = json.loads(lop("list", "--json", "--runs-dir", runs_dir, "--where", "method:bp"))["settings"]
    output = capsys.readouterr().out
    for one in listed:
        assert f"bp {one['setting']} {100 * one['headline_last_tenth']:.1f} %, n=2" in output
    assert len(names["figure"].axes[0].lines) == 2
