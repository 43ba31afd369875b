"""`p`: the figure that `lop plot` draws of the screen."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure
from textual.pilot import Pilot
from typer.testing import CliRunner

from lop_engine.runs.reading import RunsReader
from lop_engine.runs.views import Snapshot
from lop_tui import cli
from lop_tui.commands import plot_drawing
from lop_tui.commands.plot_drawing import Plan
from lop_tui.dashboard import control
from lop_tui.dashboard.app import Dashboard
from lop_tui.dashboard.settings import Settings
from lop_tui.figures import Look
from tests.dashboard.conftest import app_showing, first_frame, settled, until
from tests.helpers import make_run
from tests.toys import STREAM, make_toy

SIX = ["test_accuracy", "curvature", "dormant_proportion", "effective_rank", "stable_rank", "weight_magnitude"]


@pytest.fixture
def runs(tmp_path: Path) -> Snapshot:
    """Make runs with names that contain each other, settings with a comma and a space, and another problem."""
    for experiment, setting in (
        ("bp", "default"),
        ("cbp", "default"),
        ("cbp", "step_size=0.1"),
        ("cbp", "step_size=0.1,activation=leaky relu"),
        ("l2", "step_size=0.1"),
    ):
        for seed in range(2):
            make_run(tmp_path, experiment, seed, setting=setting, num_tasks=60, tasks_done=60, state="finished")
    make_toy(tmp_path, "stream", components=STREAM)
    return RunsReader(tmp_path).read()


class Drawn:
    """The plan that `lop plot` drew."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[Plan, Look, bool]] = []

        def drawn(plan: Plan, look: Look, heatmap: bool, *rest: object) -> Figure:
            self.calls.append((plan, look, heatmap))
            return Figure((1, 1))

        async def run_lop(*arguments: str) -> tuple[int, str]:
            answer = CliRunner().invoke(cli.app, list(arguments))
            assert not answer.exception, answer.exception
            return 0, answer.output

        monkeypatch.setattr(plot_drawing, "drawn", drawn)
        monkeypatch.setattr(control, "run_lop", run_lop)

    async def after(self, pilot: Pilot[bool], *keys: str) -> tuple[Plan, Look, bool]:
        """Press some keys, then `p`; return the drawn plan."""
        num_before = len(self.calls)
        for key in keys:
            await pilot.press(key)
            await settled(pilot)
        await pilot.press("p")
        await until(pilot, lambda: len(self.calls) > num_before)
        return self.calls[-1]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    return Drawn(monkeypatch)


def labels(plan: Plan) -> list[str]:
    return [group.label for group in plan.groups]


def showing(runs: Snapshot, **settings: object) -> Dashboard:
    return app_showing(runs, settings=Settings(problem="continual_imagenet", **settings))  # type: ignore[arg-type]


async def test_the_figure_has_the_charts_of_the_page_or_the_enlarged_one(runs: Snapshot, drawn: Drawn) -> None:
    async with showing(runs).run_test(size=(160, 48)) as pilot:
        await settled(pilot)
        plan, _, _ = await drawn.after(pilot)
        assert plan.metrics == SIX
        assert len(plan.groups) == 5
        plan, _, _ = await drawn.after(pilot, "3")
        assert plan.metrics == ["dormant_proportion"]
        plan, _, _ = await drawn.after(pilot, "escape", "right_square_bracket")
        assert plan.metrics == ["train_accuracy"]


async def test_the_figure_has_the_chosen_charts_and_the_visible_methods(runs: Snapshot, drawn: Drawn) -> None:
    charts = (("continual_imagenet", ("stable_rank", "test_accuracy")),)
    async with showing(runs, charts=charts, hidden=("cbp",)).run_test(size=(160, 48)) as pilot:
        await settled(pilot)
        plan, _, _ = await drawn.after(pilot)
        assert plan.metrics == ["stable_rank", "test_accuracy"]
        rest = ["bp", "cbp step_size=0.1", "cbp step_size=0.1,activation=leaky relu", "l2 step_size=0.1"]
        assert labels(plan) == rest
        for label in ["bp", *rest[1:]]:
            pilot.app.change(solo=label)  # type: ignore[attr-defined]
            await settled(pilot)
            plan, _, _ = await drawn.after(pilot)
            assert labels(plan) == [label]


async def test_with_every_method_hidden_there_is_no_figure(runs: Snapshot, drawn: Drawn) -> None:
    hidden = ("bp", "cbp", "cbp step_size=0.1", "cbp step_size=0.1,activation=leaky relu", "l2 step_size=0.1")
    async with showing(runs, hidden=hidden).run_test(size=(160, 48)) as pilot:
        await settled(pilot)
        await pilot.press("p")
        assert [note.message for note in pilot.app._notifications] == ["no curve is shown that a figure could have"]
    assert not drawn.calls


async def test_the_figure_has_the_range_bins_and_scale_of_the_screen(runs: Snapshot, drawn: Drawn) -> None:
    async with showing(runs, bin_size=5).run_test(size=(160, 48)) as pilot:
        app = await first_frame(pilot)
        await settled(pilot)
        app.ask(window=(0.0, 30.0))
        await settled(pilot)
        _, look, _ = await drawn.after(pilot, "1", "g")
        assert (look.bin_size, look.tasks, look.log) == (5, (1, 30), True)


async def test_the_figure_of_a_problem_counted_in_examples_has_its_range(
    runs: Snapshot, drawn: Drawn, tmp_path: Path
) -> None:
    app = app_showing(runs, settings=Settings(problem="toy_stream"))
    async with app.run_test(size=(160, 48)) as pilot:
        await settled(pilot)
        plan, _, _ = await drawn.after(pilot, "1")
        assert labels(plan) == ["stream"]


async def test_the_views_of_seeds_and_of_two_methods_have_figures(runs: Snapshot, drawn: Drawn) -> None:
    async with showing(runs).run_test(size=(160, 48)) as pilot:
        await settled(pilot)
        plan, _, heatmap = await drawn.after(pilot, "down", "e")
        assert (labels(plan), plan.kind, heatmap) == (["cbp"], "seeds", True)
        plan, _, _ = await drawn.after(pilot, "escape", "c")
        assert (labels(plan), plan.kind, plan.metrics) == (["cbp", "cbp step_size=0.1"], "tasks", ["test_accuracy"])
