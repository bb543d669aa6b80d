#!/usr/bin/env bash
# The first minute with Recitative, without PyTorch: transcribe a sentence, write eight bars of music, serve live captions.
# 'make try' installs what it needs into .venv-try and runs this script; the server runs until Ctrl-C.
#   tools/try.sh --port 8080      another port for the server
set -euo pipefail
cd "$(dirname "$0")/.."
port=2700
[[ ${1-} == --port && $# == 2 ]] && port=$2
[[ $# == 0 || $port == "${2-}" ]] || {
  echo "error: tools/try.sh $*: only --port N is allowed" >&2
  exit 2
}
[[ -x .venv-try/bin/recitative ]] && PATH=$PWD/.venv-try/bin:$PATH
output=build/try

say() { if [[ -t 2 ]]; then printf '\n\033[1m%s\033[0m\n' "$*" >&2; else printf '\n%s\n' "$*" >&2; fi; }

say "recitative transcribe docs/sentence.flac"
recitative transcribe docs/sentence.flac
say "recitative generate music --bars 8 --key G --seed 7 --output $output"
recitative generate music --bars 8 --key G --seed 7 --output "$output"
say "recitative serve --port $port        (stop it with Ctrl-C)"
exec recitative serve --model en --model chorales --model chorales-fill --port "$port"
