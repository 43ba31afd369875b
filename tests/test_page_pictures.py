"""The pictures of the pages, drawn from run directories."""

import ast
from xml.etree import ElementTree

import pytest

from pages import pictures
from tests.helpers import ROOT, make_run

SVG = "{http://www.w3.org/2000/svg}"


async def test_the_animation_shows_the_training_and_then_the_views_of_the_keys(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "LOOK_EVERY_S", 0.2)
    for method in ("bp", "cbp"):
        make_run(tmp_path, method, num_tasks=30, state="finished")
    training, after = await pictures.record(tmp_path)
    assert {done for done, _ in training} == {60}
    assert len(after) == 1 + len(pictures.KEYS)
    svg = ElementTree.fromstring(pictures.animate(training, after))
    frames = [one for one in svg.iter(f"{SVG}g") if one.get("class", "").startswith("f ")]
    assert len(frames) == 1 + len(after)  # the end of the training, then what the keys show
    assert {"bp", "cbp"} <= {word for text in svg.iter(f"{SVG}text") for word in (text.text or "").split()}


@pytest.mark.parametrize("folder", ["lop_engine", "lop_tui", "bench", "pages"])
def test_the_main_guard_of_a_module_is_its_last_statement(folder):
    for path in (ROOT / folder).rglob("*.py"):
        statements = ast.parse(path.read_text()).body
        ifs = [at for at, one in enumerate(statements) if isinstance(one, ast.If)]
        guards = [at for at in ifs if "__name__" in ast.unparse(statements[at].test)]
        assert guards in ([], [len(statements) - 1]), path
