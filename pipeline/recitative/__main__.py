"""``recitative``, and ``python -m recitative``."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType


def main() -> None:
    """Import and run the command line. Ctrl-C during the import also ends in one line."""
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:
        signal.signal(signal.SIGINT, _exit_interrupted)
    from recitative.cli.start import main as run

    signal.signal(signal.SIGINT, handler)
    run()


def _exit_interrupted(number: int, frame: FrameType | None) -> None:
    print("error: interrupted", file=sys.stderr)
    os._exit(130)  # an exception could be caught by the imported module


if __name__ == "__main__":
    main()
