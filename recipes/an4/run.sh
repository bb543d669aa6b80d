#!/usr/bin/env bash
# CMU AN4: real speech of 84 people, who spell names and say numbers, dates and addresses. 0.7 h to train on.
# Trains a bidirectional and a streaming LSTM with CTC on the phones of the corpus's dictionary; models are chosen on 8
# speakers held out of train, the official test set is scored once.

models="blstm lstm" # models to train and score; each has conf/<model>.yaml
corpus=""           # folder of a copy of AN4, with etc/ and wav/; without it the fetch stage downloads 64 MB
data=data           # folder of the data directories
exp=exp             # folder of the experiments
results=RESULTS.md  # table that the score stage writes
train_args=""       # settings for training, such as "train.epochs=3 model.recurrent.hidden=64"
init=""             # a model folder to begin with, such as ../english/exp/blstm/model
teacher=blstm       # the model that teaches 'student', which conf/student.yaml describes
subset=0            # use only the first N recordings of each speaker (0: all)
chunk_ms=160        # length of the pieces in the stream stage
num_gpus=1          # workers on each machine; without GPUs, processes on the CPU
num_nodes=1         # machines that train together
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

if stage 4 "language model" needs "$data/train" "$data/dev" "$data/lexicon.txt" makes "$data/lm.arpa" "$exp/rnnlm/model"; then
  recitative lm train "$data/train" --order 4 --vocab "$data/lexicon.txt" --dev "$data/dev" --output "$data/lm.arpa"
  recitative lm train-recurrent "$data/train" --dev "$data/dev" --unit word --output "$exp/rnnlm"
  recitative lm perplexity "$exp/rnnlm/model" "$data/dev"
fi

if stage 5 "train" needs "$data/train" "$data/dev" "$data/lexicon.txt" "$data/tokens.txt" "$data/cmvn" \
  makes "$exp/@/checkpoint" "$exp/@/summary.json"; then
  for model in $models; do
    taught=() && [[ $model != student* ]] || taught=(--teacher "$exp/$teacher/model")
    # shellcheck disable=SC2086  # a list of settings
    on_workers train --conf "conf/$model.yaml" --train "$data/train" --dev "$data/dev" \
      --tokens "$data/tokens.txt" --lexicon "$data/lexicon.txt" --cmvn "$data/cmvn" --output "$exp/$model" \
      "${taught[@]}" ${init:+--init "$init"} $train_args
  done
fi

if stage 6 "average" needs "$exp/@/checkpoint" "$data/dev" "$data/lm.arpa" makes "$exp/@/model"; then
  for model in $models; do # the language model and its weight go into the model
    recitative average "$exp/$model"
    recitative tune "$exp/$model/model" "$data/dev" --lm "$data/lm.arpa"
  done
fi

if stage 7 "decode" needs "$exp/@/model" "$exp/rnnlm/model" "$data/test" \
  makes "$exp/@/decode_test/text" "$exp/@/decode_test_rnnlm/text" "$exp/@/decode_test_without_lm/text"; then
  for model in $models; do
    recitative decode "$exp/$model/model" "$data/test" --output "$exp/$model/decode_test"
    recitative decode "$exp/$model/model" "$data/test" --lm none --output "$exp/$model/decode_test_without_lm"
    recitative decode "$exp/$model/model" "$data/test" --lm "$exp/rnnlm/model" --output "$exp/$model/decode_test_rnnlm"
  done
fi

score_test() { # decoding, folder of the text, further options
  recitative score "$data/test" "$2/text" --output "$2/score" --model "$model" --set test --decoding "$1" \
    --settings "$exp/$model/model/settings.yaml" --seconds "$(json_number seconds "$2/summary.json")" \
    --command "$recipe_command" --results "$exp/results.jsonl" --results-md "$results" "${@:3}"
}

if stage 8 "score" needs "$exp/@/decode_test/text" "$exp/@/decode_test_rnnlm/text" \
  "$exp/@/decode_test_without_lm/text" "$exp/@/summary.json" makes "$exp/@/decode_test/score" "$exp/results.jsonl"; then
  # Word times are compared with those of the transcripts, as the first model, which hears everything, aligns them.
  recitative align "$exp/${models%% *}/model" "$data/test" --format json --output "$exp/align_test"
  for model in $models; do
    score_test "lexicon" "$exp/$model/decode_test_without_lm" \
      --train-seconds "$(json_number seconds "$exp/$model/summary.json")"
    score_test "lexicon, 4-gram" "$exp/$model/decode_test" --words "$exp/$model/decode_test/words.jsonl" \
      --aligned "$exp/align_test/alignment.jsonl"
    score_test "lexicon, LSTM" "$exp/$model/decode_test_rnnlm"
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
    score_test "lexicon, 4-gram, model.onnx" "$exp/$model/runtime_test"
  done
fi

if stage 11 "report" needs "$exp/@/checkpoint"; then
  for model in $models; do recitative report "$exp/$model"; done
fi
