"""`lop report`: a runs directory as one HTML page with results, configuration and commands."""
