"""How much the tests of this folder do: little in ``make test``, much in ``make soak``."""

import os

SOAK = bool(os.environ.get("RECITATIVE_SOAK"))


def amount(short, soak):
    """The first in ``make test``, the second in ``make soak``."""
    return soak if SOAK else short
