#!/usr/bin/env bash
# Transcribe a recording of a voice that the digits recipe did not train on, with the models it has just trained.
set -euo pipefail
cd "$(dirname "$0")/../recipes/digits"
PATH=$PWD/../../.venv/bin:$PATH
utt_id=${1:-bf_lily-02}

echo "reference:  $(awk -F'\t' -v id="$utt_id" '$1 == id { print $4 }' corpus/manifest.tsv)"
for model in exp/*/model.onnx; do
  text=$(recitative transcribe "corpus/audio/$utt_id.ogg" --model "$model" | cut -f2)
  echo "hypothesis: $text   (recitative transcribe recipes/digits/corpus/audio/$utt_id.ogg --model recipes/digits/$model)"
done
