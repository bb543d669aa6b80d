#!/usr/bin/env bash
# Transcribe a recording of an unseen voice with the models that the digits recipe has just trained, and compare their error
# rates with those in RESULTS.md.
set -euo pipefail
cd "$(dirname "$0")/../recipes/digits"
PATH=$PWD/../../.venv/bin:$PATH
utt_id=${1:-bf_lily-02}

echo "reference:  $(awk -F'\t' -v id="$utt_id" '$1 == id { print $4 }' corpus/manifest.tsv)"
for model in exp/*/model.onnx; do
  text=$(recitative transcribe "corpus/audio/$utt_id.ogg" --model "$model" | cut -f2)
  echo "hypothesis: $text   (recitative transcribe recipes/digits/corpus/audio/$utt_id.ogg --model recipes/digits/$model)"
done

for model in exp/*/model.onnx; do
  name=$(basename "$(dirname "$model")")
  recorded=$(awk -F' *[|] *' -v name="$name" \
    '$2 == name && $3 == "test" && $4 == "beam, 2-gram" && $5 == "%WER" { print $6 }' RESULTS.md)
  awk -v name="$name" -v recorded="$recorded" '
    /^%WER/ { rate = $2; words = $6 + 0 }
    /^95 % confidence interval of the WER/ { low = $8; high = $10 }
    END {
      line = name ": WER " rate " % of " words " words, 95 % confidence interval " low " to " high " %"
      if (recorded == "") print line
      else if (recorded == rate) print line "; RESULTS.md has the same rate"
      else if (low + 0 <= recorded + 0 && recorded + 0 <= high + 0)
        print line "; RESULTS.md has " recorded " %, within the interval (another processor rounds differently)"
      else print line "; RESULTS.md has " recorded " %, outside the interval"
    }' "exp/$name/decode_test/score/wer"
done
