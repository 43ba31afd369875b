"""What commands and the dashboard share: how values, settings and comparisons are put, and where text goes."""
