"""Each seed of one setting separately, and the epochs of a task."""
