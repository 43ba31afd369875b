"""`make gpu-check`, tried on a CPU."""
