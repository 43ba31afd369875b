"""``python -m lop_engine.worker``: what launchers of older versions, which may still be running, start as a worker."""

import sys

from lop_engine.training.worker import main

if __name__ == "__main__":
    sys.exit(main())
