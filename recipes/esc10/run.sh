#!/usr/bin/env bash
# Environmental sounds: classification of five-second clips of ESC-10 (or ESC-50), 44.1 kHz, with the official folds.

models="crnn"      # models to train; each has conf/<model>.yaml
corpus=data/corpus # folder of ESC-10, with a folder for each kind of sound, or of ESC-50, with meta/esc50.csv
data=data          # folder of the data directories
exp=exp            # folder of the experiments
results=RESULTS.md # table that the score stages write
train_args=""      # settings for training, such as "train.epochs=3 model.recurrent.hidden=64"
report_args=""     # options of the reports, such as "--errors 50"
# shellcheck source=tools/stages.sh
. "$(dirname "$0")/../../tools/stages.sh"
[[ $corpus == data/corpus ]] || corpus=$(from_caller "$corpus")
# shellcheck source=tools/classifier_stages.sh
. ../../tools/classifier_stages.sh
train=$data/all dev="" int8_dev=$data/all test_sets="" checked=all check_args=(features.sample_rate=44100)

if stage 1 "prepare" needs "$corpus" makes "$data/all" "$data/folds.txt" "$data/folds/1" "$labels"; then
  python3 local/prepare.py --corpus "$corpus" --output "$data"
  recitative data folds "$data/all" "$data/folds" --table "$data/folds.txt" # refuses sources in two folds
  recitative tokens "$data/all" --unit word --output "$labels"
fi

shared_stages 2
# The model for use is trained on all clips; the folds measure its accuracy.
shared_stages 5

if stage 9 "folds" needs "$data/folds/1" makes "$exp/@/folds"; then
  for model in $models; do
    for fold in "$data"/folds/*; do # each fold in turn is test; none selects an epoch: the last one is used
      folder=$exp/$model/folds/$(basename "$fold")
      # shellcheck disable=SC2086  # a list of settings
      recitative train "conf/$model.yaml" --train "$fold/train" --output "$folder" $train_args
      recitative score "$folder/model" "$fold/test" --json >"$folder/score.json"
    done
    python3 ../spoken_digits/local/mean.py "$exp/$model/folds" --model "$model" --set "official folds" "${record[@]}"
  done
fi

shared_stages 10

if stage 11 "report" needs "$exp/@/folds" "$data/folds/1" makes "$exp/@/folds/1/report.html"; then
  for model in $models; do
    for fold in "$data"/folds/*; do
      number=$(basename "$fold")
      # shellcheck disable=SC2086  # a list of options
      recitative report "$exp/$model/folds/$number/model" "$fold/test" \
        --output "$exp/$model/folds/$number/report.html" --title "Sounds: $model, fold $number" $report_args
    done
  done
fi

shared_stages 12
