"""What docs/dashboard.md takes from the dashboard itself.

``python -m tests.dashboard_document`` writes its keys anew; with a runs directory as argument, its pictures,
of runs that exist.
"""

import asyncio
import sys
from pathlib import Path

from lop_engine.runs.reading import RunsReader
from lop_engine.runs.views import Snapshot
from lop_tui.dashboard.app import Dashboard

PAGE = Path(__file__).parents[1] / "docs/dashboard.md"
HEADING = "## Keys\n"

#: Pictures by the keys that lead to them.
PICTURES = {
    "dashboard": ["left", "shift+left"],
    "dashboard-seeds": ["e", "left"],
    "dashboard-compare": ["c"],
}


def build() -> str:
    """The whole page, with the present keys."""
    parts = [PAGE.read_text().partition(HEADING)[0] + HEADING]
    parts.append("`?` shows these, those of the present view first; ctrl+p finds each by name.\n")
    for part, keys in Dashboard(lambda: Snapshot(Path("runs"))).key_table():
        rows = [f"| {_code(key)} | {description} |" for key, description in keys.items()]
        parts.append("\n".join([f"### {part}\n", "| key | does |", "|---|---|", *rows]) + "\n")
    return "\n".join(parts)


def _code(keys: str) -> str:
    return " ".join(f"`{key}`" for key in keys.split())


async def take_pictures(runs_dir: Path) -> None:
    """Write the page's pictures."""
    for name, keys in PICTURES.items():
        app = Dashboard(RunsReader(runs_dir).read)
        async with app.run_test(size=(140, 42)) as pilot:
            while app.view is None:
                await pilot.pause(0.1)
            for key in keys:
                await pilot.press(key)
                await pilot.pause(1)
            await pilot.pause(2)
            PAGE.with_name(f"{name}.svg").write_text(app.export_screenshot(title="lop watch"))


if __name__ == "__main__":
    if sys.argv[1:]:
        asyncio.run(take_pictures(Path(sys.argv[1])))
    else:
        PAGE.write_text(build())
