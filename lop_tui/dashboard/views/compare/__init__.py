"""The difference of two settings, seed by seed."""
