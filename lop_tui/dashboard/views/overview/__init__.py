"""The first view: a table of settings, and a chart of each metric."""
