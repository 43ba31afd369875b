"""Start worker processes."""
