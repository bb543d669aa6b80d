# shellcheck shell=bash disable=SC2034,SC2154  # variables shared with the recipe
# Stages that classification recipes share. A run.sh sources this file after tools/stages.sh, overrides the variables below
# where necessary, and runs the shared stages by number between its own:
#
#   . ../../tools/classifier_stages.sh
#   if stage 1 "prepare" makes "$data/train" "$data/dev" "$data/test" "$labels"; then ...; fi
#   shared_stages 2 5 8 10 11 12
#
# They use the recipe's variables models, data, exp, results, train_args and report_args.
train=$data/train              # data directory to train on
dev=$data/dev                  # data directory that selects the epoch; empty: the last epoch is used
int8_dev=$data/dev             # data directory that decides whether the exported file is int8
test_sets="test"               # names of the sets to score, each in $data/<set>
checked="train dev test"       # names of the sets to check
check_args=()                  # settings of 'recitative check'
labels=$data/labels.txt        # token table of the labels
decoding="-"                   # name of the split in the results
timed="model.onnx, one thread" # name of the measurement of speed in the results
title=""                       # title of the report, followed by the model and the subtitle
subtitle="the test set"        # the test data, in the title of the report
record=(--command "$recipe_command" --results "$exp/results.jsonl" --results-md "$results")

shared_stages() { # numbers
  local number
  for number; do "_stage_$number"; done
}

_stage_2() {
  local folders
  read -ra folders <<<"$checked"
  if stage 2 "check" needs "${folders[@]/#/$data/}" "$labels"; then
    for set in $checked; do recitative check "$data/$set" --tokens "$labels" "${check_args[@]}"; done
  fi
}

_stage_5() {
  if stage 5 "train" needs "$train" ${dev:+"$dev"} makes "$exp/@/model"; then
    for model in $models; do
      # shellcheck disable=SC2086  # a list of settings
      recitative train "conf/$model.yaml" --train "$train" ${dev:+--dev "$dev"} \
        --output "$exp/$model" $train_args
    done
  fi
}

_stage_8() {
  if stage 8 "score" needs "$exp/@/model" "$data/%" makes "$exp/results.jsonl"; then
    for model in $models; do
      for set in $test_sets; do
        recitative score "$exp/$model/model" "$data/$set" --model "$model" --set "$set" \
          --decoding "$decoding" "${record[@]}"
      done
    done
  fi
}

_stage_10() {
  if stage 10 "export" needs "$exp/@/model" "$int8_dev" "$data/%" makes "$exp/@/model.onnx"; then
    notes=() && [[ ! -e local/model_notes.md ]] || notes=(--notes local/model_notes.md)
    for model in $models; do # score the exported file too
      recitative export "$exp/$model/model" --dev "$int8_dev" "${notes[@]}" --output "$exp/$model/model.onnx"
      for set in $test_sets; do
        recitative score "$exp/$model/model.onnx" "$data/$set" --model "$model" --set "$set" \
          --decoding "$decoding, model.onnx" "${record[@]}"
      done
    done
  fi
}

_stage_11() {
  if stage 11 "report" needs "$exp/@/model.onnx" "$data/test" makes "$exp/@/report.html"; then
    for model in $models; do
      # shellcheck disable=SC2086  # a list of options
      recitative report "$exp/$model/model.onnx" "$data/test" --output "$exp/$model/report.html" \
        --title "$title: $model, $subtitle" $report_args
    done
  fi
}

_stage_12() {
  if stage 12 "speed" needs "$exp/@/model.onnx"; then
    for model in $models; do
      python3 ../../tools/bench_models.py "$exp/$model/model.onnx" --model "$model" --set noise --decoding "$timed" "${record[@]}"
    done
  fi
}
