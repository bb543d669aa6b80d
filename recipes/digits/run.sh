#!/usr/bin/env bash
# Connected digits by 28 synthetic voices, 6 of them for test only. The corpus is in this folder.
# Trains a bidirectional and a streaming LSTM with CTC on words and scores both on the unseen voices.
# --models las adds an attention decoder, which rescores the 20 best hypotheses.

models="blstm lstm" # models to train and score; each has conf/<model>.yaml
data=data           # folder of the data directories
exp=exp             # folder of the experiments
results=RESULTS.md  # table that the score stage writes
train_args=""       # settings for training, such as "train.epochs=3 model.recurrent.hidden=64"
subset=0            # use only the first N recordings of each voice (0: all)
chunk_ms=160        # chunk size of the stream stage
num_gpus=1          # workers on each machine; without GPUs, processes on the CPU
num_nodes=1         # machines that train together
# shellcheck source=tools/stages.sh
. "$(dirname "$0")/../../tools/stages.sh"
# shellcheck source=tools/asr_stages.sh
. ../../tools/asr_stages.sh
lm_order=2

if stage 1 "prepare" needs corpus/manifest.tsv makes "$data/train" "$data/dev" "$data/test" "$data/tokens.txt"; then
  python3 local/prepare.py --corpus corpus --output "$data" --subset "$subset"
  recitative tokens "$data/train" --unit word --output "$data/tokens.txt"
fi

shared_stages 2 3 4 5 6

if stage 7 "decode" needs "$exp/@/model" "$data/test" "$data/dev" \
  makes "$exp/@/decode_test/text" "$exp/@/decode_test/nbest.jsonl" "$exp/@/decode_dev/nbest.jsonl" \
  "$exp/@/decode_test_without_lm/text"; then
  for model in $models; do
    recitative decode "$exp/$model/model" "$data/test" --lm none --output "$exp/$model/decode_test_without_lm"
    recitative decode "$exp/$model/model" "$data/test" --nbest 20 --output "$exp/$model/decode_test"
    recitative decode "$exp/$model/model" "$data/dev" --nbest 20 --output "$exp/$model/decode_dev"
  done
fi

if stage 8 "score" needs "$exp/@/decode_test/nbest.jsonl" "$exp/@/decode_dev/nbest.jsonl" "$exp/@/summary.json" \
  makes "$exp/@/decode_test/score" "$exp/results.jsonl"; then
  set="test"
  for model in $models; do
    score_text "beam" "$exp/$model/decode_test_without_lm" \
      --train-seconds "$(json_number seconds "$exp/$model/summary.json")"
    score_text "beam, 2-gram" "$exp/$model/decode_test" --words "$exp/$model/decode_test/words.jsonl"
    if [[ $model == *las* ]]; then
      recitative rescore "$data/test" "$exp/$model/decode_test/nbest.jsonl" --output "$exp/$model/rescore_test" \
        --dev "$data/dev" --dev-nbest "$exp/$model/decode_dev/nbest.jsonl" --model "$exp/$model/model"
      score_text "beam, 2-gram, attention on 20-best" "$exp/$model/rescore_test"
    fi
  done
fi

shared_stages 9 10 11
