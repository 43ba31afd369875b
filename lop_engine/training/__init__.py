"""The training loop, the training step of a learner, and CUDA graphs."""
