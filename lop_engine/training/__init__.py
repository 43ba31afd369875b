"""Training: the loop, one step of a learner, CUDA graphs."""
