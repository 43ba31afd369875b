"""``python -m lop_engine.worker RUN_DIR...``, see `process`."""

import sys

from lop_engine.worker.process import main

if __name__ == "__main__":
    sys.exit(main())
