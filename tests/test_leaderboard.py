"""The leaderboard: its plan, its choice of settings, resuming, and its page."""

import json
import re
from pathlib import Path
from shutil import rmtree
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from bench import leaderboard, leaderboard_plan
from bench.leaderboard_page import PageInput, page
from bench.leaderboard_plan import FULL, SMALL, Board, Price, fit, seconds_of, whole_board
from lop_engine.bench import measure
from lop_engine.bench.costs import Costs
from lop_engine.errors import UserError
from lop_engine.experiment.registry import METHODS
from lop_engine.experiment.run import Run, load_runs, shipped
from lop_engine.experiment.spec import validate
from lop_tui import cli
from lop_tui.commands.cluster import HERE
from lop_tui.commands.training import TrainingOptions
from lop_tui.words.console import Console
from tests.helpers import TINY, append_tasks, make_run

BENCH = {"methods": {"rows": [{"name": "bp", "over_bp": 1.0}, {"name": "cbp", "over_bp": 1.25}]}}
COSTS = Costs(start_s=1, task_s=0, epoch_s=0.05, metrics_s=0)


def means(runs_dir: Path) -> TrainingOptions:
    return TrainingOptions(runs_dir, "cpu", 2, 1, 1, False, False, HERE)


@pytest.fixture(autouse=True)
def known_costs(monkeypatch):
    monkeypatch.setattr(leaderboard_plan, "measure_costs", lambda specs, *_: dict.fromkeys(specs, COSTS))


def table_of(text: str) -> list[dict[str, str]]:
    """Return the rows of a page's table by heading, without the bold markers."""
    lines = [line for line in text.partition("\n## ")[0].splitlines() if line.startswith("|")]
    headings, _, *rows = ([cell.strip().strip("*") for cell in line.strip("|").split("|")] for line in lines)
    return [dict(zip(headings, row, strict=True)) for row in rows]


def call(*words: str) -> int:
    return leaderboard.main(["--small", "--seeds", "2", "--runs-dir", "board", "-o", "page.md", *words])


def seeds_trained() -> dict[str, set[int]]:
    """Return the seeds that have a run directory, by experiment and setting."""
    seeds: dict[str, set[int]] = {}
    for path in Path("board").glob("*/*/seed_*"):
        seeds.setdefault(f"{path.parent.parent.name}/{path.parent.name}", set()).add(int(path.name[5:]))
    return seeds


def last_tenth(experiment: str, setting: str, seeds: range) -> float:
    """Return the mean over seeds of the last of four tasks, which is the last tenth of these runs."""
    tables = [Path(f"board/{experiment}/{setting}/seed_{seed:03d}/tasks.json") for seed in seeds]
    return float(np.mean([list(json.loads(one.read_text())["tasks"].values())[-1]["test_accuracy"] for one in tables]))


@pytest.mark.long
def test_a_small_leaderboard_trains_writes_its_page_and_then_trains_only_missing_runs():
    Path("board").mkdir()
    Path("board/bench.json").write_text(json.dumps(BENCH))
    assert call() == 0
    trained = seeds_trained()
    settings = {name: seeds for name, seeds in trained.items() if name.startswith("cbp/")}
    assert trained["bp/default"] == {100, 101}  # one setting: nothing to choose
    assert sorted(map(sorted, settings.values())) == [[0, 1], [0, 1, 100, 101]]
    [chosen] = [name.partition("/")[2] for name, seeds in settings.items() if 100 in seeds]
    on_selection = {name: last_tenth(*name.split("/"), range(2)) for name in settings}
    assert on_selection[f"cbp/{chosen}"] == max(on_selection.values())
    text = Path("page.md").read_text()
    rows = {row["method"]: row for row in table_of(text)}
    assert rows.keys() == {"bp", "cbp"}
    assert (rows["cbp"]["setting"], rows["cbp"]["n"], rows["cbp"]["searched"]) == (chosen, "2", "2 of 2")
    assert rows["cbp"]["last tenth"].startswith(f"{100 * last_tenth('cbp', chosen, range(100, 102)):.1f} ±")
    assert rows["cbp"]["step / bp"] == "1.25"

    records = {path: path.stat().st_mtime_ns for path in Path("board").glob("*/*/*/*.json")}
    plan = Path("board/leaderboard.json").read_bytes()
    Path("page.md").unlink()
    assert call() == 0
    assert {path: path.stat().st_mtime_ns for path in Path("board").glob("*/*/*/*.json")} == records
    assert Path("board/leaderboard.json").read_bytes() == plan
    assert Path("page.md").read_text() == text

    rmtree("board/bp/default/seed_101")
    assert call() == 0
    now = {path: path.stat().st_mtime_ns for path in Path("board").glob("*/*/*/*.json")}
    assert {path.parent.name for path in records if now[path] != records[path]} == {"seed_101"}
    assert table_of(Path("page.md").read_text()) == table_of(text)


def record(name: str, seeds: tuple[int, ...], accuracy: float | None, rank: float = 3.0, slope: float = 0.0) -> None:
    """Write runs of 20 tasks, without recorded tasks if `accuracy` is None.

    With a slope, odd seeds are a point better.
    """
    method, setting = name.split("/")
    for seed in seeds:
        run_dir = make_run(Path("board"), method, seed, setting=setting, tasks_done=0, num_tasks=20)
        if accuracy is not None:
            values = accuracy + slope * np.arange(20) + (seed % 2) / 100 * bool(slope)
            append_tasks(run_dir, {"test_accuracy": values, "effective_rank": np.full(20, rank)}, 0, 20)


def board_of_records() -> str:
    """Return the page of written runs: bp, two settings of cbp, and two of snr without a value."""
    record("bp/default", (100, 101), 0.5, slope=0.002)
    record("cbp/rate=1", (0, 1), 0.7)
    record("cbp/rate=2", (0, 1), 0.9)
    record("cbp/rate=1", (100, 101), 0.99)  # not a run of this board, so it must be ignored
    record("cbp/rate=2", (100, 101), 0.6, rank=4.0)
    record("snr/a=1", (0, 1), None)
    record("snr/a=2", (0, 1), None)
    spec = validate(TINY, "tiny")
    names = {"bp": ["default"], "cbp": ["rate=1", "rate=2"], "snr": ["a=1", "a=2"]}
    settings = {method: [Run(method, name, 0, spec) for name in own] for method, own in names.items()}
    board = Board(settings, {"bp": 1, "cbp": 5, "snr": 2}, range(2), range(100, 102))
    runs = [*board.search, *board.reported({"bp": "default", "cbp": "rate=2"})]
    choices = leaderboard.choices_of(board, runs, means(Path("board")))
    searched = {"bp": (1, 1), "cbp": (2, 5), "snr": (2, 2)}
    return page(PageInput(choices, searched, {"bp": 1}, board.select, board.report, spec, "the command", 60, 90))


def test_the_page_reports_the_setting_that_the_selection_seeds_chose():
    text = board_of_records()
    cbp, bp, snr = table_of(text)  # sorted by the last tenth, methods without a value last
    assert [row["method"] for row in (cbp, bp, snr)] == ["cbp", "bp", "snr"]
    assert (cbp["setting"], cbp["searched"], cbp["n"]) == ("rate=2", "2 of 5", "2")
    assert (cbp["first tenth"], cbp["last tenth"], cbp["area"]) == ("60.0 ± 0.0",) * 3  # selection seeds have 90
    assert (cbp["rank"], cbp["minus cbp"], cbp["step / bp"]) == ("4.00", "-", "-")
    # bp's last two tasks: 53.7 % with seed 100, a point more with seed 101; t of one degree of freedom is 12.7.
    assert (bp["first tenth"], bp["last tenth"]) == ("50.6 ± 6.4", "54.2 ± 6.4")
    assert (bp["minus bp"], bp["minus cbp"]) == ("-", "-5.80 (-12.15 to +0.55)")
    assert cbp["minus bp"] == "+5.80 (-0.55 to +12.15)"
    assert bp["best tenth"] == bp["last tenth"]  # the curve rises
    assert snr["last tenth"] == "-"
    assert "| cbp | rate=2: 90.0; rate=1: 70.0 |" in text
    assert "snr: no setting has a value of every selection seed" in text


def test_the_page_states_its_protocol_its_machine_and_its_limits():
    text = board_of_records()
    assert re.findall(r"^#+ (.+)$", text, re.MULTILINE) == [
        "Leaderboard",
        "The search",
        "Protocol",
        "What these figures cannot show",
        "Where and when",
    ]
    for fact in (
        "6 classes of synthetic images, 12 training and 6 test images per class",
        "3 tasks of two classes, 1 epoch per task, batches of 8: 3 steps per task",
        "on seeds 0-1. These\n  seeds are not reported",
        "chosen settings on seeds 100-101",
        "not ImageNet",
        "few seeds",
        "grids are small",
        "Command: `the command`",
        "Versions: lop ",
        "torch ",
        "cores, ",
        "included: 60 s of wall time",
        "without other load: 90 s)",
    ):
        assert fact in text


def test_every_registered_method_has_a_grid_that_includes_the_setting_of_its_file():
    board = whole_board(FULL, 5, 2)
    assert list(board.settings) == list(METHODS.built_in)
    for method, grid in leaderboard_plan.GRIDS.items():
        path = shipped().get(f"demo/{method}") or shipped()[f"demo/methods/{method}"]
        [of_file] = load_runs(path, [0])
        assert all(values[0] == getattr(of_file.spec, key) for key, values in grid.items())
    for method, runs in board.settings.items():
        assert {run.spec.method for run in runs} == {method}
        assert len({run.setting for run in runs}) == len(runs) == board.num_in_files[method]
        assert {run.spec.num_tasks for run in runs} == {FULL.changes["num_tasks"]}
    seeds = {run.seed for run in board.search}, {run.seed for run in board.reported(dict.fromkeys(board.settings, ""))}
    assert seeds[0] == {0, 1}
    assert not seeds[0] & set(board.report)
    assert {run.experiment for run in board.search}.isdisjoint(board.without_choice)


def test_the_largest_part_of_the_grid_that_fits_the_time_is_searched(tmp_path):
    whole, costs = whole_board(FULL, 5, 2), dict.fromkeys(FULL.methods, Price(COSTS, 1))
    everything = seconds_of(whole, costs, means(tmp_path))
    board, seconds = fit(whole, costs, means(tmp_path), everything / 60)
    assert board.settings == whole.settings
    assert seconds == everything
    part, seconds = fit(whole, costs, means(tmp_path), 0.8 * everything / 60)
    assert seconds <= 0.8 * everything
    num = max(map(len, part.settings.values()))
    assert seconds_of(whole.first(num + 1), costs, means(tmp_path)) > 0.8 * everything
    assert all(runs == whole.settings[method][:num] for method, runs in part.settings.items())
    least = seconds_of(whole.first(1), costs, means(tmp_path))
    # 24 methods with five seeds, on two workers
    assert least == pytest.approx(60 * (COSTS.start_s + COSTS.of_run(whole.settings["bp"][0].spec)))
    with pytest.raises(UserError, match=r"--minutes 1: the reported seeds alone take about .* allow more minutes"):
        fit(whole, costs, means(tmp_path), 1)


def test_a_smaller_stack_takes_proportionally_less_time():
    spec = validate(TINY, "tiny")
    whole = Price(COSTS, 4).seconds(spec, 4)
    assert whole == COSTS.start_s + COSTS.of_run(spec)
    assert Price(COSTS, 4).seconds(spec, 2) == pytest.approx(COSTS.start_s + (whole - COSTS.start_s) / 2)


def test_a_dry_run_prints_the_plan_and_writes_nothing(capsys):
    assert call("--dry-run") == 0
    output = capsys.readouterr().out
    assert "2 methods, 3 of 3 settings (at most 2 a method), 8 runs: about " in output
    assert "cbp: step_size=" in output
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    ("content", "words", "message"),
    [
        (
            None,
            ["--seeds", "3"],
            "board/leaderboard.json: was made with other seeds (2, not 3); name another --runs-dir",
        ),
        ("{", [], "board/leaderboard.json: is not a JSON object; remove it and run the command again"),
        ('{"asked": {}}', [], "board/leaderboard.json: is not a plan of this command"),
    ],
)
def test_a_plan_of_other_seeds_or_a_damaged_one_is_refused_before_training(capsys, content, words, message):
    Path("board").mkdir()
    args = SimpleNamespace(seeds=2, select=2, minutes=100, dry_run=False)
    leaderboard_plan.planned(SMALL, args, means(Path("board")), SimpleNamespace())
    if content:
        Path("board/leaderboard.json").write_text(content)
    before = Path("board/leaderboard.json").read_bytes()
    assert call(*words) == 2
    assert f"leaderboard: {message}" in capsys.readouterr().err
    assert Path("board/leaderboard.json").read_bytes() == before
    assert [path.name for path in Path("board").iterdir()] == ["leaderboard.json"]


def test_step_costs_come_from_lop_bench_and_are_cached(tmp_path, monkeypatch):
    """Run `lop bench` in this process, with two methods."""
    monkeypatch.setattr(measure, "METHODS_BY_NAME", ["bp", "linear"])

    def lop(words: list[str], **_: object) -> SimpleNamespace:
        result = CliRunner().invoke(cli.app, words[3:])
        return SimpleNamespace(returncode=result.exit_code, stdout=result.stdout.encode())

    monkeypatch.setattr("subprocess.run", lop)
    costs = leaderboard.step_costs(SMALL, tmp_path, Console())
    assert list(costs) == ["bp", "linear"]
    assert costs["bp"] == 1
    assert 0 < costs["linear"] < 1
    monkeypatch.setattr("subprocess.run", None)  # the second call must not run it
    assert leaderboard.step_costs(SMALL, tmp_path, Console()) == costs


def test_a_file_that_is_not_the_output_of_lop_bench_is_refused(tmp_path):
    (tmp_path / "bench.json").write_text('{"steps": []}')
    with pytest.raises(UserError, match=r"bench\.json: is not the output of lop bench --methods --json"):
        leaderboard.step_costs(SMALL, tmp_path, SimpleNamespace())


@pytest.mark.parametrize("words", [["--seeds", "1"], ["--select", "0"], ["--select", "101"]])
def test_invalid_numbers_of_seeds_are_refused(words, capsys):
    with pytest.raises(SystemExit):
        call(*words)
    assert "--seeds takes 2 or more, --select 1 to 100" in capsys.readouterr().err
