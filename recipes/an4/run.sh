#!/usr/bin/env bash
# CMU AN4: real speech of 84 people, who spell names and say numbers, dates and addresses. 0.7 h to train on.
# Trains a bidirectional and a streaming LSTM with CTC on the phones of the corpus's dictionary; models are chosen on 8 speakers held out of train,
# the official test set is scored once.

models="blstm lstm" # models to train and score; each has conf/<model>.yaml
corpus=""           # folder of a copy of AN4, with etc/ and wav/; without it the fetch stage downloads 64 MB
data=data           # folder of the data directories
exp=exp             # folder of the experiments
results=RESULTS.md  # table that the score stage writes
train_args=""       # settings for training, such as "train.epochs=3 model.recurrent.hidden=64"
subset=0            # use only the first N recordings of each speaker (0: all)
chunk_ms=160        # length of the pieces in the stream stage
# shellcheck source=tools/stages.sh
. "$(dirname "$0")/../../tools/stages.sh"
corpus=$(from_caller "$corpus")

if [[ -z $corpus ]]; then
  corpus=$data/download/an4
  if stage 0 "fetch" makes "$corpus"; then
    python3 local/fetch.py --output "$data/download"
  fi
fi

if stage 1 "prepare" needs "$corpus/etc" makes "$data/train" "$data/dev" "$data/test" "$data/lexicon.txt" "$data/tokens.txt"; then
  python3 local/prepare.py --corpus "$corpus" --dev-speakers local/dev_speakers.txt --output "$data" --subset "$subset"
  recitative lexicon "$data/train" "$data/dev" --dictionary "$data/dictionary.txt" --whole --output "$data/lexicon.txt"
  recitative tokens "$data/lexicon.txt" --unit phone --output "$data/tokens.txt"
fi

if stage 2 "check" needs "$data/train" "$data/dev" "$data/test" "$data/lexicon.txt" "$data/tokens.txt"; then
  for set in train dev test; do
    recitative check "$data/$set" --conf "conf/${models%% *}.yaml" --tokens "$data/tokens.txt" --lexicon "$data/lexicon.txt"
  done
fi

if stage 3 "features" needs "$data/train" makes "$data/cmvn"; then # computed on the fly; only their mean is kept
  recitative cmvn "$data/train" --conf "conf/${models%% *}.yaml" --output "$data/cmvn"
fi

if stage 5 "train" needs "$data/train" "$data/dev" "$data/lexicon.txt" "$data/tokens.txt" "$data/cmvn" \
  makes "$exp/@/checkpoint" "$exp/@/summary.json"; then
  for model in $models; do
    # shellcheck disable=SC2086  # a list of settings
    recitative train --conf "conf/$model.yaml" --train "$data/train" --dev "$data/dev" \
      --tokens "$data/tokens.txt" --lexicon "$data/lexicon.txt" --cmvn "$data/cmvn" --output "$exp/$model" $train_args
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

if stage 10 "export" needs "$exp/@/model" "$data/dev" "$data/test" makes "$exp/@/model.onnx" "$exp/results.jsonl"; then
  for model in $models; do # the file that users run is scored too: it may be int8
    recitative export "$exp/$model/model" --dev "$data/dev" --notes local/model_notes.md --output "$exp/$model/model.onnx"
    recitative decode "$exp/$model/model.onnx" "$data/test" --output "$exp/$model/runtime_test"
    recitative score "$data/test" "$exp/$model/runtime_test/text" --output "$exp/$model/runtime_test/score" \
      --model "$model" --set test --decoding "greedy, model.onnx" --settings "$exp/$model/settings.yaml" \
      --seconds "$(json_number seconds "$exp/$model/runtime_test/summary.json")" \
      --command "$recipe_command" --results "$exp/results.jsonl" --results-md "$results"
  done
fi

if stage 11 "report" needs "$exp/@/checkpoint"; then
  for model in $models; do
    recitative report "$exp/$model"
  done
fi
