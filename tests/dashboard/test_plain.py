"""Control characters in names, errors and logs never reach the dashboard's terminal."""

from dataclasses import replace
from pathlib import Path

from tests.dashboard.conftest import app_showing, first_frame, read
from tests.helpers import make_run

EVIL = "\x1b]0;title\x07\x1b[2J\x1b[31mred\x9b31m\x08\u202e"


async def test_no_screen_shows_a_control_character(tmp_path: Path) -> None:
    runs_dir = tmp_path / f"runs{EVIL}"
    for seed in range(2):
        run = make_run(
            runs_dir, f"a{EVIL}", seed, setting=f"s{EVIL}", state="failed", num_tasks=60, error=f"why {EVIL}"
        )
        run.write_status(replace(run.read_status(), note=f"note{EVIL}", host=f"h{EVIL}", device=f"cpu{EVIL}"))
        run.log.write_text(f"line {EVIL}\n")
    (make_run(runs_dir, "bp", num_tasks=60).path / "run.json").write_text("{")
    shown = ""
    app = app_showing(read(runs_dir))
    async with app.run_test(size=(140, 40)) as pilot:
        await first_frame(pilot)
        for key in ("1", "escape", "s", "e", "l", "escape", "escape", "c", "escape", "R", "n"):
            await pilot.press(key)
            await pilot.pause()
            segments = [segment for strip in app.screen._compositor.render_strips() for segment in strip]
            shown += "".join(segment.text for segment in segments if not segment.control)
    assert "red" in shown
    assert shown.isprintable()
