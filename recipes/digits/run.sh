#!/usr/bin/env bash
# Connected digits spoken by 28 synthetic voices, 6 of them unseen in training. The corpus is in this folder.
# Trains a bidirectional and a streaming LSTM with CTC on words and scores both on the unseen voices.
# With --models las: one with an attention decoder beside CTC, which then chooses among CTC's 20 best.

models="blstm lstm" # models to train and score; each has conf/<model>.yaml
data=data           # folder of the data directories
exp=exp             # folder of the experiments
results=RESULTS.md  # table that the score stage writes
train_args=""       # settings for training, such as "train.epochs=3 model.recurrent.hidden=64"
subset=0            # use only the first N recordings of each voice (0: all)
chunk_ms=160        # length of the pieces in the stream stage
num_gpus=1          # workers on each machine; without GPUs, processes on the CPU
num_nodes=1         # machines that train together
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

if stage 4 "language model" needs "$data/train" "$data/dev" makes "$data/lm.arpa"; then
  recitative lm train "$data/train" --order 2 --dev "$data/dev" --output "$data/lm.arpa"
fi

if stage 5 "train" needs "$data/train" "$data/dev" "$data/tokens.txt" "$data/cmvn" \
  makes "$exp/@/checkpoint" "$exp/@/summary.json"; then
  for model in $models; do
    # shellcheck disable=SC2086  # a list of settings
    on_workers train --conf "conf/$model.yaml" --train "$data/train" --dev "$data/dev" \
      --tokens "$data/tokens.txt" --cmvn "$data/cmvn" --output "$exp/$model" $train_args
  done
fi

if stage 6 "average" needs "$exp/@/checkpoint" "$data/dev" "$data/lm.arpa" makes "$exp/@/model"; then
  for model in $models; do # the language model and its weight go into the model
    recitative average "$exp/$model"
    recitative tune "$exp/$model/model" "$data/dev" --lm "$data/lm.arpa"
  done
fi

if stage 7 "decode" needs "$exp/@/model" "$data/test" "$data/dev" \
  makes "$exp/@/decode_test/text" "$exp/@/decode_test/nbest.jsonl" "$exp/@/decode_dev/nbest.jsonl" \
  "$exp/@/decode_test_without_lm/text"; then
  for model in $models; do
    recitative decode "$exp/$model/model" "$data/test" --lm none --output "$exp/$model/decode_test_without_lm"
    recitative decode "$exp/$model/model" "$data/test" --nbest 20 --output "$exp/$model/decode_test"
    recitative decode "$exp/$model/model" "$data/dev" --nbest 20 --output "$exp/$model/decode_dev"
  done
fi

score_test() { # decoding, folder of the text, further options
  recitative score "$data/test" "$2/text" --output "$2/score" --model "$model" --set test --decoding "$1" \
    --settings "$exp/$model/model/settings.yaml" --command "$recipe_command" \
    --results "$exp/results.jsonl" --results-md "$results" "${@:3}"
}

if stage 8 "score" needs "$exp/@/decode_test/nbest.jsonl" "$exp/@/decode_dev/nbest.jsonl" "$exp/@/summary.json" \
  makes "$exp/@/decode_test/score" "$exp/results.jsonl"; then
  for model in $models; do
    score_test "beam" "$exp/$model/decode_test_without_lm" \
      --seconds "$(json_number seconds "$exp/$model/decode_test_without_lm/summary.json")" \
      --train-seconds "$(json_number seconds "$exp/$model/summary.json")"
    score_test "beam, 2-gram" "$exp/$model/decode_test" --words "$exp/$model/decode_test/words.jsonl" \
      --seconds "$(json_number seconds "$exp/$model/decode_test/summary.json")"
    if [[ $model == *las* ]]; then
      recitative rescore "$data/test" "$exp/$model/decode_test/nbest.jsonl" --output "$exp/$model/rescore_test" \
        --dev "$data/dev" --dev-nbest "$exp/$model/decode_dev/nbest.jsonl" --model "$exp/$model/model"
      score_test "beam, 2-gram, attention on 20-best" "$exp/$model/rescore_test"
    fi
  done
fi

if stage 9 "stream" needs "$exp/@/model" "$exp/@/decode_test/text"; then
  for model in $models; do
    [[ $model == lstm* ]] || continue # the others are bidirectional: they need the whole recording
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
