"""`lop plot` beside the curves: labels, notes, refusals, colours and room for names."""

import re

import matplotlib
import numpy as np
import pytest
from typer.testing import CliRunner

from lop_engine.analysis import Curve
from lop_engine.analysis.comparison import refuse_mixed
from lop_engine.analysis.curves import BANDS, reach
from lop_engine.analysis.windows import epoch_curves, late_task, mean_level
from lop_engine.errors import UserError
from lop_engine.experiment import lookup
from lop_engine.experiment.registry import METHODS
from lop_engine.runs.records import epoch_document
from lop_engine.runs.store import TableWriter
from lop_tui import cli, figures
from lop_tui.figures.ends import spread
from lop_tui.figures.room import short, shortened
from lop_tui.words.palette import OTHER_COLOURS, colours_of, ink, tint
from tests.figures.conftest import SMALL, groups_in, lop, paper_runs, record_epochs, refused
from tests.helpers import make_run


def test_figures_ignore_the_user_s_matplotlib_settings(made, tmp_path):
    lop("plot", *SMALL, "--runs-dir", made, "-o", tmp_path / "one.png")
    with matplotlib.rc_context({"axes.facecolor": "black", "lines.dash_capstyle": "round", "font.size": 30}):
        lop("plot", *SMALL, "--runs-dir", made, "-o", tmp_path / "two.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_a_line_with_fewer_seeds_than_before_is_dotted_and_noted(made, tmp_path):
    output = lop("plot", *SMALL, "--runs-dir", made, "-o", tmp_path / "figure.svg", "--where", "l2")
    assert "l2: 3 seeds up to task 30, then fewer, 2 at the end (dotted)" in output
    assert "l2 (n=2/3)" in (tmp_path / "figure.svg").read_text()


def test_a_single_seed_has_no_band_and_a_note(made, tmp_path):
    output = lop("plot", *SMALL, "--runs-dir", made, "-o", tmp_path / "figure.svg", "--where", "method:cbp seed:1")
    assert "one seed: cbp has no band" in output
    assert "PolyCollection" not in (tmp_path / "figure.svg").read_text()


def test_a_single_task_is_drawn_as_a_point(tmp_path):
    for seed in range(2):
        make_run(tmp_path / "runs", "bp", seed, num_tasks=1)
    for kind in ("tasks", "methods", "seeds"):
        lop("plot", "--kind", kind, *SMALL, "--runs-dir", tmp_path / "runs", "-o", tmp_path / "figure.png")
    lop("plot", "--kind", "metrics", "--runs-dir", tmp_path / "runs", "-o", tmp_path / "figure.png")
    lop("plot", "--kind", "seeds", "--heatmap", "--runs-dir", tmp_path / "runs", "-o", tmp_path / "figure.png")
    panel = figures.draw(groups_in(tmp_path / "runs"), ["test_accuracy"]).axes[0]
    assert all(float(tick).is_integer() for tick in panel.get_xticks())


def test_the_figure_of_methods_shows_and_names_the_best_setting_of_each(made, tmp_path):
    output = lop("plot", "--kind", "methods", *SMALL, "--runs-dir", made, "-o", tmp_path / "figure.svg")
    assert "bp: step_size=0.0001 is the best of 3 settings" in output
    drawn = (tmp_path / "figure.svg").read_text()
    assert "drawn on seeds 1-2" in output
    assert "bp step_size=0.0001 (n=2/2)" in drawn
    assert "step_size=0.01 " not in drawn
    assert lookup.method("bp").colour.lower() in drawn


def test_a_sweep_is_drawn_with_the_linear_baseline(made, tmp_path):
    figure = tmp_path / "figure.svg"
    for words in ([], ["bp"], ["cfg/bp.json", "test_accuracy"]):
        lop("plot", "--kind", "sweep", *words, *SMALL, "--runs-dir", made, "-o", figure)
        assert "step size 0.001 (n=3/3)" in figure.read_text()
        assert "linear (n=2/2)" in figure.read_text()


def test_the_levels_of_the_paper_are_drawn_on_request_for_its_protocol(tmp_path):
    paper_runs(tmp_path / "runs", "bp")
    figure = tmp_path / "figure.svg"
    for kind, output in (("tasks", "Dohare et al. 2024"), ("sweep", "linear, published")):
        lop("plot", "--kind", kind, "--reference", "--bin", 10, "--runs-dir", tmp_path / "runs", "-o", figure)
        assert output in figure.read_text()
        lop("plot", "--kind", kind, "--bin", 10, "--runs-dir", tmp_path / "runs", "-o", figure)
        assert output not in figure.read_text()


def test_the_figure_of_epochs_shows_the_named_tasks(made, tmp_path):
    figure = tmp_path / "figure.svg"
    output = lop("plot", "--kind", "within-task", "--at", "30,60", "--runs-dir", made, "-o", figure, "--where", "cbp")
    assert "task 30 (n=3/3)" in figure.read_text()
    assert "task 1 " not in figure.read_text()
    assert "left out" not in output


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
        (["--kind", "seeds", "curvature", "stable_rank"], "panels show settings here, so name one metric"),
        (["--kind", "within-task", "--at", "0"], "counted from 1"),
        (["--kind", "within-task", "--at", "7"], "no test_accuracy is recorded within these tasks"),
        (["--heatmap"], "add --kind seeds"),
        (["--at", "7"], "add --kind within-task"),
        (["-o", "/proc/figure.png"], "/proc/figure.png"),
        (["-o", "figure.png", "--title", r"$\no$"], "figure.png: cannot be drawn: ParseFatalException: Unknown symbol"),
        (["-o", f"{'n' * 250}.png"], "n.png: File name too long"),
        (["all", "--size", "4x3", "--style", "screen"], "4x3 inches are too small for this figure"),
        (["-o", "."], "choose one of .png, .svg, .pdf"),
    ],
)
def test_impossible_figures_are_refused_in_one_line(made, monkeypatch, capsys, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert message in refused(monkeypatch, capsys, "plot", "--runs-dir", made, *arguments)
    assert not list(tmp_path.iterdir())


def test_names_are_shortened_in_the_middle_and_stay_distinct():
    assert short("bp step_size=0.001") == "bp step_size=0.001"
    assert short("a" * 30 + "b" * 30) == "a" * 12 + "…" + "b" * 11
    alike = {f"{'a' * 20}{middle}{'b' * 20}": f"{'a' * 20}{middle}{'b' * 20}" for middle in "12"}
    assert len(set(shortened(alike).values())) == 2


@pytest.fixture
def badly_named(tmp_path):
    """Make twenty settings with names that are too long, in another script, or look like mathematics."""
    for name in ("日本語", "$x_1$", "x" * 100, "new\nline", *(f"method{number}" for number in range(16))):
        make_run(tmp_path / "runs", name, 0, num_tasks=4)
    return tmp_path / "runs"


def test_a_figure_grows_with_its_names_and_the_advised_size_is_enough(badly_named, tmp_path):
    groups, metrics = groups_in(badly_named), ["test_accuracy", "curvature"]
    assert b"xxxx\xe2\x80\xa6xxxx" in figures.as_svg(figures.draw(groups, metrics))
    for style in figures.STYLES:
        small = figures.Look(style=style, size=(6, 3))
        with pytest.raises(UserError, match="too small") as refusal:
            figures.save(figures.draw(groups, metrics, small), tmp_path / "figure.png", small)
        size = re.search(r"it needs about (\d+)x(\d+)", str(refusal.value))
        look = figures.Look(style=style, size=(float(size[1]), float(size[2])))
        figures.save(figures.draw(groups, metrics, look), tmp_path / "figure.png", look)


def test_letters_that_the_font_lacks_give_one_note(badly_named, tmp_path):
    arguments = ["plot", "--kind", "seeds", "--runs-dir", str(badly_named), "--where", "日本語", "--dpi", "60", "-o"]
    result = CliRunner().invoke(cli.app, [*arguments, str(tmp_path / "figure.png")])
    assert result.stderr.startswith("not in the figure's font, so drawn as boxes: 日本語 (")
    assert result.stderr.count("\n") == 1
    assert not CliRunner().invoke(cli.app, [*arguments, str(tmp_path / "figure.svg")]).stderr


@pytest.mark.parametrize(("command", "suffix"), [("plot", "svg"), ("report", "html")])
def test_writing_to_a_link_writes_its_target(tmp_path, command, suffix):
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


def test_a_setting_has_the_same_colour_in_every_kind(made, tmp_path):
    colour = colours_of(groups_in(made))["bp step_size=0.001"].lower()
    for kind in ("tasks", "sweep", "methods", "seeds"):
        arguments = ["--kind", kind, "--where", "setting:step_size=0.001", *SMALL, "--runs-dir", made]
        lop("plot", *arguments, "-o", tmp_path / "figure.svg")
        assert colour in (tmp_path / "figure.svg").read_text()


def test_a_panel_above_an_empty_place_has_tick_labels(made):
    panels = figures.draw_seeds(groups_in(made)[:3], "test_accuracy").axes
    named = [panel.xaxis.get_tick_params()["labelbottom"] for panel in panels[:3]]
    assert named == [False, True, True]


def test_the_default_of_a_sweep_is_named_by_its_value(tmp_path):
    for setting, step_size in (("default", 0.01), ("step_size=0.1", 0.1), ("step_size=0.001", 0.001)):
        make_run(tmp_path / "runs", "bp", 0, setting=setting, num_tasks=4, spec={"step_size": step_size})
    lop("plot", "--kind", "sweep", "--runs-dir", tmp_path / "runs", "-o", tmp_path / "figure.svg")
    assert "step size 0.01 (n=1/1)" in (tmp_path / "figure.svg").read_text()


def test_a_finished_seed_without_values_is_named(tmp_path):
    make_run(tmp_path / "runs", "bp", 0, num_tasks=4)
    make_run(tmp_path / "runs", "bp", 1, num_tasks=4, tasks_done=0, state="finished")
    output = lop("plot", "--kind", "seeds", "--runs-dir", tmp_path / "runs", "-o", tmp_path / "figure.svg")
    assert "bp, seed 1: finished without any test_accuracy" in output
    assert "bp, 1 of 2 seeds" in (tmp_path / "figure.svg").read_text()


def test_seeds_of_different_protocol_under_one_name_are_refused(tmp_path, monkeypatch, capsys):
    make_run(tmp_path / "runs", "bp", 0)
    make_run(tmp_path / "runs", "bp", 1, num_tasks=50, spec={"use_gpu": False, "momentum": 0.0, "curvature_every": 0})
    refuse_mixed(groups_in(tmp_path / "runs"))  # a longer run, another device, a default written out
    make_run(tmp_path / "runs", "bp", 2, spec={"step_size": 0.1})
    with pytest.raises(UserError, match=r"step_size: 0\.1 and 0\.01"):
        refuse_mixed(groups_in(tmp_path / "runs"))
    error = refused(monkeypatch, capsys, "plot", "--runs-dir", tmp_path / "runs")
    assert "bp/default/seed_002 and bp/default/seed_000" in error
    lop("plot", "--runs-dir", tmp_path / "runs", "--where", "-seed:2")


def test_a_metric_measured_in_some_epochs_is_drawn_at_those_epochs(tmp_path):
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
    output = lop(*words, "-o", tmp_path / "figure.svg")
    assert "no curvature recorded within task 2" in output


def test_bands_have_the_width_that_their_name_says():
    values = np.array([[1.0, 5.0], [2.0, 5.0], [4.0, np.nan]])
    count = np.array([3, 1])
    error = np.array([values[:, 0].std() / 3**0.5, 0.0])
    curve = Curve(np.array([1.0, 2.0]), np.nanmean(values, 0), error, count, 1)
    bands = {name: reach(curve, name) for name in BANDS}
    assert bands["se"][0] == pytest.approx(values[:, 0].std() / 3**0.5)
    assert bands["sd"][0] == pytest.approx(values[:, 0].std())
    assert bands["ci95"][0] == pytest.approx(4.302653 * values[:, 0].std(ddof=1) / 3**0.5)
    assert np.isnan([bands["none"][0], *(band[1] for band in bands.values())]).all()


def test_a_level_is_the_mean_over_the_means_of_seeds(made):
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


def test_names_at_line_ends_never_overlap_and_stay_near():
    assert spread([0.2, 0.5, 0.8], 0.1) == [0.2, 0.5, 0.8]
    assert spread([0.5, 0.5], 0.1) == pytest.approx([0.45, 0.55])
    assert spread([0.0, 0.0, 1.0, 1.0], 0.1) == pytest.approx([0.0, 0.1, 0.9, 1.0])
    many = spread(sorted(np.random.default_rng(0).random(9)), 0.1)
    assert np.diff(many).min() > 0.0999
    assert 0 <= many[0] < many[-1] <= 1


def test_text_in_every_colour_is_readable_on_white():
    def contrast(colour: str) -> float:
        channels = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return 1.05 / (linear @ [0.2126, 0.7152, 0.0722] + 0.05)

    for colour in {*(method.colour for method in METHODS.values()), *OTHER_COLOURS}:
        assert contrast(ink(colour)) >= 4.5
        shades = [contrast(tint(colour, strength)) for strength in (1 / 3, 2 / 3, 1)]
        assert shades == sorted(shades)
