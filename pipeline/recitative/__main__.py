"""``recitative``, and ``python -m recitative``."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType


def main() -> None:
    """Load the command line and run it. Ctrl-C meanwhile is one line too: nothing has begun that could be left."""
    usual = signal.getsignal(signal.SIGINT)
    if usual is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)
    from recitative.cli.start import main as run

    signal.signal(signal.SIGINT, usual)
    run()


def _end(number: int, frame: FrameType | None) -> None:
    print("error: interrupted", file=sys.stderr)
    os._exit(130)  # an exception would come out of an import as whatever that makes of it


if __name__ == "__main__":
    main()
