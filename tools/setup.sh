#!/usr/bin/env bash
# Make .venv with the library and all it needs, from wheels only. Does nothing if that is done already.
#   PYTHON=python3.12 tools/setup.sh    with another Python
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
venv=.venv

command -v "$python" >/dev/null || {
  echo "error: '$python' is not there; install Python 3.11 or later, or name one: make PYTHON=/path/to/python3" >&2
  exit 2
}
version=$("$python" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])')
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "error: '$python' is Python $version; 3.11 or later is needed; name another: make PYTHON=python3.12" >&2
  exit 2
}

stamp=$venv/.recitative-is-ready
wanted="Python $version, $(cat pyproject.toml tools/setup.sh | cksum)"
if [[ -f $stamp && $(<"$stamp") == "$wanted" ]]; then
  exit 0
fi

echo "== setting up $venv with Python $version: about 3 GB with PyTorch, some minutes without a package cache" >&2
if [[ $("$venv/bin/python" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null) != "$version" ]]; then
  "$python" -m venv --clear "$venv" || {
    echo "error: '$python -m venv' failed; on Debian and Ubuntu install the package python3-venv" >&2
    exit 1
  }
fi
rm -f "$stamp"
# One command for all, so that torch and torchaudio are resolved as the pair they are.
"$venv/bin/python" -m pip install --only-binary=:all: --editable '.[dev]' 'torch==2.11.*' 'torchaudio==2.11.*' >&2
echo "$wanted" >"$stamp"
echo "== $venv is ready" >&2
