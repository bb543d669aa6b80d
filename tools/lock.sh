#!/usr/bin/env bash
# Make the lock files in tools/lock anew and print what moved: the newest versions that pyproject.toml and
# tools/lock/pins.txt allow, with the hashes of their files, one lock for Python 3.11 to 3.14. 'make lock' then installs
# them into .venv and runs the tests.
#   tools/lock.sh           everything moves to the newest
#   tools/lock.sh --keep    only what no longer fits moves: after a change of a requirement
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."
PATH=$PWD/.venv/bin:$PATH
pythons="3.11 3.12 3.13 3.14"

upgrade=(--upgrade)
case $* in
  "") ;;
  --keep) upgrade=() ;;
  *)
    echo "error: tools/lock.sh $*: only --keep is allowed" >&2
    exit 2
    ;;
esac
command -v uv >/dev/null || {
  echo "error: uv is not there; run 'make setup', which installs it" >&2
  exit 2
}
new=$(mktemp -d)
trap 'rm -rf "$new"' EXIT
cp tools/lock/*.txt "$new"

# compile NAME OPTION...: the lock NAME of the package with these extras and of what builds it.
compile() {
  python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' |
    uv pip compile pyproject.toml - --output-file "$new/$1.txt" --constraints tools/lock/pins.txt "${@:2}" \
      "${upgrade[@]}" --universal --python-version "${pythons%% *}" --only-binary :all: --generate-hashes \
      --no-annotate --no-emit-index-url --no-emit-find-links --no-config --quiet --custom-compile-command "make lock"
}

# versions LOCK: name and version, or versions where Pythons differ, one name a line.
versions() {
  awk -F'[=; ]+' '/^[a-z0-9].*==/ { v[$1] = v[$1] (v[$1] ? "/" : "") $2 } END { for (n in v) print n, v[n] }' "$1" | sort
}

echo "== resolving" >&2
compile dev --extra dev
compile train --extra train --constraints "$new/dev.txt"
compile runtime --constraints "$new/dev.txt"
for platform in x86_64 aarch64; do
  for python in $pythons; do # that each has a wheel of everything
    uv pip install --dry-run --quiet --no-config --target "$new/nothing" --python-version "$python" \
      --python-platform "$platform-manylinux_2_28" --only-binary :all: --require-hashes --requirements "$new/dev.txt"
  done
done

[[ -f tools/lock/dev.txt ]] && old=tools/lock/dev.txt || old=/dev/null
moved=$(join -a 1 -a 2 -e nothing -o 0,1.2,2.2 <(versions "$old") <(versions "$new/dev.txt") |
  awk '$2 != $3 { print $1 ": " $2 " -> " $3 }')
cp "$new"/{runtime,train,dev}.txt tools/lock
echo "${moved:-no version moved}"
