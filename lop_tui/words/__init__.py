"""Text shared by commands and the dashboard: values, settings, comparisons, and where output goes."""
