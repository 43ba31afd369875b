"""These tests want a Slurm, which `make test-cluster` starts; where there is none nobody is told of them."""

import os

collect_ignore_glob = [] if "LOP_CLUSTER" in os.environ else ["test_*.py"]
