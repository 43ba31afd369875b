"""The `lop` command line: its commands in the order of `lop --help`, and error handling."""

import io
import os
import sys
from importlib import import_module

from lop_engine.errors import UserError, sentence
from lop_engine.text import plain
from lop_tui.commands.app import app as app

#: Modules of `lop_tui.commands`: each adds a command to `app`, and imports what its work needs when called.
COMMANDS = (
    *("run", "watch", "status", "stop", "resume", "wait", "logs", "rm", "configs", "doctor", "bench"),
    *("plot", "compare", "best", "table", "power", "check", "report", "export", "cite", "import_results", "merge"),
    *("list", "diff", "show", "components", "new", "data"),
)
for _name in COMMANDS:
    import_module(f"lop_tui.commands.{_name}")


_LONGEST = 4000
"""Characters of a message; the middle of a longer one is left out."""


def main() -> None:
    """Entry point: report user errors in one line on stderr with exit status 2, never as a traceback."""
    # Replace streams that the caller closed (>&-, <&-): output is dropped, input is empty.
    sys.stdin = sys.stdin or open(os.devnull)  # noqa: SIM115
    sys.stdout, sys.stderr = (stream or open(os.devnull, "w") for stream in (sys.stdout, sys.stderr))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # print ? for characters that the terminal cannot show
    try:
        app()
    except UserError as error:
        _complain(str(error))
    except BrokenPipeError:
        # Downstream closed the pipe (lop status | head).
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        _complain(sentence(error))
    except MemoryError as error:
        what = str(error) or "an allocation failed"
        _complain(f"out of memory ({what}); choose fewer runs with --where, fewer seeds, or larger bins with --bin")
    except KeyboardInterrupt:
        sys.exit(130)


def _complain(message: str) -> None:
    # A file name may contain line ends or control characters, and a value be longer than a screen.
    line = plain(message, escaped=True)
    if len(line) > _LONGEST:
        line = f"{line[: _LONGEST // 2]} ... {line[-_LONGEST // 2 :]}"
    print(f"lop: {line}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
