"""Each seed of one setting by itself, and the epochs of a task."""
