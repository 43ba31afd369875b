"""The views of the dashboard: see `registry`."""
