#!/usr/bin/env bash
# Make .venv with the library and the versions of tools/lock/dev.txt, from wheels with the hashes that stand there and
# from nothing else. Does nothing if that is done already.
#   PYTHON=python3.12 tools/setup.sh    with another Python
#   tools/setup.sh --latest             anew, in .venv-latest: the newest versions that pyproject.toml allows
#   tools/setup.sh --try                in .venv-try: the server and what it runs, without PyTorch
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
venv=.venv
lock=tools/lock/dev.txt
size="6 GB with PyTorch, some minutes"
case $* in
  "") ;;
  --latest) venv=.venv-latest lock="" ;;
  --try) venv=.venv-try lock=tools/lock/serve.txt size="330 MB, minutes" ;;
  *)
    echo "error: tools/setup.sh $*: only --latest or --try is allowed" >&2
    exit 2
    ;;
esac

command -v "$python" >/dev/null || {
  echo "error: '$python' is not there; install Python 3.11 to 3.14, or name one: make PYTHON=/path/to/python3" >&2
  exit 2
}
version=$("$python" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])')
"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' || {
  echo "error: '$python' is Python $version; 3.11 to 3.14 is needed; name another: make PYTHON=python3.12" >&2
  exit 2
}

stamp=$venv/.recitative-is-ready
wanted="Python $version, $(cat pyproject.toml tools/setup.sh $lock | cksum)"
if [[ -n $lock && -f $stamp && $(<"$stamp") == "$wanted" ]]; then
  exit 0
fi

echo "== setting up $venv with Python $version: about $size without a package cache" >&2
if [[ -z $lock || $("$venv/bin/python" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null) != "$version" ]]; then
  "$python" -m venv --clear "$venv" || {
    echo "error: '$python -m venv' failed; on Debian and Ubuntu install the package python3-venv" >&2
    exit 1
  }
fi
rm -f "$stamp"
install() { "$venv/bin/python" -m pip install --only-binary=:all: "$@" >&2; }
if [[ -n $lock ]]; then
  install --require-hashes --requirement "$lock"
  install --no-index --no-deps --no-build-isolation --editable . # what builds it is in the lock
else
  install --editable '.[dev]'
fi
echo "$wanted" >"$stamp"
echo "== $venv is ready" >&2
