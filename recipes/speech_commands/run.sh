#!/usr/bin/env bash
# Which command was said? Google's Speech Commands, version 2, at 16 kHz: ten commands, unknown words and silence, or all
# 35 words. Downloads what it needs.

models="command"   # models to train; each has conf/<model>.yaml
classes=12         # labels: 12 (ten commands, _unknown_ and _silence_) or 35 (all words)
corpus=""          # folder of a copy, with one folder a word; without it the fetch stage downloads 2.4 GB
data=data          # folder of the data directories
exp=exp            # folder of the experiments
results=RESULTS.md # table that the score stage writes
train_args=""      # settings for training, such as "train.epochs=3 model.recurrent.hidden=64"
subset=0           # train only on so many recordings of each word; dev and test stay as they are (0: all)
report_args=""     # for the report, such as "--errors 50"
# shellcheck source=tools/stages.sh
. "$(dirname "$0")/../../tools/stages.sh"
corpus=$(from_caller "$corpus") sets=$data/$classes exp=$exp/$classes
record=(--command "$recipe_command" --results "$exp/results.jsonl" --results-md "$results")

if [[ -z $corpus ]]; then
  corpus=$data/download/speech_commands
  if stage 0 "fetch" makes "$corpus"; then
    python3 local/fetch.py --output "$data/download"
  fi
fi

if stage 1 "prepare" needs "$corpus" makes "$sets/train" "$sets/dev" "$sets/test" "$sets/labels.txt"; then
  python3 local/prepare.py --corpus "$corpus" --classes "$classes" --output "$sets" --subset "$subset"
  recitative tokens "$sets/train" --unit word --output "$sets/labels.txt"
fi

if stage 2 "check" needs "$sets/train" "$sets/dev" "$sets/test" "$sets/labels.txt"; then
  for set in train dev test; do recitative check "$sets/$set" --tokens "$sets/labels.txt"; done
fi

if stage 5 "train" needs "$sets/train" "$sets/dev" makes "$exp/@/model"; then
  for model in $models; do
    # shellcheck disable=SC2086  # a list of settings
    recitative classifier train --conf "conf/$model.yaml" --train "$sets/train" --dev "$sets/dev" \
      --output "$exp/$model" $train_args
  done
fi

if stage 8 "score" needs "$exp/@/model" "$sets/test" makes "$exp/results.jsonl"; then
  for model in $models; do
    recitative classifier score "$exp/$model/model" "$sets/test" --model "$model" --set test \
      --decoding "$classes labels" "${record[@]}"
  done
fi

if stage 10 "export" needs "$exp/@/model" "$sets/dev" "$sets/test" makes "$exp/@/model.onnx"; then
  for model in $models; do # the file that users run is scored too
    recitative export "$exp/$model/model" --dev "$sets/dev" --notes local/model_notes.md --output "$exp/$model/model.onnx"
    recitative classifier score "$exp/$model/model.onnx" "$sets/test" --model "$model" --set test \
      --decoding "$classes labels, model.onnx" "${record[@]}"
  done
fi

if stage 11 "report" needs "$exp/@/model.onnx" "$sets/test" makes "$exp/@/report.html"; then
  for model in $models; do
    # shellcheck disable=SC2086  # a list of options
    recitative classifier report "$exp/$model/model.onnx" "$sets/test" --output "$exp/$model/report.html" \
      --title "Speech commands: $model, $classes labels, the test set" $report_args
  done
fi

if stage 12 "speed" needs "$exp/@/model.onnx"; then
  for model in $models; do
    recitative classifier speed "$exp/$model/model.onnx" --model "$model" --set noise \
      --decoding "$classes labels, model.onnx, one thread" "${record[@]}"
  done
fi
