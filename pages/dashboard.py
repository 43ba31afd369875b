"""The keys in docs/dashboard.md: ``python -m pages.dashboard`` writes them."""

from pathlib import Path

from lop_engine.runs.views import Snapshot
from lop_tui.dashboard.app import Dashboard
from pages import DOCS

PAGE = DOCS / "dashboard.md"
HEADING = "## Keys\n"


def build() -> str:
    """Return the whole page, with the current keys."""
    parts = [PAGE.read_text().partition(HEADING)[0] + HEADING]
    parts.append("`?` shows this list, with the keys of the current view first. ctrl+p finds an action by its name.\n")
    for part, keys in Dashboard(lambda: Snapshot(Path("runs"))).key_table():
        rows = [f"| {_code(key)} | {description} |" for key, description in keys.items()]
        parts.append("\n".join([f"### {part}\n", "| key | does |", "|---|---|", *rows]) + "\n")
    return "\n".join(parts)


def _code(keys: str) -> str:
    return " ".join(f"`{key}`" for key in keys.split())


if __name__ == "__main__":
    PAGE.write_text(build())
