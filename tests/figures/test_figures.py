"""`lop plot`: a picture of each kind, compared with the stored one.

``LOP_DRAW=1 pytest tests/figures/test_figures.py`` draws the stored pictures in `tests/figures` again; review each.
"""

import hashlib
import json
import os
import shutil
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.testing.compare import compare_images

from lop_tui import figures
from lop_tui.commands.plot_options import by_value, settings_along
from lop_tui.words.formats import name_seeds
from tests.figures.conftest import SMALL, groups_in, lop, paper_runs, refused
from tests.helpers import append_tasks, make_run

PICTURES = Path(__file__).parent


IS_DRAWING = bool(os.environ.get("LOP_DRAW"))


#: Other versions render text slightly differently.
drawn_with_this_matplotlib = pytest.mark.skipif(
    not matplotlib.__version__.startswith("3.11."), reason="the pictures were drawn with matplotlib 3.11"
)


@drawn_with_this_matplotlib
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("tasks", ["--where", "method:cbp,l2"]),
        ("tasks-ci95-log", ["curvature", "--band", "ci95", "--where", "method:cbp,l2", "--tasks", "10-50"]),
        ("sweep", ["--kind", "sweep", "bp"]),
        ("methods", ["--kind", "methods", "--style", "screen", "--size", "6x4"]),
        ("metrics", ["--kind", "metrics", "--where", "cbp", "--size", "6x8"]),
        ("seeds", ["--kind", "seeds", "--where", "method:cbp,l2", "--title", "Seeds"]),
        ("heatmap", ["--kind", "seeds", "--heatmap", "--where", "method:cbp,l2"]),
        ("within-task", ["--kind", "within-task", "--where", "method:cbp,l2", "--size", "6x2.6"]),
    ],
)
def test_each_kind_matches_its_stored_picture(made, tmp_path, name, arguments):
    size = SMALL[2:] if "--size" in arguments else SMALL
    lop("plot", *size, "--runs-dir", made, "-o", tmp_path / f"{name}.png", *arguments)
    assert_looks_as_before(tmp_path, name)


@drawn_with_this_matplotlib
def test_the_levels_of_the_paper_match_their_stored_picture(tmp_path):
    paper_runs(tmp_path / "runs", "bp", "cbp")
    arguments = ["--reference", "--bin", 10, "--runs-dir", tmp_path / "runs", "--tasks", "-200"]
    lop("plot", *SMALL, *arguments, "-o", tmp_path / "reference.png")
    assert_looks_as_before(tmp_path, "reference")


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Make runs of two methods over step sizes, l2 also over weight decay with one setting missing."""
    runs_dir = tmp_path_factory.mktemp("swept") / "runs"
    rng = np.random.default_rng(0)
    for step_size in (0.1, 0.01, 0.001):
        for method, decays in (("bp", [None]), ("l2", [0.0, 1e-4, 1e-3])):
            for decay in decays:
                if (step_size, decay) == (0.1, 1e-3):
                    continue
                of_decay = {} if decay is None else {"weight_decay": decay}
                spec = {"step_size": step_size} | of_decay
                setting = ",".join(f"{key}={value}" for key, value in spec.items())
                for seed in range(4):
                    run = make_run(runs_dir, method, seed, setting=setting, num_tasks=10, tasks_done=0, spec=spec)
                    level = 0.8 - 0.1 * (np.log10(step_size) + 2) ** 2 - 300 * abs((decay or 0) - 1e-4)
                    values = level + 0.02 * rng.standard_normal() + 0.01 * rng.standard_normal(10)
                    append_tasks(run, {"test_accuracy": values}, 0, 10)
    return runs_dir


@drawn_with_this_matplotlib
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("sensitivity", ["--kind", "sensitivity", "--over", "step_size"]),
        ("grid", ["--kind", "grid", "--where", "method:l2"]),
        ("panels", ["--kind", "panels", "--over", "weight_decay", "--where", "method:l2", "--size", "6x4"]),
    ],
)
def test_figures_of_settings_match_their_stored_pictures(swept, tmp_path, name, arguments):
    size = SMALL[2:] if "--size" in arguments else SMALL
    lop("plot", *size, *arguments, "--runs-dir", swept, "-o", tmp_path / f"{name}.png")
    assert_looks_as_before(tmp_path, name)


def test_panels_of_a_key_share_their_scale_and_have_a_colour_for_each_other_value(swept):
    groups = [group for group in groups_in(swept) if group.experiment == "l2"]
    by_key = by_value(groups, "weight_decay")
    names = [[name.removeprefix("step size ") for name, _ in lines] for lines in by_key.values()]
    assert names == [["0.001", "0.01", "0.1"], ["0.001", "0.01", "0.1"], ["0.001", "0.01"]]
    assert list(by_key) == ["weight decay 0.0", "weight decay 0.0001", "weight decay 0.001"]
    by_key["weight decay 0.0"] = by_key["weight decay 0.0"][1:]  # a missing setting does not change the colours
    shown = [figures.Panel(value, lines, (0.5, "linear")) for value, lines in by_key.items()]
    panels = figures.draw_panels(shown, "test_accuracy").axes[: len(shown)]
    assert [panel.get_title(loc="left") for panel in panels] == list(by_key)
    assert len({panel.get_ylim() for panel in panels}) == len({panel.get_xlim() for panel in panels}) == 1
    colours: dict[str, set[str]] = {}
    for panel, lines in zip(panels, by_key.values(), strict=True):
        for (name, _), line in zip(lines, panel.lines, strict=False):
            colours.setdefault(name, set()).add(line.get_color())
    assert [len(of_name) for of_name in colours.values()] == [1, 1, 1]
    assert len(set.union(*colours.values())) == 3
    assert all("linear" in [text.get_text() for text in panel.texts] for panel in panels)


def test_panels_of_methods_name_the_keys_that_each_sweeps(swept):
    by_key = by_value(groups_in(swept), "agent")
    assert {method: len(lines) for method, lines in by_key.items()} == {
        method: sum(group.method == method for group in groups_in(swept)) for method in by_key
    }
    assert all("step size" in name for lines in by_key.values() for name, _ in lines)


def test_the_figure_of_methods_uses_the_settings_chosen_by_lop_best(swept, tmp_path):
    for select in ("0-1", "2-3", "3,"):
        of = "--select-seeds", select, "--runs-dir", swept
        output = lop("plot", "--kind", "methods", *SMALL, *of, "-o", tmp_path / "figure.svg")
        choices = json.loads(lop("best", "--json", *of))["choices"]
        for choice in choices:
            assert f"{choice['experiment']}: {choice['setting']} is the best of {choice['num_settings']}" in output
            assert f"drawn on {name_seeds(choice['report_seeds'])}" in output
            assert f"(n={choice['n']}/{choice['n']})" in (tmp_path / "figure.svg").read_text()


def test_sensitivity_draws_the_last_tenth_through_the_best_setting(swept):
    groups = [group for group in groups_in(swept) if group.experiment == "l2"]
    lines, notes = settings_along(groups, ["step_size"], "test_accuracy", None)
    assert notes == ["l2: drawn at weight_decay=0.0001, as in its best setting"]
    panel = figures.draw_sensitivity(lines, "step_size", ["test_accuracy"]).axes[0]
    expected = [
        100 * np.mean([run.series["test_accuracy"][-1] for run in group.runs])
        for value in (0.001, 0.01, 0.1)
        for group in groups
        if group.setting == f"step_size={value},weight_decay=0.0001"
    ]
    assert panel.lines[0].get_ydata() == pytest.approx(expected)
    assert panel.get_xscale() == "log"
    assert "l2 (n=4)" in [text.get_text() for text in panel.texts]


def test_zero_has_a_place_on_a_log_axis_of_settings(swept):
    groups = [group for group in groups_in(swept) if group.setting.startswith("step_size=0.01")]
    lines, _ = settings_along(groups, ["weight_decay"], "test_accuracy", None)
    panel = figures.draw_sensitivity(lines, "weight_decay", ["test_accuracy"]).axes[0]
    assert [text.get_text() for text in panel.get_xticklabels()] == ["0", "0.0001", "0.001"]
    assert panel.lines[0].get_xdata().tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--kind", "sensitivity"], "shows one key, and these runs sweep step_size, weight_decay; name one key"),
        (["--kind", "grid", "--where", "method:bp"], "shows two keys, and these runs sweep step_size"),
        (["--kind", "sensitivity", "--over", "stepsize"], 'did you mean "step_size"?: not swept here'),
        (["--over", "step_size"], "add --kind panels, sensitivity or grid"),
        (["--kind", "panels"], "plot: --kind panels shows one key, and these runs sweep step_size, weight_decay"),
        (["--kind", "panels", "--over", "activation"], 'plot: --over "activation": not swept here'),
        (["--kind", "panels", "--over", "step_size", "test_accuracy", "curvature"], "curvature was not recorded"),
        (["--kind", "methods", "--select-seeds", "x"], '--select-seeds "x": write a number of seeds'),
        (["--kind", "sensitivity", "--where", "setting:step_size=0.1 method:bp"], "no experiment here is swept"),
    ],
)
def test_keys_that_are_not_swept_are_refused(swept, monkeypatch, capsys, arguments, expected):
    assert expected in refused(monkeypatch, capsys, "plot", *arguments, "--runs-dir", swept)


def test_a_setting_on_its_own_selection_seeds_is_labelled(swept, tmp_path):
    best, of = "bp/step_size=0.01", ("--runs-dir", swept)
    label = "bp step_size=0.01 is the best of 3 settings on seeds 0-1"
    output = lop("compare", best, "l2/step_size=0.01,weight_decay=0.0001", *of)
    assert label in output
    assert '--where "seed:2-3"' in output
    assert label in lop("plot", *SMALL, "--where", "setting:step_size=0.01", *of, "-o", tmp_path / "figure.png")
    lop("report", *of, "-o", tmp_path / "report.html")
    assert label in (tmp_path / "report.html").read_text()
    other = ("--where", "seed:2-3")
    assert label not in lop("compare", best, "l2/step_size=0.01,weight_decay=0.0001", *other, *of)
    assert label not in lop("plot", *SMALL, *other, *of, "-o", tmp_path / "figure.png")
    lop("report", *other, *of, "-o", tmp_path / "report.html")
    assert label not in (tmp_path / "report.html").read_text()
    assert label not in lop("compare", "bp/step_size=0.1", "l2/step_size=0.01,weight_decay=0.0001", *of)


def assert_looks_as_before(tmp_path, name):
    baseline = PICTURES / f"{name}.png"
    if IS_DRAWING:
        shutil.copy(tmp_path / f"{name}.png", baseline)
    shutil.copy(baseline, tmp_path / "expected.png")  # matplotlib writes the difference into the same folder
    assert compare_images(str(tmp_path / "expected.png"), str(tmp_path / f"{name}.png"), tol=2) is None


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
@pytest.mark.parametrize(
    "kind", [["--kind", "within-task"], ["--kind", "seeds", "--heatmap", "--where", "cbp"], ["--kind", "sweep"]]
)
@pytest.mark.long
def test_the_same_records_give_the_same_bytes(made, tmp_path, kind, suffix):
    digests = set()
    for name in ("one", "two"):
        path = tmp_path / f"{name}.{suffix}"
        lop("plot", *kind, *SMALL, "--runs-dir", made, "-o", path)
        digests.add(hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(digests) == 1
