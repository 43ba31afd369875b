"""`lop report`: a page that needs no other file, and from which the runs can be repeated."""

import html
import json
import re

import pytest

from lop_engine.analysis import group_runs, summarise
from lop_engine.experiment.run import load_runs
from lop_engine.experiment.sweep import parse_seeds
from lop_engine.runs.reading import RunsReader
from lop_tui.report.configuration import configuration_of, recipes
from tests.cli.test_views import lop, refused
from tests.helpers import TINY, make_run


@pytest.fixture
def runs_dir(tmp_path):
    for seed in range(3):
        make_run(tmp_path / "runs", "bp", seed, num_tasks=60)
        make_run(tmp_path / "runs", "cbp", seed, num_tasks=60, spec={"replacement_rate": 1e-3})
    return tmp_path / "runs"


def groups_in(runs_dir):
    return group_runs(RunsReader(runs_dir).read().runs)


def identity(run) -> tuple:
    return run.experiment, run.setting, run.seed, run.spec.to_dict()


def page(runs_dir, *options) -> str:
    lop("report", "--runs-dir", runs_dir, "-o", runs_dir / "page.html", *options)
    return (runs_dir / "page.html").read_text()


def test_the_page_needs_no_other_file_and_no_network(runs_dir):
    text = page(runs_dir)
    assert re.findall(r'(?:src|href)="(?!data:image/svg\+xml;base64,|#)', text) == []
    assert text.count("<img") == 2
    assert re.search(r"@import|url\(|<script|<link", text) is None


def test_the_numbers_of_the_page_agree_with_other_views(runs_dir):
    words = re.sub(r"<[^>]*>", " ", page(runs_dir))
    for group in groups_in(runs_dir):
        summary = summarise(group)
        assert f"{100 * summary.last:.1f} ± {100 * summary.last_standard_error:.1f}" in words


def test_the_same_runs_give_the_same_page(runs_dir):
    assert page(runs_dir) == page(runs_dir)


def test_configuration_keys_are_divided_into_differing_and_common_ones(runs_dir):
    configuration = configuration_of(groups_in(runs_dir))
    assert configuration.differing["agent"] == ["bp", "cbp"]
    assert configuration.common["num_tasks"] == "60"
    assert not configuration.differing.keys() & configuration.common.keys()


@pytest.mark.parametrize(
    "settings",
    [{}, {"step_size": [0.1, 0.01]}, {"width": [0.5, 1.0], "step_size": [0.1, 0.01], "metrics": ["test_accuracy"]}],
)
def test_the_experiment_files_in_the_page_reproduce_its_settings_and_seeds(tmp_path, settings):
    source = tmp_path / "bp.json"
    of_cbp = {"replacement_rate", "maturity_threshold"}
    shared = {key: value for key, value in TINY.items() if key not in of_cbp}
    source.write_text(json.dumps(shared | {"agent": "bp"} | settings | {"num_tasks": 40}))
    before = load_runs(source, [0, 1, 5])
    for run in before:
        make_run(tmp_path / "runs", "bp", run.seed, setting=run.setting, spec=run.spec.to_dict())
    [recipe] = recipes(groups_in(tmp_path / "runs"))
    assert recipe.command == "lop run bp.json --seeds 0-1,5"
    (tmp_path / "again").mkdir()
    again = tmp_path / "again" / recipe.file_name
    again.write_text(recipe.content)
    seeds = parse_seeds(recipe.command.split()[-1])
    assert sorted(map(identity, load_runs(again, seeds))) == sorted(map(identity, before))


def test_markup_in_an_error_is_shown_as_text(runs_dir):
    error = 'RuntimeError: <script>alert("&")</script>'
    make_run(runs_dir, "l2", 0, state="failed", tasks_done=0, error=error)
    text = page(runs_dir)
    assert "<script" not in text
    assert error in html.unescape(text)


def test_one_method_has_a_page_without_a_comparison(runs_dir):
    assert "seed by seed" not in page(runs_dir, "--where", "method:bp")


def test_the_other_methods_are_compared_with_the_baseline(runs_dir):
    assert "Against bp, seed by seed" in page(runs_dir)
    assert "Against cbp, seed by seed" in page(runs_dir, "--baseline", "cbp")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "page.pdf"], "call it page.html"),
        (["--where", "seed:99"], "matches none of the 6 runs"),
        (["--baseline", "cpb"], 'did you mean "cbp"?'),
    ],
)
def test_impossible_reports_are_refused_in_one_line(runs_dir, monkeypatch, capsys, options, message):
    error = refused(monkeypatch, capsys, "report", "--runs-dir", runs_dir, *options)
    assert message in error
    assert error.count("\n") == 1
