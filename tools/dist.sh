#!/usr/bin/env bash
# Build what can be published, from the last commit, into dist/: sdist, wheel, the recipes as an archive, and for the
# runtime's packages a list with licenses and an SBOM. The same commit gives the same bytes.
#   tools/dist.sh [URL]     URL of the repository, such as https://example.org/speech/recitative, for the project's links
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."
PATH=$PWD/.venv/bin:$PATH
url=${1:-}

if [[ -n $url && ! $url =~ ^https://[^[:space:]\"]+$ ]]; then
  echo "error: tools/dist.sh '$url': must be an address that begins with https://" >&2
  exit 2
fi
for program in uv twine; do
  command -v "$program" >/dev/null || {
    echo "error: $program is not installed; run 'make setup'" >&2
    exit 2
  }
done
if [[ -n $(git status --porcelain --untracked-files=no) ]]; then
  echo "note: files that differ from the last commit are built as they were there" >&2
fi
source=$(mktemp -d)
trap 'rm -rf "$source"' EXIT
git archive HEAD | tar -x -C "$source"
if [[ -n $url ]]; then
  url=${url%/}
  {
    echo "[project.urls]"
    printf '%s = "%s"\n' Source "$url" Documentation "$url/blob/main/docs/index.md" Issues "$url/issues" \
      Changelog "$url/blob/main/CHANGELOG.md"
    echo
  } >"$source/urls"
  sed -i "/^\[project.scripts\]/{
    r $source/urls
    N
  }" "$source/pyproject.toml"
  rm "$source/urls"
fi
rm -r "$source/tests" # setuptools would take a part of them
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
rm -rf dist
uv build --quiet --no-config --out-dir dist "$source"
rm -f dist/.gitignore
sdist=$(echo dist/*.tar.gz)
mkdir "$source/again"
tar -xzf "$sdist" -C "$source/again" # and again, since setuptools leaves the times of generated files in it
tar -C "$source/again" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --format=posix \
  --pax-option=delete=atime,delete=ctime -c "$(basename "$sdist" .tar.gz)" | gzip -n -9 >"$source/sdist"
mv "$source/sdist" "$sdist"
twine check --strict dist/*.whl dist/*.tar.gz
version=$(basename dist/*.tar.gz .tar.gz)
version=${version#recitative-}
git archive --format=tar --prefix="recitative-recipes-$version/" HEAD recipes conf tools/*stages.sh LICENSE |
  gzip -n -9 >"dist/recitative-recipes-$version.tar.gz"
python tools/licenses.py tools/lock/runtime.txt dist
(cd dist && sha256sum -- * >SHA256SUMS)
du -h --apparent-size dist/* | awk '{ print $2 ": " $1 }'
