#!/usr/bin/env bash
# A vocoder: speech generated sample by sample from mel frames. Trained on the speech of recipes/an4; a recognizer compares
# the word error rate of the generated speech with that of the recordings.

models="vocoder"     # models to train; each has conf/<model>.yaml
corpus=""            # folder of AN4, as for recipes/an4; default: download
data=data            # folder of the data directories; with --stage 5, any data directories of 16 kHz speech
judge=an4-streaming  # the recognizer for scoring: a pretrained model's name, or a folder such as ../an4/exp/blstm/model
exp=exp              # folder of the experiments
results=RESULTS.md   # table that the score stage writes
train_args=""        # settings for training, such as "train.epochs=3 model.recurrent.hidden=64"
temperature=1.0      # sampling temperature
# shellcheck source=tools/stages.sh
. "$(dirname "$0")/../../tools/stages.sh"
[[ -z $corpus ]] || corpus=$(from_caller "$corpus")

if stage 1 "prepare" makes "$data/train" "$data/dev" "$data/test"; then
  ../an4/run.sh --stop-stage 1 --data "$(realpath -m "$data")" ${corpus:+--corpus "$corpus"}
fi

if stage 2 "check" needs "$data/train" "$data/dev" "$data/test"; then
  for set in train dev test; do recitative check "$data/$set"; done
fi

if stage 5 "train" needs "$data/train" "$data/dev" makes "$exp/@/model"; then
  for model in $models; do
    # shellcheck disable=SC2086  # a list of settings
    recitative train "conf/$model.yaml" --train "$data/train" --dev "$data/dev" --output "$exp/$model" \
      $train_args
  done
fi

if stage 7 "sample" needs "$exp/@/model" "$data/test" makes "$exp/@/test/wav.scp"; then
  for model in $models; do
    recitative vocode "$data/test" --model "$exp/$model/model" --temperature "$temperature" --output "$exp/$model/test"
  done
fi

judged() { # model's name, data directory, folder of the text
  recitative decode "$judge" "$2" --output "$3"
  recitative score "$2" "$3/text" --output "$3/score" --model "$1" --set test --decoding "transcribed by ${judge##*/an4/exp/}" \
    --settings "$exp/${models%% *}/model/settings.yaml" --command "$recipe_command" \
    --results "$exp/results.jsonl" --results-md "$results" "${@:4}"
}

if stage 8 "score" needs "$exp/@/test/wav.scp" "$data/test" makes "$exp/results.jsonl"; then
  judged "recordings" "$data/test" "$exp/recordings"
  for model in $models; do
    judged "$model" "$exp/$model/test" "$exp/$model/text"
    recitative score "$exp/$model/model" "$data/test"
  done
fi

if stage 10 "export" needs "$exp/@/model" makes "$exp/@/model.onnx"; then
  for model in $models; do recitative export "$exp/$model/model" --output "$exp/$model/model.onnx"; done
fi

if stage 12 "speed" needs "$exp/@/model.onnx"; then
  for model in $models; do python3 ../../tools/bench_models.py "$exp/$model/model.onnx"; done
fi
