"""``python -m recitative``."""

from recitative.cli.main import main

main()
