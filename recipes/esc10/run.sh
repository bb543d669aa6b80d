#!/usr/bin/env bash
# What kind of sound is it? One label for a recording of five seconds: ESC-10 (or ESC-50), 44.1 kHz, by the corpus's own
# five folds.

models="crnn"      # models to train; each has conf/<model>.yaml
corpus=data/corpus # folder of ESC-10, with a folder for each kind of sound, or of ESC-50, with meta/esc50.csv
data=data          # folder of the data directories
exp=exp            # folder of the experiments
results=RESULTS.md # table that the score stages write
train_args=""      # settings for training, such as "train.epochs=3 model.recurrent.hidden=64"
dev_clips=3        # clips of each kind, of the folds that are trained on, that choose the epoch
# shellcheck source=tools/stages.sh
. "$(dirname "$0")/../../tools/stages.sh"
[[ $corpus == data/corpus ]] || corpus=$(from_caller "$corpus")

if stage 1 "prepare" needs "$corpus" makes "$data/all" "$data/folds.txt" "$data/folds/1" "$data/labels.txt"; then
  python3 local/prepare.py --corpus "$corpus" --output "$data"
  recitative classifier folds "$data/all" "$data/folds" --table "$data/folds.txt" # refuses sources in two folds
  for fold in "$data"/folds/*; do
    python3 local/hold_out.py "$fold/train" --dev "$fold/dev" --rest "$fold/rest" --clips "$dev_clips"
  done
  recitative tokens "$data/all" --unit word --output "$data/labels.txt"
fi

if stage 2 "check" needs "$data/all" "$data/labels.txt"; then
  recitative check "$data/all" --tokens "$data/labels.txt" features.sample_rate=44100
fi

if stage 5 "train" needs "$data/folds/1" makes "$exp/@/folds/1/model"; then
  for model in $models; do
    for fold in "$data"/folds/*; do # each fold in turn is left for the test
      # shellcheck disable=SC2086  # a list of settings
      recitative classifier train --conf "conf/$model.yaml" --train "$fold/rest" --dev "$fold/dev" \
        --output "$exp/$model/folds/$(basename "$fold")" $train_args
    done
  done
fi

if stage 8 "score" needs "$exp/@/folds/1/model" "$data/folds/1" makes "$exp/results.jsonl"; then
  for model in $models; do
    for fold in "$data"/folds/*; do
      folder=$exp/$model/folds/$(basename "$fold")
      recitative classifier score "$folder/model" "$fold/test" --json >"$folder/score.json"
    done
    python3 ../spoken_digits/local/mean.py "$exp/$model/folds" --model "$model" --set "official folds" \
      --command "$recipe_command" --results "$exp/results.jsonl" --results-md "$results"
  done
fi
