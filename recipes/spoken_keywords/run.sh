#!/usr/bin/env bash
# Keyword spotting in a stream with a small classifier trained for the keywords: the ten digits of the Free Spoken Digit
# Dataset (8 kHz). Thresholds are tuned to a rate of false alarms on dev; test is scored once.

models="small"        # models to train; each has conf/<model>.yaml
corpus=data/corpus    # folder of the Free Spoken Digit Dataset, with recordings/
data=data             # folder of the data directories
exp=exp               # folder of the experiments
results=RESULTS.md    # table that the score stages write
words=local/words.txt # the keywords
per_hour=1            # false alarms per hour allowed for each keyword
rounds=24             # test streams of each speaker; half as many for dev
train_args=""         # settings for training, such as "train.epochs=3 model.recurrent.hidden=32"
subset=0              # train only on recordings with a lower index; dev and test are complete (0: all)
# shellcheck source=tools/stages.sh
. "$(dirname "$0")/../../tools/stages.sh"
[[ $corpus == data/corpus ]] || corpus=$(from_caller "$corpus")
# shellcheck source=tools/classifier_stages.sh
. ../../tools/classifier_stages.sh
check_args=(features.sample_rate=8000) checked="train dev dev_streams test_streams"

if stage 1 "prepare" needs "$corpus/recordings" makes "$data/train" "$data/dev" "$labels" \
  "$data/dev_streams" "$data/test_streams"; then
  python3 ../digits_voice/local/prepare.py --corpus "$corpus" --output "$data/words" --subset "$subset"
  python3 local/streams.py --words "$data/words/dev" --output "$data/dev_streams" --rounds $((rounds / 2)) --seed 1
  python3 local/streams.py --words "$data/words/test" --output "$data/test_streams" --rounds "$rounds" --seed 2
  python3 local/examples.py --words "$data/words/train" --output "$data/train"
  python3 local/examples.py --streams "$data/dev_streams" --output "$data/dev"
  recitative tokens "$data/train" --unit word --output "$labels"
fi

shared_stages 2

if stage 5 "train" needs "$data/train" "$data/dev" makes "$exp/@/model" "$exp/@/model.onnx"; then
  for model in $models; do
    # shellcheck disable=SC2086  # a list of settings
    recitative train "conf/$model.yaml" --train "$data/train" --dev "$data/dev" \
      --output "$exp/$model" $train_args
    recitative export "$exp/$model/model" --dev "$data/dev" --notes local/model_notes.md --output "$exp/$model/model.onnx"
  done
fi

if stage 6 "tune" needs "$exp/@/model.onnx" "$data/dev_streams" "$words" makes "$exp/@/thresholds.json"; then
  for model in $models; do
    recitative keywords tune "$exp/$model/model.onnx" "$data/dev_streams" --keywords "$words" \
      --false-alarms-per-hour "$per_hour" --output "$exp/$model/thresholds.json"
  done
fi

if stage 8 "score" needs "$exp/@/thresholds.json" "$data/test_streams" makes "$exp/results.jsonl"; then
  for model in $models; do
    recitative keywords score "$exp/$model/model.onnx" "$data/test_streams" --keywords "$words" \
      --thresholds "$exp/$model/thresholds.json" --output "$exp/$model/test" --model "$model" --set "test streams" \
      --decoding "all digits, model.onnx" "${record[@]}"
  done
fi

shared_stages 12
