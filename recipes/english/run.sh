#!/usr/bin/env bash
# Read English, 5 h of 128 speakers, most of them learners of English and half of those children: a hard test set.
# Trains a bidirectional LSTM with CTC on letters, a streaming one, and another that the first one teaches. Models are
# chosen on 13 speakers held out of train, the official test set of speechocean762 is scored once.

models="blstm lstm student" # models to train and score, in this order; each has conf/<model>.yaml
teacher=blstm       # the model that teaches 'student'; the others learn from the transcripts alone
corpus=data/corpus  # folder of the corpus, with manifest.tsv
data=data           # folder of the data directories
exp=exp             # folder of the experiments
results=RESULTS.md  # table that the score stage writes
train_args=""       # settings for training, such as "train.epochs=3 model.recurrent.hidden=64"
subset=0            # use only the first N recordings of each speaker (0: all)
chunk_ms=160        # length of the pieces in the stream stage
num_gpus=1          # workers on each machine; without GPUs, processes on the CPU
num_nodes=1         # machines that train together
# shellcheck source=tools/stages.sh
. "$(dirname "$0")/../../tools/stages.sh"
[[ $corpus == data/corpus ]] || corpus=$(from_caller "$corpus")

if stage 1 "prepare" needs "$corpus/manifest.tsv" makes "$data/train" "$data/dev" "$data/test" "$data/tokens.txt"; then
  python3 local/prepare.py --corpus "$corpus" --dev-speakers local/dev_speakers.txt --left-out local/left_out.txt \
    --output "$data" --subset "$subset"
  recitative tokens "$data/train" --output "$data/tokens.txt"
fi

if stage 2 "check" needs "$data/train" "$data/dev" "$data/test" "$data/tokens.txt"; then
  for set in train dev test; do
    recitative check "$data/$set" --conf "conf/${models%% *}.yaml" --tokens "$data/tokens.txt"
  done
fi

if stage 3 "features" needs "$data/train" makes "$data/cmvn" "$data/train_shards/index.safetensors"; then
  recitative cmvn "$data/train" --conf "conf/${models%% *}.yaml" --output "$data/cmvn"
  recitative shards "$data/train" "$data/train_shards"
fi

if stage 4 "language model" needs "$data/train" "$data/dev" "$data/tokens.txt" makes "$data/lm.arpa" "$data/lexicon.txt"; then
  recitative lm train "$data/train" --order 4 --dev "$data/dev" --output "$data/lm.arpa"
  recitative lexicon "$data/train" --tokens "$data/tokens.txt" --output "$data/lexicon.txt" # every word spelled
fi

if stage 5 "train" needs "$data/train_shards/index.safetensors" "$data/dev" "$data/tokens.txt" "$data/cmvn" \
  makes "$exp/@/checkpoint" "$exp/@/summary.json"; then
  for model in $models; do
    taught=()
    [[ $model != student ]] || taught=(--teacher "$exp/$teacher/model")
    # shellcheck disable=SC2086  # a list of settings
    on_workers train --conf "conf/$model.yaml" --train "$data/train_shards" --dev "$data/dev" \
      --tokens "$data/tokens.txt" --cmvn "$data/cmvn" --output "$exp/$model" "${taught[@]}" $train_args
    [[ $model != "$teacher" ]] || recitative average "$exp/$model" # before it teaches
  done
fi

if stage 6 "average" needs "$exp/@/checkpoint" "$data/dev" "$data/lm.arpa" "$data/lexicon.txt" \
  makes "$exp/@/letters" "$exp/@/model"; then
  for model in $models; do # words, language model and its weight go into the model; exp/<model>/letters is without
    recitative average "$exp/$model"
    mkdir -p "$exp/$model/letters"
    cp "$exp/$model/model/"* "$exp/$model/letters"
    recitative tune "$exp/$model/model" "$data/dev" --lm "$data/lm.arpa" --lexicon "$data/lexicon.txt"
  done
fi

if stage 7 "decode" needs "$exp/@/letters" "$exp/@/model" "$data/test" \
  makes "$exp/@/decode_test/text" "$exp/@/decode_test_letters/text"; then
  for model in $models; do
    recitative decode "$exp/$model/letters" "$data/test" --output "$exp/$model/decode_test_letters"
    recitative decode "$exp/$model/model" "$data/test" --output "$exp/$model/decode_test"
  done
fi

score_test() { # decoding, folder of the text, further options
  recitative score "$data/test" "$2/text" --output "$2/score" --model "$model" --set test --decoding "$1" \
    --settings "$exp/$model/model/settings.yaml" --seconds "$(json_number seconds "$2/summary.json")" \
    --command "$recipe_command" --results "$exp/results.jsonl" --results-md "$results" "${@:3}"
}

if stage 8 "score" needs "$exp/@/decode_test/text" "$exp/@/decode_test_letters/text" "$exp/@/summary.json" \
  makes "$exp/@/decode_test/score" "$exp/results.jsonl"; then
  for model in $models; do
    score_test "greedy" "$exp/$model/decode_test_letters" \
      --train-seconds "$(json_number seconds "$exp/$model/summary.json")"
    score_test "lexicon, 4-gram" "$exp/$model/decode_test" --words "$exp/$model/decode_test/words.jsonl"
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
  for model in $models; do recitative report "$exp/$model"; done
fi
