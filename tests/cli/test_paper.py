"""`lop best`, `lop table` and `lop power`: their output, and its agreement with other commands."""

import csv
import io
import json
import re

import numpy as np
import pytest
from typer.testing import CliRunner

from lop_engine.analysis import estimate, group_runs
from lop_engine.runs.reading import RunsReader
from lop_tui import cli
from tests.cli.test_views import lop, refused
from tests.helpers import make_metrics, make_run

STEP_SIZES = (0.1, 0.01, 0.001)
OF_STEP_SIZE = {0.1: "bp", 0.01: "snp", 0.001: "l2"}
"""Whose curves a step size has: 0.01 is the best."""


@pytest.fixture(scope="module")
def runs_dir(tmp_path_factory):
    """Make runs of bp with three step sizes, cbp and l2, six seeds each."""
    directory = tmp_path_factory.mktemp("paper") / "runs"
    for seed in range(6):
        for step_size, curves in OF_STEP_SIZE.items():
            make_sweep_run(directory, step_size, seed, curves)
        make_run(directory, "cbp", seed, num_tasks=50)
        make_run(directory, "l2", seed, num_tasks=50)
    return directory


def make_sweep_run(directory, step_size, seed, curves, num_tasks=50):
    import tests.helpers as helpers

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(helpers, "make_metrics", lambda method, *rest: make_metrics(curves, *rest))
        setting, spec = f"step_size={step_size}", {"step_size": step_size}
        return make_run(directory, "bp", seed, setting=setting, spec=spec, num_tasks=num_tasks)


def last_tenth(runs_dir, label):
    """Return the mean of the last five tasks of each seed."""
    (group,) = (one for one in group_runs(RunsReader(runs_dir).read().runs) if one.label == label)
    return {run.seed: float(run.series["test_accuracy"][-5:].mean()) for run in group.runs}


def test_best_selects_on_some_seeds_and_reports_the_others(runs_dir):
    choices = json.loads(lop("best", "--json", "--select-seeds", "0-1", "--runs-dir", runs_dir))["choices"]
    bp, cbp, _ = choices
    assert (bp["setting"], bp["num_settings"], bp["n"], bp["select_seeds"]) == ("step_size=0.01", 3, 4, [0, 1])
    values = last_tenth(runs_dir, "bp step_size=0.01")
    expected = estimate(np.array([values[seed] for seed in (2, 3, 4, 5)]))
    assert (bp["mean"], bp["low"], bp["high"]) == (expected.mean, expected.low, expected.high)
    assert {one["value"] for one in bp["neighbours"]} == {0.1, 0.001}
    assert bp["edges"] == []
    assert 0.9 < bp["chosen_share"] <= 1
    assert (cbp["n"], cbp["select_seeds"], cbp["num_settings"]) == (6, [], 1)


def test_best_warns_of_an_optimum_at_the_edge_and_of_reported_selection_seeds(tmp_path):
    for step_size, curves in ((0.1, "cbp"), (0.01, "bp")):
        make_sweep_run(tmp_path, step_size, 0, curves)
    shown = " ".join(lop("best", "--runs-dir", tmp_path).split())
    assert "step_size=0.1 is the largest value tried; try larger ones" in shown
    assert "over seed 0, on which the setting was chosen, so it is too good" in shown
    assert "on seed 0; shown on its own selection seeds, so its values are too good" in " ".join(
        lop("table", "--runs-dir", tmp_path).split()
    )


def test_best_table_compare_list_and_report_agree_to_the_last_digit(runs_dir):
    of = "--runs-dir", runs_dir
    best = {one["experiment"]: one for one in json.loads(lop("best", "--json", *of))["choices"]}
    cells = json.loads(lop("table", "--json", *of))["cells"]
    last = {cell["experiment"]: cell for cell in cells if cell["over"] == "last"}
    for name, cell in last.items():
        assert [cell[key] for key in ("mean", "low", "high", "n")] == [
            best[name][key] for key in ("mean", "low", "high", "n")
        ]
    held_back = "--where", "seed:3-5"
    listed = json.loads(lop("list", "--json", *held_back, *of))["settings"]
    means = {f"{one['experiment']}/{one['setting']}": one["headline_last_tenth"] for one in listed}
    assert last["bp"]["mean"] == pytest.approx(means["bp/step_size=0.01"], rel=1e-12)
    [compared] = json.loads(lop("compare", "bp/step_size=0.01", "cbp", "--json", *held_back, *of))["comparisons"]
    tenth = next(stretch for stretch in compared["stretches"] if stretch["over"] == "tenth")
    assert tenth["mean"] == pytest.approx(means["cbp/default"] - means["bp/step_size=0.01"], rel=1e-12)
    planned = json.loads(lop("power", "bp/step_size=0.01", "cbp", "--json", *held_back, *of))["plans"][0]
    assert planned["mean"] == tenth["mean"]
    assert f"needs {planned['pairs_needed']} pairs" in compared["remarks"][-1]
    shown = lop("table", "--format", "markdown", *of)
    lop("report", *held_back, *of)
    page = (runs_dir / "report.html").read_text()
    for value in (last["bp"]["mean"], means["cbp/default"]):
        assert f"{100 * value:.1f} ± " in page
    assert f"{100 * last['bp']['mean']:.1f} ± {100 * (last['bp']['high'] - last['bp']['mean']):.1f}" in shown


def test_power_of_a_sweep_uses_the_best_setting_and_the_seeds_that_did_not_select_it(runs_dir):
    of = "--runs-dir", runs_dir
    [best] = [one for one in json.loads(lop("best", "--json", *of))["choices"] if one["experiment"] == "bp"]
    of_sweep = json.loads(lop("power", "bp", "cbp", "--json", *of))
    named = json.loads(lop("power", f"bp/{best['setting']}", "cbp", "--json", "--where", "seed:3-5", *of))
    assert of_sweep["plans"] == named["plans"]
    chosen = f"bp: {best['setting']} is the best of 3 settings (test accuracy, last tenth) on seeds 0-2"
    assert of_sweep["notes"][0] == f"{chosen}; compared on seeds 3-5"
    assert json.loads(lop("power", "bp", "cbp", "--select-seeds", "4-5", "--json", *of))["plans"][0]["num_pairs"] == 4


def test_compare_with_best_uses_the_same_settings_as_power(runs_dir):
    of = "--runs-dir", runs_dir
    [best] = [one for one in json.loads(lop("best", "--json", *of))["choices"] if one["experiment"] == "bp"]
    chosen = json.loads(lop("compare", "bp", "cbp", "--best", "--json", *of))
    named = json.loads(lop("compare", f"bp/{best['setting']}", "cbp", "--where", "seed:3-5", "--json", *of))
    assert [one["stretches"] for one in chosen["comparisons"]] == [one["stretches"] for one in named["comparisons"]]
    note = f"bp: {best['setting']} is the best of 3 settings (test accuracy, last tenth) on seeds 0-2; compared on"
    assert chosen["notes"][0].startswith(note)


@pytest.mark.parametrize("command", [["power"], ["compare", "--best"]])
def test_by_chooses_the_tasks_that_select_the_setting(runs_dir, command):
    output = json.loads(lop(*command, "bp", "cbp", "--by", "whole", "--json", "--runs-dir", runs_dir))
    assert "(test accuracy, whole run) on seeds 0-2" in output["notes"][0]


def test_compare_on_the_selection_seeds_warns(runs_dir):
    words = "--best", "--select-seeds", "0-5", "--json", "--runs-dir", runs_dir
    output = json.loads(lop("compare", "bp", "cbp", *words))
    assert [note for note in output["notes"] if "on its own selection seeds" in note] == output["notes"][:1]


def test_compare_of_a_sweep_without_best_advises_best(runs_dir, monkeypatch, capsys):
    output = refused(monkeypatch, capsys, "compare", "bp", "cbp", "--runs-dir", runs_dir)
    assert output.rstrip().endswith("or let --best choose")


def test_the_columns_first_best_and_whole_agree_between_tables(runs_dir):
    cells = json.loads(lop("table", "--json", "--settings", "--runs-dir", runs_dir))["cells"]
    for group in group_runs(RunsReader(runs_dir).read().runs):
        columns = {
            cell["over"]: cell
            for cell in cells
            if (cell["experiment"], cell["setting"]) == (group.experiment, group.setting)
        }
        table = np.array([run.series["test_accuracy"].reshape(10, 5).mean(1) for run in group.runs])
        expected = {
            "first": table[:, 0],
            "last": table[:, -1],
            "best": table[:, table.mean(0).argmax()],
            "whole": table.mean(1),
        }
        for over, values in expected.items():
            assert columns[over]["mean"] == pytest.approx(values.mean(), rel=1e-12)
            assert columns[over]["low"] == pytest.approx(estimate(values).low, rel=1e-9)


@pytest.mark.parametrize("command", [("best",), ("table",), ("table", "--settings"), ("power", "cbp", "l2")])
@pytest.mark.parametrize("metrics", [(), ("--metric", "effective_rank")])
def test_tables_as_text_fit_80_columns(runs_dir, command, metrics):
    result = CliRunner(env={"COLUMNS": "80"}).invoke(cli.app, [*command, *metrics, "--runs-dir", str(runs_dir)])
    assert result.exit_code == 0, result.output
    assert max(map(len, result.output.splitlines())) <= 80


def test_wide_tables_are_split_and_long_names_stay_distinct(tmp_path):
    name = "step_size=0.01,weight_decay=0.0001,momentum=0.9,width=0.125,activation=leaky_relu,precision="
    for precision in ("32", "64"):
        make_run(tmp_path, "bp", 0, setting=name + precision, spec={"step_size": float(precision)})
    metrics = [word for metric in ("test_accuracy", "train_accuracy", "srank") for word in ("--metric", metric)]
    lines = lop("table", "--settings", *metrics[:4], "--runs-dir", tmp_path).splitlines()
    assert max(map(len, lines)) <= 80
    assert len({line.split()[0] + line.split()[1] for line in lines if line.startswith("bp ")}) == 2
    assert sum(line.startswith("setting") for line in lines) > 1


def test_csv_has_all_digits_and_markdown_marks_methods_that_are_not_worse(runs_dir, tmp_path):
    lop("table", "-o", tmp_path / "table.csv", "--runs-dir", runs_dir)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "table.csv").read_text())))
    cells = json.loads(lop("table", "--json", "--runs-dir", runs_dir))["cells"]
    assert [float(row["mean"]) for row in rows] == [cell["mean"] for cell in cells]
    lop("table", "--over", "last", "-o", tmp_path / "table.md", "--runs-dir", runs_dir)
    cbp = next(line for line in (tmp_path / "table.md").read_text().splitlines() if line.startswith("| cbp"))
    assert re.fullmatch(r"\| cbp \| 6 \| \*\*\d\d\.\d ± \d\.\d\*\* \|", cbp)
    marked = {cell["experiment"] for cell in cells if cell["over"] == "last" and cell["is_marked"]}
    assert "cbp" in marked
    assert "l2" not in marked


class Latex:
    """Parse the parts of LaTeX that tables use: groups, environments, and the characters of cells."""

    def __init__(self, text):
        assert text.isascii() or text.encode("latin-1")
        self.stack, self.rows, self.widths = [], [], []
        depth, row = 0, [""]
        for token in re.findall(r"\\(?:[A-Za-z]+|.)|[{}$&#%_^~]|[^\\{}$&#%_^~]+", text, re.DOTALL):
            assert token not in ("%", "#", "_", "^", "~"), f"{token} is not escaped"
            depth += (token == "{") - (token == "}")
            assert depth >= 0
            if token == "&":
                row.append("")
            elif token == r"\\":
                self.rows.append(row)
                row = [""]
            else:
                row[-1] += token
        assert depth == 0
        assert text.replace(r"\$", "").count("$") % 2 == 0
        for word, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
            assert word == "begin" or self.stack.pop() == name
            if word == "begin":
                self.stack.append(name)
        assert self.stack == []
        columns = re.search(r"\\begin\{tabular\}\{([lr]+)\}", text)[1]
        for cells in self.rows:
            spans = [int(span) for cell in cells for span in re.findall(r"\\multicolumn\{(\d+)\}", cell)]
            assert len(cells) - len(spans) + sum(spans) == len(columns)


HOSTILE = r"a_b%c&d#e$f{g}h^i~j"


@pytest.mark.parametrize("command", ["best", "table", "power"])
@pytest.mark.parametrize("name", ["tenth", HOSTILE])
def test_latex_output_is_well_formed_and_escaped(tmp_path, command, name):
    for seed in range(3):
        for method in (name, "cbp"):
            make_run(tmp_path / "runs", method, seed, num_tasks=20, spec={"agent": "bp" if method == name else "cbp"})
    metrics = ("--metric", "test_accuracy", "--metric", "dormant_proportion") if command == "table" else ()
    names = ((tmp_path / "runs" / name).name, "cbp") if command == "power" else ()
    lop(command, *names, *metrics, "-o", tmp_path / "table.tex", "--runs-dir", tmp_path / "runs")
    text = (tmp_path / "table.tex").read_text()
    preamble, _, body = text.partition(r"\begin{document}")
    assert preamble.splitlines()[0] == r"\documentclass{article}"
    assert r"\usepackage{booktabs}" in preamble
    Latex(r"\begin{document}" + body)
    alone = lop(command, *names, *metrics, "--format", "tabular", "--runs-dir", tmp_path / "runs")
    assert alone.startswith(r"\begin{tabular}")
    assert alone.strip() in text


def test_a_metric_without_a_better_direction_has_no_marks(runs_dir):
    cells = json.loads(lop("table", "--metric", "dormant_proportion", "--json", "--runs-dir", runs_dir))["cells"]
    assert not any(cell["is_marked"] for cell in cells)
    assert "highest tenth" in lop("table", "--metric", "dormant_proportion", "--runs-dir", runs_dir)
    lowest = json.loads(lop("best", "--metric", "dormant_proportion", "--lowest", "--json", "--runs-dir", runs_dir))
    assert lowest["choices"][0]["setting"] == "step_size=0.01"


def test_a_table_has_columns_for_each_of_several_problems(tmp_path):
    for seed in range(2):
        make_run(tmp_path, "bp", seed, num_tasks=20)
        make_run(tmp_path, "cbp", seed, num_tasks=20)
        make_run(tmp_path, "mnist", seed, num_tasks=20, spec={"agent": "bp", "problem": "permuted_mnist"})
    shown = lop("table", "--over", "last", "--format", "markdown", "--runs-dir", tmp_path).splitlines()
    headings = next(line for line in shown if line.startswith("| method"))
    assert headings.count("last tenth") == 2
    assert headings.count("n |") == 2
    rows = {line.split(" | ")[0].strip("| "): line.count("-") for line in shown if line.startswith(("| bp", "| cbp"))}
    assert rows.keys() == {"bp", "cbp"}
    assert "| - | - |" in next(line for line in shown if line.startswith("| cbp"))


REFUSALS = {
    ("table", "--over", "frist"): 'table: --over "frist"; did you mean "first"?',
    ("best", "--by", "lats"): 'best: --by "lats"; did you mean "last"?',
    ("best", "--select-seeds", "9-3"): 'best: --select-seeds "9-3": 9-3 runs backwards',
    ("best", "--select-seeds", "70-80", "--where", "method:bp"): "best: bp: has no selection seed; name others",
    ("table", "--metric", "test_acuracy"): 'table: no metric "test_acuracy"; did you mean "test_accuracy"?',
    ("table", "--format", "latx"): 'table: --format "latx"; did you mean "latex"?',
    ("table", "-o", "table.docx"): "table: table.docx: choose one of .txt, .md, .csv, .json, .tex",
    ("best", "--json", "--format", "csv"): "best: --json or --format csv? Choose one",
    ("power", "cbp"): "power: name two experiments or settings: lop power bp cbp",
    ("power", "cbp", "l2", "--power", "1.5"): "power: --power 1.5: should lie between 0.05 and 1",
    ("power", "cbp", "l2", "--difference", "0"): "power: --difference 0: should be a number other than 0",
    ("power", "*", "cbp"): 'power: "*" names 5 settings',
    ("power", "bp", "cbp", "--select-seeds", "70-80"): "power: bp: has no selection seed; name others",
    ("power", "bp", "bp/step_size=0.01"): 'power: "bp/step_size=0.01" names bp step_size=0.01 twice',
    ("power", "cbp", "l2", "--where", "seed:3"): "power: cbp and l2 have one pair of seeds; two are needed at least",
}


@pytest.mark.parametrize("words", REFUSALS, ids=" ".join)
def test_impossible_requests_are_refused_with_advice(runs_dir, monkeypatch, capsys, words):
    output = " ".join(refused(monkeypatch, capsys, *words, "--runs-dir", runs_dir).split())
    assert REFUSALS[words] in output
