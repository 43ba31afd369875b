"""Runs ``lop`` as ``python -m lop_tui``."""

from lop_tui.cli import main

main()
