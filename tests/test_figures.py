"""`lop plot`: a picture a kind, held against the one of before; what it says and what it refuses.

``LOP_DRAW=1 pytest tests/test_figures.py`` draws the pictures of `tests/figures` anew: look at each.
"""

import hashlib
import json
import os
import re
import shutil
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.testing.compare import compare_images
from typer.testing import CliRunner

from lop_engine.analysis import Curve, group_runs
from lop_engine.analysis.comparison import refuse_mixed
from lop_engine.analysis.curves import BANDS, reach
from lop_engine.analysis.windows import epoch_curves, late_task, mean_level
from lop_engine.errors import UserError
from lop_engine.experiment import seen
from lop_engine.experiment.registry import METHODS
from lop_engine.experiment.run import load_runs
from lop_engine.runs.reading import RunsReader
from lop_engine.runs.records import epoch_document
from lop_engine.runs.store import TableWriter
from lop_tui import cli, figures
from lop_tui.commands.plot_settings import settings_along
from lop_tui.figures.ends import spread
from lop_tui.figures.room import short, shortened
from lop_tui.words.formats import name_seeds
from lop_tui.words.palette import OTHER_COLOURS, colours_of, ink, tint
from tests.helpers import ROOT, append_tasks, make_metrics, make_run

PICTURES = Path(__file__).parent / "figures"
CFG = ROOT / "cfg"
IS_DRAWING = bool(os.environ.get("LOP_DRAW"))
SMALL = ("--size", "4x2.6", "--dpi", "60")

#: Another one sets type a little differently.
drawn_with_this_matplotlib = pytest.mark.skipif(
    not matplotlib.__version__.startswith("3.11."), reason="the pictures were drawn with matplotlib 3.11"
)


def lop(*arguments) -> str:
    result = CliRunner().invoke(cli.app, [str(word) for word in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(monkeypatch, capsys, *arguments) -> str:
    monkeypatch.setattr(sys, "argv", ["lop", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "Traceback" not in error
    return error


def groups_in(runs_dir):
    return group_runs(RunsReader(runs_dir).read().runs)


def record_epochs(run, tasks, num_epochs=8):
    with TableWriter(run.epochs_json, "epochs") as table:
        for task in tasks:
            for epoch in range(num_epochs):
                learned = 1 - 0.5 * np.exp(-epoch / (2 + task / 20)) + 0.01 * run.seed
                table.append(epoch_document(task, epoch, {"train_accuracy": learned, "test_accuracy": 0.9 * learned}))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Three methods of three seeds, one of them behind; a sweep of three step sizes; the linear baseline."""
    runs_dir = tmp_path_factory.mktemp("made") / "runs"
    for method in ("l2", "cbp"):
        for seed in range(3):
            behind = (method, seed) == ("l2", 2)
            run = make_run(runs_dir, method, seed, num_tasks=60, tasks_done=30 if behind else 60)
            record_epochs(run, (0, 29) if behind else (0, 29, 59))
    for step_size, method in ((0.01, "bp"), (0.001, "l2"), (0.0001, "snp")):  # the methods lend their courses
        for seed in range(3):
            spec = {"step_size": step_size, "agent": "bp"}
            setting = f"step_size={step_size}"
            run = make_run(runs_dir, "bp", seed, setting=setting, num_tasks=60, tasks_done=0, spec=spec)
            append_tasks(run, make_metrics(method, 60, seed), 0, 60)
    for seed in range(2):
        make_run(runs_dir, "linear", seed, num_tasks=60)
    return runs_dir


def paper_runs(runs_dir, *names):
    """The first 100 tasks of two seeds of the paper's files."""
    for run in (run for name in names for run in load_runs(CFG / f"{name}.json", seeds=[0, 1])):
        spec = run.spec.to_dict()
        made = make_run(runs_dir, run.experiment, run.seed, setting=run.setting, tasks_done=0, spec=spec)
        append_tasks(made, make_metrics(run.experiment, 150, run.seed), 0, 100)


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
def test_each_kind_looks_as_it_did(made, tmp_path, name, arguments):
    size = SMALL[2:] if "--size" in arguments else SMALL
    lop("plot", *size, "--runs-dir", made, "-o", tmp_path / f"{name}.png", *arguments)
    assert_looks_as_before(tmp_path, name)


@drawn_with_this_matplotlib
def test_the_paper_s_levels_look_as_they_did(tmp_path):
    paper_runs(tmp_path / "runs", "bp", "cbp")
    arguments = ["--reference", "--bin", 10, "--runs-dir", tmp_path / "runs", "--tasks", "-200"]
    lop("plot", *SMALL, *arguments, "-o", tmp_path / "reference.png")
    assert_looks_as_before(tmp_path, "reference")


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Two methods over step size; l2 also over weight decay, of which one setting did not run."""
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
    ],
)
def test_settings_look_as_they_did(swept, tmp_path, name, arguments):
    lop("plot", *SMALL, *arguments, "--runs-dir", swept, "-o", tmp_path / f"{name}.png")
    assert_looks_as_before(tmp_path, name)


def test_the_figure_of_methods_uses_the_choice_of_best(swept, tmp_path):
    for select in ("0-1", "2-3", "3,"):
        of = "--select-seeds", select, "--runs-dir", swept
        said = lop("plot", "--kind", "methods", *SMALL, *of, "-o", tmp_path / "figure.svg")
        choices = json.loads(lop("best", "--json", *of))["choices"]
        for choice in choices:
            assert f"{choice['experiment']}: {choice['setting']} is the best of {choice['num_settings']}" in said
            assert f"drawn on {name_seeds(choice['report_seeds'])}" in said
            assert f"(n={choice['n']}/{choice['n']})" in (tmp_path / "figure.svg").read_text()


def test_sensitivity_draws_the_last_tenth_through_the_best_setting(swept):
    groups = [group for group in groups_in(swept) if group.experiment == "l2"]
    lines, notes = settings_along(groups, ["step_size"], "test_accuracy", None)
    assert notes == ["l2: drawn at weight_decay=0.0001, as its best setting has"]
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


def test_zero_and_words_have_their_places_on_the_axis(swept):
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
        (["--over", "step_size"], "add --kind sensitivity"),
        (["--kind", "methods", "--select-seeds", "x"], '--select-seeds "x": write a number of seeds'),
        (["--kind", "sensitivity", "--where", "setting:step_size=0.1 method:bp"], "no experiment here is swept"),
    ],
)
def test_keys_that_are_not_swept_are_refused(swept, monkeypatch, capsys, arguments, expected):
    assert expected in refused(monkeypatch, capsys, "plot", *arguments, "--runs-dir", swept)


def test_a_setting_on_its_own_selection_seeds_is_labelled(swept, tmp_path):
    best, of = "bp/step_size=0.01", ("--runs-dir", swept)
    label = "bp step_size=0.01 is the best of 3 settings on seeds 0-1"
    said = lop("compare", best, "l2/step_size=0.01,weight_decay=0.0001", *of)
    assert label in said
    assert '--where "seed:2-3"' in said
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
    shutil.copy(baseline, tmp_path / "expected.png")  # matplotlib writes the difference beside it
    assert compare_images(str(tmp_path / "expected.png"), str(tmp_path / f"{name}.png"), tol=2) is None


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
@pytest.mark.parametrize(
    "kind", [["--kind", "within-task"], ["--kind", "seeds", "--heatmap", "--where", "cbp"], ["--kind", "sweep"]]
)
def test_the_same_records_give_the_same_bytes(made, tmp_path, kind, suffix):
    digests = set()
    for name in ("one", "two"):
        path = tmp_path / f"{name}.{suffix}"
        lop("plot", *kind, *SMALL, "--runs-dir", made, "-o", path)
        digests.add(hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(digests) == 1


def test_a_figure_does_not_heed_a_person_s_own_matplotlib(made, tmp_path):
    lop("plot", *SMALL, "--runs-dir", made, "-o", tmp_path / "one.png")
    with matplotlib.rc_context({"axes.facecolor": "black", "lines.dash_capstyle": "round", "font.size": 30}):
        lop("plot", *SMALL, "--runs-dir", made, "-o", tmp_path / "two.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_a_line_whose_seeds_become_fewer_is_told_and_dotted(made, tmp_path):
    said = lop("plot", *SMALL, "--runs-dir", made, "-o", tmp_path / "figure.svg", "--where", "l2")
    assert "l2: 3 seeds up to task 30, then fewer, 2 at the end (dotted)" in said
    assert "l2 (n=2/3)" in (tmp_path / "figure.svg").read_text()


def test_a_single_seed_has_no_band_and_says_so(made, tmp_path):
    said = lop("plot", *SMALL, "--runs-dir", made, "-o", tmp_path / "figure.svg", "--where", "method:cbp seed:1")
    assert "one seed: cbp has no band" in said
    assert "PolyCollection" not in (tmp_path / "figure.svg").read_text()


def test_a_single_task_is_a_point(tmp_path):
    for seed in range(2):
        make_run(tmp_path / "runs", "bp", seed, num_tasks=1)
    for kind in ("tasks", "methods", "seeds"):
        lop("plot", "--kind", kind, *SMALL, "--runs-dir", tmp_path / "runs", "-o", tmp_path / "figure.png")
    lop("plot", "--kind", "metrics", "--runs-dir", tmp_path / "runs", "-o", tmp_path / "figure.png")
    lop("plot", "--kind", "seeds", "--heatmap", "--runs-dir", tmp_path / "runs", "-o", tmp_path / "figure.png")
    panel = figures.draw(groups_in(tmp_path / "runs"), ["test_accuracy"]).axes[0]
    assert all(float(tick).is_integer() for tick in panel.get_xticks())


def test_the_figure_of_methods_takes_each_one_s_best_setting_and_says_which(made, tmp_path):
    said = lop("plot", "--kind", "methods", *SMALL, "--runs-dir", made, "-o", tmp_path / "figure.svg")
    assert "bp: step_size=0.0001 is the best of 3 settings" in said
    drawn = (tmp_path / "figure.svg").read_text()
    assert "drawn on seeds 1-2" in said
    assert "bp step_size=0.0001 (n=2/2)" in drawn
    assert "step_size=0.01 " not in drawn
    assert seen.method("bp").colour.lower() in drawn


def test_a_sweep_stands_before_the_linear_baseline(made, tmp_path):
    figure = tmp_path / "figure.svg"
    for words in ([], ["bp"], ["cfg/bp.json", "test_accuracy"]):
        lop("plot", "--kind", "sweep", *words, *SMALL, "--runs-dir", made, "-o", figure)
        assert "step size 0.001 (n=3/3)" in figure.read_text()
        assert "linear (n=2/2)" in figure.read_text()


def test_the_paper_s_levels_stand_beside_the_paper_s_protocol_if_they_are_asked_for(tmp_path):
    paper_runs(tmp_path / "runs", "bp")
    figure = tmp_path / "figure.svg"
    for kind, said in (("tasks", "Dohare et al. 2024"), ("sweep", "linear, published")):
        lop("plot", "--kind", kind, "--reference", "--bin", 10, "--runs-dir", tmp_path / "runs", "-o", figure)
        assert said in figure.read_text()
        lop("plot", "--kind", kind, "--bin", 10, "--runs-dir", tmp_path / "runs", "-o", figure)
        assert said not in figure.read_text()


def test_the_epochs_of_named_tasks(made, tmp_path):
    figure = tmp_path / "figure.svg"
    said = lop("plot", "--kind", "within-task", "--at", "30,60", "--runs-dir", made, "-o", figure, "--where", "cbp")
    assert "task 30 (n=3/3)" in figure.read_text()
    assert "task 1 " not in figure.read_text()
    assert "left out" not in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--kind", "sweeps"], 'did you mean "sweep"?'),
        (["--band", "ci"], "there are se, sd, ci95, none"),
        (["--style", "slide"], "there are paper, screen"),
        (["--size", "big"], "write width and height in inches"),
        (["--size", "90x90", "--dpi", "600"], "more than 20000 dots"),
        (["--dpi", "1"], "dots an inch, 10 to 2400"),
        (["srank"], "srank was not recorded in these runs (they have train_accuracy"),
        (["--kind", "sweep", "snp"], 'no runs are of "snp"; name one of bp, cbp, l2, linear'),
        (["--kind", "sweep", "--where", "cbp"], "no experiment here is swept"),
        (["--kind", "sweep", "bp", "cbp"], "shows one experiment"),
        (["--kind", "seeds", "curvature", "srank"], "srank was not recorded"),
        (["--kind", "seeds", "curvature", "stable_rank"], "a panel is a setting here, so name one metric"),
        (["--kind", "within-task", "--at", "0"], "counted from 1"),
        (["--kind", "within-task", "--at", "7"], "no test_accuracy is recorded within these tasks"),
        (["--heatmap"], "add --kind seeds"),
        (["--at", "7"], "add --kind within-task"),
        (["-o", "/proc/figure.png"], "/proc/figure.png"),
        (["-o", "figure.png", "--title", r"$\no$"], "figure.png: cannot be drawn: ParseFatalException: Unknown symbol"),
        (["-o", f"{'n' * 250}.png"], "n.png: File name too long"),
        (["all", "--size", "4x3", "--style", "screen"], "4x3 inches are too small for what stands in this figure"),
        (["-o", "."], "choose one of .png, .svg, .pdf"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_line(made, monkeypatch, capsys, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert message in refused(monkeypatch, capsys, "plot", "--runs-dir", made, *arguments)
    assert not list(tmp_path.iterdir())


def test_names_are_shortened_in_the_middle_and_stay_apart():
    assert short("bp step_size=0.001") == "bp step_size=0.001"
    assert short("a" * 30 + "b" * 30) == "a" * 12 + "…" + "b" * 11
    alike = {f"{'a' * 20}{middle}{'b' * 20}": f"{'a' * 20}{middle}{'b' * 20}" for middle in "12"}
    assert len(set(shortened(alike).values())) == 2


@pytest.fixture
def badly_named(tmp_path):
    """Twenty settings, with names too long, in another script and in mathematics."""
    for name in ("日本語", "$x_1$", "x" * 100, "new\nline", *(f"method{number}" for number in range(16))):
        make_run(tmp_path / "runs", name, 0, num_tasks=4)
    return tmp_path / "runs"


def test_a_figure_grows_with_the_names_in_it_and_the_size_it_asks_for_is_enough(badly_named, tmp_path):
    groups, metrics = groups_in(badly_named), ["test_accuracy", "curvature"]
    assert b"xxxx\xe2\x80\xa6xxxx" in figures.as_svg(figures.draw(groups, metrics))
    for style in figures.STYLES:
        small = figures.Look(style=style, size=(6, 3))
        with pytest.raises(UserError, match="too small") as refusal:
            figures.save(figures.draw(groups, metrics, small), tmp_path / "figure.png", small)
        size = re.search(r"it needs about (\d+)x(\d+)", str(refusal.value))
        look = figures.Look(style=style, size=(float(size[1]), float(size[2])))
        figures.save(figures.draw(groups, metrics, look), tmp_path / "figure.png", look)


def test_letters_that_the_font_lacks_are_one_remark(badly_named, tmp_path):
    arguments = ["plot", "--kind", "seeds", "--runs-dir", str(badly_named), "--where", "日本語", "--dpi", "60", "-o"]
    result = CliRunner().invoke(cli.app, [*arguments, str(tmp_path / "figure.png")])
    assert result.stderr.startswith("no letter in the figure's font, boxes in their place: 日本語 (")
    assert result.stderr.count("\n") == 1
    assert not CliRunner().invoke(cli.app, [*arguments, str(tmp_path / "figure.svg")]).stderr


@pytest.mark.parametrize(("command", "suffix"), [("plot", "svg"), ("report", "html")])
def test_a_link_stays_a_link_and_its_target_is_written(tmp_path, command, suffix):
    for seed in range(2):
        make_run(tmp_path / "runs", "bp", seed, num_tasks=4)
    target, link = tmp_path / f"target.{suffix}", tmp_path / f"link.{suffix}"
    target.write_text("old")
    link.symlink_to(target.name)
    lop(command, "--runs-dir", tmp_path / "runs", "-o", link)
    assert link.is_symlink()
    assert len(target.read_bytes()) > 1000
    link.unlink()
    link.symlink_to(tmp_path / "runs" / "bp" / "default" / "seed_000" / "tasks.json")
    result = CliRunner().invoke(cli.app, [command, "--runs-dir", str(tmp_path / "runs"), "-o", str(link)])
    assert "tasks.json, which is no" in str(result.exception)


def test_a_setting_has_one_colour_in_every_kind(made, tmp_path):
    colour = colours_of(groups_in(made))["bp step_size=0.001"].lower()
    for kind in ("tasks", "sweep", "methods", "seeds"):
        arguments = ["--kind", kind, "--where", "setting:step_size=0.001", *SMALL, "--runs-dir", made]
        lop("plot", *arguments, "-o", tmp_path / "figure.svg")
        assert colour in (tmp_path / "figure.svg").read_text()


def test_a_panel_above_an_empty_place_has_its_tasks_below_it(made):
    panels = figures.draw_seeds(groups_in(made)[:3], "test_accuracy").axes
    named = [panel.xaxis.get_tick_params()["labelbottom"] for panel in panels[:3]]
    assert named == [False, True, True]


def test_the_default_of_a_sweep_is_called_by_its_value(tmp_path):
    for setting, step_size in (("default", 0.01), ("step_size=0.1", 0.1), ("step_size=0.001", 0.001)):
        make_run(tmp_path / "runs", "bp", 0, setting=setting, num_tasks=4, spec={"step_size": step_size})
    lop("plot", "--kind", "sweep", "--runs-dir", tmp_path / "runs", "-o", tmp_path / "figure.svg")
    assert "step size 0.01 (n=1/1)" in (tmp_path / "figure.svg").read_text()


def test_a_finished_seed_without_values_is_named(tmp_path):
    make_run(tmp_path / "runs", "bp", 0, num_tasks=4)
    make_run(tmp_path / "runs", "bp", 1, num_tasks=4, tasks_done=0, state="finished")
    said = lop("plot", "--kind", "seeds", "--runs-dir", tmp_path / "runs", "-o", tmp_path / "figure.svg")
    assert "bp, seed 1: finished without any test_accuracy" in said
    assert "bp, 1 of 2 seeds" in (tmp_path / "figure.svg").read_text()


def test_seeds_of_different_protocol_under_one_name_are_refused(tmp_path, monkeypatch, capsys):
    make_run(tmp_path / "runs", "bp", 0)
    make_run(tmp_path / "runs", "bp", 1, num_tasks=50, spec={"use_gpu": False, "momentum": 0.0, "curvature_every": 0})
    refuse_mixed(groups_in(tmp_path / "runs"))  # a longer run, another machine, a default that is spelled out
    make_run(tmp_path / "runs", "bp", 2, spec={"step_size": 0.1})
    with pytest.raises(UserError, match=r"step_size is 0\.1 in the first and 0\.01 in"):
        refuse_mixed(groups_in(tmp_path / "runs"))
    error = refused(monkeypatch, capsys, "plot", "--runs-dir", tmp_path / "runs")
    assert "bp/default/seed_002 and bp/default/seed_000" in error
    lop("plot", "--runs-dir", tmp_path / "runs", "--where", "-seed:2")


def test_within_a_task_a_seldom_metric_is_drawn_where_it_was_measured(tmp_path):
    for seed, every in ((0, 4), (1, 2)):
        run = make_run(tmp_path / "runs", "cbp", seed, num_tasks=2, num_epochs=8, spec={"curvature_every": every})
        with TableWriter(run.epochs_json, "epochs") as table:
            for epoch in range(8):
                due = {"curvature": 0.1 + seed} if (epoch + 1) % every == 0 else {}
                table.append(epoch_document(0, epoch, {"test_accuracy": 0.5, **due}))
            table.append(epoch_document(1, 0, {"test_accuracy": 0.5}))
    [group] = groups_in(tmp_path / "runs")
    [curve] = epoch_curves(group, 1, ["curvature"])
    assert curve.task.tolist() == [2, 4, 6, 8]
    assert curve.mean == pytest.approx([1.1, 0.6, 1.1, 0.6])
    words = ["plot", "curvature", "--kind", "within-task", "--runs-dir", tmp_path / "runs", "--at", "1,2"]
    said = lop(*words, "-o", tmp_path / "figure.svg")
    assert "no curvature recorded within task 2" in said


def test_bands_are_what_they_are_called():
    values = np.array([[1.0, 5.0], [2.0, 5.0], [4.0, np.nan]])
    count = np.array([3, 1])
    error = np.array([values[:, 0].std() / 3**0.5, 0.0])
    curve = Curve(np.array([1.0, 2.0]), np.nanmean(values, 0), error, count, 1)
    bands = {name: reach(curve, name) for name in BANDS}
    assert bands["se"][0] == pytest.approx(values[:, 0].std() / 3**0.5)
    assert bands["sd"][0] == pytest.approx(values[:, 0].std())
    assert bands["ci95"][0] == pytest.approx(4.302653 * values[:, 0].std(ddof=1) / 3**0.5)
    assert np.isnan([bands["none"][0], *(band[1] for band in bands.values())]).all()


def test_a_level_is_the_mean_of_the_seeds_means(made):
    linear = next(group for group in groups_in(made) if group.experiment == "linear")
    means = [run.series["test_accuracy"].mean() for run in linear.runs]
    assert mean_level(linear, "test_accuracy") == pytest.approx(np.mean(means))
    assert np.isnan(mean_level(linear, "srank"))


def test_epochs_are_averaged_over_the_seeds_that_recorded_them(tmp_path):
    for seed in range(2):
        run = make_run(tmp_path / "runs", "bp", seed, num_tasks=3, tasks_done=3 - seed)
        record_epochs(run, range(3 - seed), num_epochs=3 - seed)
    (group,) = groups_in(tmp_path / "runs")
    assert late_task(group) == 3
    (curve,) = epoch_curves(group, 1, ["train_accuracy"])
    assert curve.task.tolist() == [1, 2, 3]
    assert curve.num_seeds.tolist() == [2, 2, 1]
    assert curve.mean[0] == pytest.approx(0.505)
    assert not len(epoch_curves(group, 9, ["train_accuracy"])[0].task)


def test_names_at_the_ends_never_overlap_and_stay_near():
    assert spread([0.2, 0.5, 0.8], 0.1) == [0.2, 0.5, 0.8]
    assert spread([0.5, 0.5], 0.1) == pytest.approx([0.45, 0.55])
    assert spread([0.0, 0.0, 1.0, 1.0], 0.1) == pytest.approx([0.0, 0.1, 0.9, 1.0])
    many = spread(sorted(np.random.default_rng(0).random(9)), 0.1)
    assert np.diff(many).min() > 0.0999
    assert 0 <= many[0] < many[-1] <= 1


def test_words_in_every_colour_can_be_read_on_paper():
    def contrast(colour: str) -> float:
        channels = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return 1.05 / (linear @ [0.2126, 0.7152, 0.0722] + 0.05)

    for colour in {*(method.colour for method in METHODS.values()), *OTHER_COLOURS}:
        assert contrast(ink(colour)) >= 4.5
        shades = [contrast(tint(colour, strength)) for strength in (1 / 3, 2 / 3, 1)]
        assert shades == sorted(shades)
