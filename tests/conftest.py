"""Give each test its own home and working directory, isolated from the user's and the checkout's files."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

#: Environment variables with these prefixes change what lop does or prints; tests run without them.
UNSET_PREFIXES = ("LOP_", "SLURM", "SBATCH_", "SUBMITIT_", "XDG_", "COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR")


def pytest_configure(config: pytest.Config) -> None:
    # Set before a test module imports matplotlib. All tests share it because listing the fonts takes seconds.
    os.environ["MPLCONFIGDIR"] = str(config.cache.mkdir("matplotlib"))
    # Set before Triton is imported: without a GPU its kernels run in its interpreter.
    os.environ["TRITON_INTERPRET"] = "1"
    # If a shell starts the tests in the background, they and their children ignore Ctrl-C.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Iterator[None]:
    """Run a test, and the fixtures of any scope that it sets up first, with an empty home and working directory.

    Child processes inherit both. Test modules read the suite's own switches (``LOP_FAULTS`` ...) on import.
    """
    directory, environment = os.getcwd(), dict(os.environ)
    with TemporaryDirectory(prefix="lop-test-", ignore_cleanup_errors=True) as place:
        _isolate(Path(place))
        try:
            return (yield)
        finally:
            os.chdir(directory)
            os.environ.clear()
            os.environ.update(environment)


def _isolate(place: Path) -> None:
    # No test may contact this machine's own cluster; only tests/cluster/slurm.sh sets LOP_CLUSTER.
    slurm_conf = os.environ["SLURM_CONF"] if "LOP_CLUSTER" in os.environ else os.devnull
    for name in [name for name in os.environ if name.startswith(UNSET_PREFIXES)]:
        del os.environ[name]
    for name in ("home", "here"):
        (place / name).mkdir()
    os.environ.update(HOME=str(place / "home"), SLURM_CONF=slurm_conf)
    os.chdir(place / "here")
