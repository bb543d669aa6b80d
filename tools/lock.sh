#!/usr/bin/env bash
# Update the lock files in tools/lock and print what changed: the newest versions that pyproject.toml and tools/lock/pins.txt
# allow, with the hashes of their files, for Python 3.11 to 3.14. 'make lock' also installs them and runs the tests.
#   tools/lock.sh           update everything
#   tools/lock.sh --keep    update only what a changed requirement needs
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
  echo "error: uv is not installed; run 'make setup'" >&2
  exit 2
}
new=$(mktemp -d)
trap 'rm -rf "$new"' EXIT
cp tools/lock/*.txt "$new"

# compile NAME OPTION...: resolve the package with these extras, and its build requirements, into the lock NAME.
compile() {
  python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' |
    uv pip compile pyproject.toml - --output-file "$new/$1.txt" --constraints tools/lock/pins.txt "${@:2}" \
      "${upgrade[@]}" --universal --python-version "${pythons%% *}" --only-binary :all: --generate-hashes \
      --no-annotate --no-emit-index-url --no-emit-find-links --no-config --quiet --custom-compile-command "make lock"
}

# versions LOCK: lines of name and version (versions, if they depend on the Python).
versions() {
  awk -F'[=; ]+' '/^[a-z0-9].*==/ { v[$1] = v[$1] (v[$1] ? "/" : "") $2 } END { for (n in v) print n, v[n] }' "$1" | sort
}

echo "== resolving" >&2
compile dev --extra dev
compile train --extra train --constraints "$new/dev.txt"
compile serve --extra serve --constraints "$new/dev.txt"
compile runtime --constraints "$new/dev.txt"
for platform in x86_64 aarch64; do
  for python in $pythons; do # check that each has wheels of everything
    uv pip install --dry-run --quiet --no-config --target "$new/nothing" --python-version "$python" \
      --python-platform "$platform-manylinux_2_28" --only-binary :all: --require-hashes --requirements "$new/dev.txt"
  done
done

[[ -f tools/lock/dev.txt ]] && old=tools/lock/dev.txt || old=/dev/null
moved=$(join -a 1 -a 2 -e nothing -o 0,1.2,2.2 <(versions "$old") <(versions "$new/dev.txt") |
  awk '$2 != $3 { print $1 ": " $2 " -> " $3 }')
cp "$new"/{runtime,serve,train,dev}.txt tools/lock
echo "${moved:-no version changed}"
