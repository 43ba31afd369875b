"""`lop compare` and `lop check` on generated runs."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from lop_engine.analysis import compare_to_first, group_runs
from lop_engine.runs.reading import RunsReader
from lop_tui import cli
from tests.cli.test_views import lop, refused
from tests.helpers import make_run
from tests.reproduction.test_claims import CFG, spec_of


@pytest.fixture
def runs_dir(tmp_path):
    for method in ("bp", "cbp", "l2"):
        for seed in range(3):
            make_run(tmp_path / "runs", method, seed, num_tasks=60)
    return tmp_path / "runs"


def test_compare_prints_the_numbers_of_the_analysis(runs_dir):
    answer = json.loads(lop("compare", "bp", "cbp", "--json", "--runs-dir", runs_dir))
    bp, cbp, _ = group_runs(RunsReader(runs_dir).read().runs)
    (expected,) = compare_to_first([bp, cbp], "test_accuracy")
    (comparison,) = answer["comparisons"]
    assert (comparison["a"], comparison["b"], comparison["pairs"]) == ("bp/default", "cbp/default", [0, 1, 2])
    for row, stretch in zip(comparison["stretches"], expected.stretches, strict=True):
        assert row["mean"] == stretch.test.difference.mean
        assert row["bootstrap_interval"] == list(stretch.test.bootstrap)
        assert (row["p"], row["p_holm"]) == (stretch.test.p_value, None)
    assert answer["correction"] is None


def test_compare_prints_where_the_curves_separate_and_the_pairs_behind_it(runs_dir):
    shown = lop("compare", "bp", "cbp", "--runs-dir", runs_dir)
    assert "cbp - bp: test accuracy, percentage points" in shown
    assert "3 pairs of seeds, bins of 2 tasks, tasks 1-60" in shown
    assert "the curves differ from task" in shown
    assert "fewer than 20 pairs: the bootstrap interval is too narrow" in shown
    assert "last tenth" in shown
    assert "p (Holm)" not in shown


def test_compare_as_markdown_prints_a_table_for_each_comparison(runs_dir):
    shown = lop("compare", "bp", "cbp", "l2", "--markdown", "--last", 5, "--bin", 6, "--runs-dir", runs_dir)
    assert shown.count("| over | mean | 95 % by t | 95 % by bootstrap | p | p (Holm) | d_z | agree |") == 2
    assert shown.count("| last 5 bins | ") == 2
    assert "corrected for the 2 groups compared with bp" in shown


def test_compare_names_runs_and_bins_that_it_left_out(runs_dir):
    make_run(runs_dir, "bp", 7, num_tasks=60)
    make_run(runs_dir, "cbp", 9, num_tasks=60, tasks_done=20, state="stopped")
    make_run(runs_dir, "bp", 9, num_tasks=60)
    make_run(runs_dir, "snp", 0, num_tasks=80, num_epochs=20)
    shown = lop("compare", "bp", "cbp", "snp", "--runs-dir", runs_dir)
    assert "unpaired, only in bp: seed 7" in shown
    assert "left out, lacking bins up to task 60: seed 9" in shown
    assert "not finished, cbp: seed 9 (stopped, 20 of 60 tasks)" in shown
    assert "bp has 60 tasks, snp 80: the common ones" in shown
    assert "warning: the protocols differ" in shown
    assert "num_showings (10 and 20)" in shown
    assert "a single pair of seeds: no interval and no test" in shown


def test_compare_accepts_any_metric_and_a_selection_of_runs(runs_dir):
    words = ["compare", "bp/default", "cbp", "--metric", "curvature", "--metric", "dormant_proportion"]
    answer = json.loads(lop(*words, "--where", "seed:0-1", "--json", "--runs-dir", runs_dir))
    assert [one["metric"] for one in answer["comparisons"]] == ["curvature", "dormant_proportion"]
    assert answer["comparisons"][0]["pairs"] == [0, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bp"], "name two or more"),
        (["bp", "bpp"], '"bpp" names no run'),
        (["bp", "0"], '"0" names 3 settings; name one of bp/default, cbp/default'),
        (["bp", "cbp", "bp/default"], '"bp/default" names bp twice'),
        (["bp", "cbp", "--metric", "test_acuracy"], 'did you mean "test_accuracy"?'),
        (["bp", "cbp", "--metric", "srank"], "bp and cbp recorded no srank"),
        (["bp/default/0", "cbp/default/1"], "bp and cbp have no seed in common"),
        (["bp", "cbp", "--json", "--markdown"], "Choose one"),
        (["bp", "cbp", "--runs-dir", "nowhere"], "no runs in nowhere"),
        (["bp", "cbp", "--where", "sed:3"], 'did you mean "seed"?'),
        (["bp", "cbp", "--where", "state:failed"], "matches none of the 9 runs"),
    ],
)
def test_compare_refuses_invalid_arguments_in_one_line(runs_dir, monkeypatch, capsys, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    error = refused(monkeypatch, capsys, "compare", *arguments)
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("words", [["compare", "bp", "cbp"], ["check"]])
def test_seeds_of_different_experiments_under_one_name_are_refused(runs_dir, monkeypatch, capsys, words):
    make_run(runs_dir, "bp", 8, num_tasks=60, spec={"step_size": 0.5})
    assert "step_size: 0.5" in refused(monkeypatch, capsys, *words, "--runs-dir", runs_dir)


def test_runs_without_a_complete_bin_cannot_be_compared(tmp_path, monkeypatch, capsys):
    for method in ("bp", "cbp"):
        make_run(tmp_path, method, 0, num_tasks=90, tasks_done=2, state="stopped")
    error = refused(monkeypatch, capsys, "compare", "bp", "cbp", "--runs-dir", tmp_path)
    assert "no seed of bp and cbp has a whole bin (3 tasks) of test accuracy in both; try a smaller --bin" in error
    make_run(tmp_path, "l2", 0, num_tasks=90, tasks_done=0, state="queued")
    error = refused(monkeypatch, capsys, "compare", "bp", "l2", "--bin", "1", "--runs-dir", tmp_path)
    assert "no seed of bp and l2 has recorded test accuracy of a task in both yet" in error


def checked(*arguments):
    result = CliRunner().invoke(cli.app, ["check", *map(str, arguments)])
    return result.exit_code, result.stdout


def test_many_settings_without_a_claim_share_a_line(tmp_path):
    own = spec_of("cbp") | {"num_tasks": 20}
    for step in range(20):
        make_run(tmp_path, "cbp", setting=f"step_size={step:02d}", num_tasks=20, spec=own | {"step_size": 1 + step})
    make_run(tmp_path, "short", num_tasks=20, spec=own | {"num_showings": 100})
    status, shown = checked("--runs-dir", tmp_path)
    assert status == 3
    [line] = [line for line in shown.splitlines() if "has no claim about" in line]
    names = ", ".join(f"cbp step_size={step:02d}" for step in range(6))
    assert line == (
        f"20 settings: Dohare et al. 2024 has no claim about them: {names} and 14 more (--json says how each differs)"
    )
    assert "short: not the protocol of Dohare et al. 2024: num_showings is 100, not 250" in shown
    notes = json.loads(checked("--json", "--runs-dir", tmp_path)[1])["notes"]
    assert sum("has no claim about it; unlike cbp: step_size is " in note for note in notes) == 20


def make_demo(runs_dir, method, courses):
    """Make demo runs, one seed for each of `courses`, the methods whose generated curves they have."""
    for seed, course in enumerate(courses):
        make_run(runs_dir, course, seed, num_tasks=150, spec=spec_of(method, CFG / "demo"), setting=method)


def test_check_compares_demo_runs_with_the_claims_of_the_demo(tmp_path):
    make_demo(tmp_path, "bp", ["bp", "bp"])
    assert checked("--runs-dir", tmp_path)[0] == 0
    make_demo(tmp_path, "cbp", ["cbp", "cbp"])
    status, shown = checked("--runs-dir", tmp_path)
    assert status == 0
    assert "3 reproduced, 0 not reproduced, 0 not enough data" in shown


def test_check_names_claims_that_are_not_reproduced_and_exits_1(tmp_path):
    make_demo(tmp_path, "cbp", ["bp", "bp"])
    status, shown = checked("--runs-dir", tmp_path)
    assert status == 1
    assert "not reproduced: 0 of 2 seeds" in shown
    assert "2 claims not shown: there are no runs of bp" in shown


def test_check_of_runs_outside_any_protocol_names_the_keys_that_differ(runs_dir):
    status, shown = checked("--runs-dir", runs_dir)
    assert status == 3
    assert "no runs of a published protocol" in shown
    assert "bp: not the protocol of Dohare et al. 2024: momentum is 0.0, not 0.9; num_showings is 10, not 250" in shown


def test_check_as_json_prints_only_json_with_every_claim(tmp_path):
    for seed in range(5):
        make_run(tmp_path, "linear", seed, num_tasks=60, spec=spec_of("linear") | {"num_tasks": 60})
    status, shown = checked("--json", "--runs-dir", tmp_path)
    (protocol,) = json.loads(shown)["protocols"]
    by_claim = {one["claim"]: one for one in protocol["claims"]}
    first = by_claim["linear has 77.1 %, tasks 1-50"]
    assert (first["published"], first["num_seeds"]) == (0.771, 5)
    assert by_claim["cbp is above l2 at task 5000"]["missing"] == ["cbp", "l2"]
    assert by_claim["cbp is above l2 at task 5000"]["mean"] is None
    assert (status, first["verdict"]) == (1, "not reproduced")


def make_regression_demo(runs_dir, errors_of):
    """Make demo runs of Slowly-Changing Regression. `errors_of` gives the first and the last error of each method."""
    for method, errors in errors_of.items():
        for seed in range(6):
            course = np.linspace(*errors, 40) + 0.01 * seed
            spec = spec_of(method, CFG / "scr/demo")
            make_run(
                runs_dir, f"scr_{method}", seed, num_tasks=40, spec=spec, setting="x", metrics={"squared_error": course}
            )


def test_check_tests_each_problem_against_its_own_claims_in_its_own_unit(tmp_path):
    make_demo(tmp_path, "bp", ["bp", "bp"])
    make_regression_demo(tmp_path, {"bp": (0.6, 0.9), "cbp": (0.55, 0.6)})
    status, shown = checked("--runs-dir", tmp_path)
    assert status == 0
    assert "claims of the demo: test accuracy in %, differences in points" in shown
    assert "claims of the demo of Slowly-Changing Regression: squared error" in shown
    assert "3 reproduced, 0 not reproduced, 0 not enough data" in shown
    (rises,) = (line for line in shown.splitlines() if "bp loses: more error" in line)
    assert "+0.277   +0.277 to +0.277       6   reproduced" in rises


def test_check_reports_regression_runs_that_do_not_reproduce_the_claims(tmp_path):
    make_regression_demo(tmp_path, {"bp": (0.9, 0.6), "cbp": (0.55, 0.9)})
    status, shown = checked("--runs-dir", tmp_path)
    assert status == 1
    assert "0 reproduced, 3 not reproduced, 0 not enough data" in shown
    answer = json.loads(checked("--json", "--runs-dir", tmp_path)[1])
    assert answer["protocols"][0]["metric"] == "squared_error"


def test_a_report_has_the_claims_of_its_problem(tmp_path):
    make_regression_demo(tmp_path, {"bp": (0.6, 0.9)})
    lop("report", "--runs-dir", tmp_path, "-o", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "Claims of the demo of Slowly-Changing Regression" in page
    assert "<td>+0.277</td>" in page
    assert "squared error; means over seeds (n), 95 % intervals by Student" in page


def test_check_refuses_an_empty_selection_of_runs(tmp_path, runs_dir, monkeypatch, capsys):
    assert "check: no runs in" in refused(monkeypatch, capsys, "check", "--runs-dir", tmp_path / "none")
    error = refused(monkeypatch, capsys, "check", "--where", "state:failed", "--runs-dir", runs_dir)
    assert "matches none of the 9 runs" in error
