"""The screen of lop: command line and dashboard. It knows no torch."""
