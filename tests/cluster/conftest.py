"""These tests need a Slurm, which `make test-cluster` starts; without one they are not collected."""

import os

collect_ignore_glob = [] if "LOP_CLUSTER" in os.environ else ["test_*.py"]
