"""The parts of docs/ that a command makes: generated pages, pictures, and the site of `make docs`."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
