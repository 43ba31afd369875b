"""``python -m lop_tui`` is ``lop``."""

from lop_tui.cli import main

main()
