"""The child process that trains a stack of runs: from run directories to records and checkpoints."""
