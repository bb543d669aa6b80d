#!/usr/bin/env bash
# Connected digits spoken by 28 synthetic voices, 6 of them unseen in training. The corpus is in this folder.
# Trains a bidirectional and a streaming LSTM with CTC on words and scores both on the unseen voices.

models="blstm lstm" # models to train and score; each has conf/<model>.yaml
data=data           # folder of the data directories
exp=exp             # folder of the experiments
results=RESULTS.md  # table that the score stage writes
train_args=""       # settings for training, such as "train.epochs=3 model.recurrent.hidden=64"
subset=0            # use only the first N recordings of each voice (0: all)
chunk_ms=160        # length of the pieces in the stream stage
# shellcheck source=tools/stages.sh
. "$(dirname "$0")/../../tools/stages.sh"

if stage 1 "prepare" needs corpus/manifest.tsv makes "$data/train" "$data/dev" "$data/test" "$data/tokens.txt"; then
  python3 local/prepare.py --corpus corpus --output "$data" --subset "$subset"
  recitative tokens "$data/train" --unit word --output "$data/tokens.txt"
fi

if stage 2 "check" needs "$data/train" "$data/dev" "$data/test" "$data/tokens.txt"; then
  for set in train dev test; do
    recitative check "$data/$set" --conf "conf/${models%% *}.yaml" --tokens "$data/tokens.txt"
  done
fi

if stage 3 "features" needs "$data/train" makes "$data/cmvn"; then # computed on the fly; only their mean is kept
  recitative cmvn "$data/train" --conf "conf/${models%% *}.yaml" --output "$data/cmvn"
fi

if stage 5 "train" needs "$data/train" "$data/dev" "$data/tokens.txt" "$data/cmvn" \
  makes "$exp/@/checkpoint" "$exp/@/summary.json"; then
  for model in $models; do
    # shellcheck disable=SC2086  # a list of settings
    recitative train --conf "conf/$model.yaml" --train "$data/train" --dev "$data/dev" \
      --tokens "$data/tokens.txt" --cmvn "$data/cmvn" --output "$exp/$model" $train_args
  done
fi

if stage 6 "average" needs "$exp/@/checkpoint" makes "$exp/@/model"; then
  for model in $models; do
    recitative average "$exp/$model"
  done
fi

if stage 7 "decode" needs "$exp/@/model" "$data/test" makes "$exp/@/decode_test/text"; then
  for model in $models; do
    recitative decode "$exp/$model/model" "$data/test" --output "$exp/$model/decode_test"
  done
fi

if stage 8 "score" needs "$exp/@/decode_test/text" "$exp/@/summary.json" \
  makes "$exp/@/decode_test/score" "$exp/results.jsonl"; then
  for model in $models; do
    recitative score "$data/test" "$exp/$model/decode_test/text" --output "$exp/$model/decode_test/score" \
      --model "$model" --set test --decoding greedy --settings "$exp/$model/settings.yaml" \
      --seconds "$(json_number seconds "$exp/$model/decode_test/summary.json")" \
      --train-seconds "$(json_number seconds "$exp/$model/summary.json")" \
      --command "$recipe_command" --results "$exp/results.jsonl" --results-md "$results"
  done
fi

if stage 9 "stream" needs "$exp/@/model" "$exp/@/decode_test/text"; then
  for model in $models; do
    [[ $model != *blstm* ]] || continue # bidirectional: it needs the whole recording
    recitative decode "$exp/$model/model" "$data/test" --output "$exp/$model/stream_test" --chunk-ms "$chunk_ms"
    cmp "$exp/$model/decode_test/text" "$exp/$model/stream_test/text"
    echo "$model: the text in pieces of $chunk_ms ms equals the text of whole recordings"
  done
fi

if stage 10 "export" needs "$exp/@/model" "$data/dev" makes "$exp/@/model.onnx"; then
  for model in $models; do
    recitative export "$exp/$model/model" --dev "$data/dev" --output "$exp/$model/model.onnx"
  done
fi

if stage 11 "report" needs "$exp/@/checkpoint"; then
  for model in $models; do
    recitative report "$exp/$model"
  done
fi
