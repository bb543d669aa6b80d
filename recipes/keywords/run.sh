#!/usr/bin/env bash
# Keyword spotting without training: one phrase and all common words in AN4's test set, with the included recognizers.
# Thresholds are tuned to a rate of false alarms on train and dev; test is scored once.

models="an4-streaming an4-bidirectional" # recognizers: names, folders or files
corpus=../an4/data/download/an4          # folder of AN4, with etc/ and wav/, as downloaded by recipes/an4/run.sh
data=data                                # folder of the data directories
exp=exp                                  # folder of thresholds, counts and curves
results=RESULTS.md                       # table that the score stage writes
phrase=enter                             # the one phrase
words=local/words.txt                    # a file of many words
per_hour=1                               # false alarms per hour allowed for each keyword
other=""                                 # data directory of other speech, to count false alarms in
# shellcheck source=tools/stages.sh
. "$(dirname "$0")/../../tools/stages.sh"
[[ $corpus == ../an4/data/download/an4 ]] || corpus=$(from_caller "$corpus")
other=$(from_caller "$other")

if stage 1 "prepare" needs "$corpus/etc" makes "$data/train" "$data/dev" "$data/test"; then
  python3 ../an4/local/prepare.py --corpus "$corpus" --dev-speakers ../an4/local/dev_speakers.txt --output "$data"
fi

if stage 6 "tune" needs "$data/train" "$data/dev" "$words" makes "$exp/@/thresholds.json"; then
  for model in $models; do
    recitative keywords tune "$model" "$data/train" "$data/dev" --keywords "$words" \
      --false-alarms-per-hour "$per_hour" --output "$exp/$model/thresholds.json"
  done
fi

if stage 8 "score" needs "$exp/@/thresholds.json" "$data/test" makes "$exp/results.jsonl"; then
  for set in "$data/test" ${other:+"$other"}; do
    name=$([[ $set == "$data/test" ]] && echo test || echo "other speech")
    for model in $models; do
      for keywords in "$phrase" "$words"; do
        what=$([[ $keywords == "$words" ]] && echo "$(grep -vc '^#' "$words") words" || echo "'$phrase'")
        recitative keywords score "$model" "$set" --keywords "$keywords" --thresholds "$exp/$model/thresholds.json" \
          --output "$exp/$model/${name// /_}/$(basename "$keywords" .txt)" --model "$model" --set "$name" \
          --decoding "$what" --command "$recipe_command" --results "$exp/results.jsonl" --results-md "$results"
      done
    done
  done
fi
