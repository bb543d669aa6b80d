#!/usr/bin/env bash
# Anomaly detection in sound: models of normal sound score unusual ones. ESC-10, with one kind of sound normal and nine
# unusual, and the other way around.

models="usual held_out"  # models to train, each has conf/<model>.yaml; usual: one kind is normal, held_out: all but one are
corpus=data/corpus       # folder of ESC-10, with a folder for each kind such as "002 - Rain"
data=data                # folder of the data directories
exp=exp                  # folder of the experiments
results=RESULTS.md       # table that the score stage writes
train_args=""            # settings for training, such as "train.epochs=3 model.recurrent.hidden=64"
kinds="*"                # kinds of sound to train models for: a pattern, such as "rain" or "[a-d]*"
# shellcheck source=tools/stages.sh
. "$(dirname "$0")/../../tools/stages.sh"
[[ $corpus == data/corpus ]] || corpus=$(from_caller "$corpus")

each() { # model: its kinds of sound
  local folder
  # shellcheck disable=SC2086  # a pattern
  for folder in "$data/$1"/$kinds; do basename "$folder"; done
}

if stage 1 "prepare" needs "$corpus" makes "$data/usual" "$data/held_out" "$data/all"; then
  python3 local/prepare.py --corpus "$corpus" --output "$data"
fi

if stage 2 "check" needs "$data/all"; then
  recitative check "$data/all"
fi

if stage 5 "train" needs "$data/@" makes "$exp/@"; then
  for model in $models; do
    for kind in $(each "$model"); do
      # shellcheck disable=SC2086  # a list of settings
      recitative train "conf/$model.yaml" --quiet --train "$data/$model/$kind/train" \
        --dev "$data/$model/$kind/dev" --output "$exp/$model/$kind" $train_args
    done
  done
fi

if stage 8 "score" needs "$exp/@" "$data/@" makes "$exp/results.jsonl"; then
  for model in $models; do
    for kind in $(each "$model"); do
      from=$data/$model/$kind
      echo "$model: $kind"
      recitative score "$exp/$model/$kind/model" "$from/test" --unusual "$from/unusual" \
        --baseline "$from/train" --model "$model" --set "$kind" --command "$recipe_command" \
        --results "$exp/results.jsonl" --results-md "$results" --json | tee "$exp/$model/$kind/score.json"
    done
    python3 local/mean.py "$exp/$model" --model "$model" --command "$recipe_command" \
      --results "$exp/results.jsonl" --results-md "$results"
  done
fi

if stage 10 "export" needs "$exp/@" makes "$exp/@.onnx"; then
  for model in $models; do # the first kind, as an example
    read -r kind < <(each "$model")
    read -r _ clip <"$data/$model/$kind/unusual/wav.scp"
    recitative export "$exp/$model/$kind/model" --output "$exp/$model.onnx"
    recitative detect "$clip" \
      --model "$exp/$model.onnx" --picture "$exp/$model.svg"
  done
fi
