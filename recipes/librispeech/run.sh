#!/usr/bin/env bash
# LibriSpeech: read English books, from five hours (mini) to 960. Downloads what it needs from OpenSLR.
# Trains a bidirectional LSTM with CTC on sentence pieces, then a streaming one that it teaches. Models are chosen on
# the official dev sets, the official test sets are scored once.

models="blstm lstm" # models to train and score, a teacher before its students; each has conf/<conf_set>/<model>.yaml
teacher=blstm       # the model that teaches the others; empty: each learns from the transcripts alone
size=mini           # hours to train on: mini (5), 100, 460 or 960
conf_set=cpu        # settings for a machine: cpu, gpu (one GPU) or gpu8 (eight)
pieces=""           # sentence pieces, the blank included; empty: 256 for mini, 512 for 100, 1024 for more
lm_lines=0          # lines of the official text for language models beside the transcripts; above 0: 1.4 GB more
corpus=""           # folder LibriSpeech of a copy, with one folder a part; without it the fetch stage downloads
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
corpus=$(from_caller "$corpus") conf=conf/$conf_set
lm_text=$([[ $lm_lines == 0 ]] || echo "$data/lm_text")
[[ -n $pieces ]] || case $size in mini) pieces=256 ;; 100) pieces=512 ;; *) pieces=1024 ;; esac

if [[ -z $corpus ]]; then
  corpus=$data/download/LibriSpeech
  if stage 0 "fetch" makes "$corpus"; then
    python3 local/fetch.py --size "$size" --output "$data/download" ${lm_text:+--lm-text}
  fi
fi

if stage 1 "prepare" needs "$corpus" makes "$data/train" "$data/dev" "$data/test_clean" "$data/test_other" "$data/tokens.txt"; then
  python3 local/prepare.py --corpus "$corpus" --size "$size" --output "$data" --subset "$subset"
  recitative tokens "$data/train" --unit piece --size "$pieces" --output "$data/tokens.txt"
fi

if stage 2 "check" needs "$data/train" "$data/dev" "$data/test_clean" "$data/test_other" "$data/tokens.txt"; then
  for set in train dev test_clean test_other; do
    recitative check "$data/$set" --conf "$conf/${models%% *}.yaml" --tokens "$data/tokens.txt"
  done
fi

if stage 3 "features" needs "$data/train" makes "$data/cmvn" "$data/train_shards/index.safetensors"; then
  recitative cmvn "$data/train" --conf "$conf/${models%% *}.yaml" --output "$data/cmvn"
  recitative shards "$data/train" "$data/train_shards"
fi

if stage 4 "language model" needs "$data/train" "$data/dev" makes "$data/lm.arpa"; then
  [[ -z $lm_text ]] || python3 local/prepare.py --lm-text "$(dirname "$corpus")/librispeech-lm-norm.txt.gz" \
    --lines "$lm_lines" --output "$data"
  recitative lm train "$data/train" ${lm_text:+"$lm_text"} --dev "$data/dev" --prune 1e-8 --output "$data/lm.arpa"
fi

if stage 5 "train" needs "$data/train_shards/index.safetensors" "$data/dev" "$data/tokens.txt" "$data/cmvn" \
  makes "$exp/@/checkpoint" "$exp/@/summary.json"; then
  for model in $models; do
    taught=()
    [[ -z $teacher || $model == "$teacher" ]] || taught=(--teacher "$exp/$teacher/model")
    # shellcheck disable=SC2086  # a list of settings
    on_workers train --conf "$conf/$model.yaml" --train "$data/train_shards" --dev "$data/dev" \
      --tokens "$data/tokens.txt" --cmvn "$data/cmvn" --output "$exp/$model" "${taught[@]}" $train_args
    [[ $model != "$teacher" ]] || recitative average "$exp/$model" # before it teaches
  done
fi

if stage 6 "average" needs "$exp/@/checkpoint" "$data/dev" "$data/lm.arpa" makes "$exp/@/model"; then
  for model in $models; do # the language model and its weight go into the model; its words are any
    recitative average "$exp/$model"
    recitative tune "$exp/$model/model" "$data/dev" --lm "$data/lm.arpa"
  done
fi

if stage 7 "decode" needs "$exp/@/model" "$data/test_clean" "$data/test_other" makes "$exp/@/decode_test_other/text"; then
  for model in $models; do
    for set in test_clean test_other; do
      recitative decode "$exp/$model/model" "$data/$set" --lm none --output "$exp/$model/decode_${set}_without_lm"
      recitative decode "$exp/$model/model" "$data/$set" --output "$exp/$model/decode_$set"
    done
  done
fi

score_test() { # decoding, folder of the text
  recitative score "$data/$set" "$2/text" --output "$2/score" --model "$model" --set "$set" --decoding "$1" \
    --settings "$exp/$model/model/settings.yaml" --seconds "$(json_number seconds "$2/summary.json")" \
    --command "$recipe_command" --results "$exp/results.jsonl" --results-md "$results"
}
if stage 8 "score" needs "$exp/@/decode_test_other/text" "$exp/@/summary.json" makes "$exp/results.jsonl"; then
  for model in $models; do
    for set in test_clean test_other; do
      score_test "beam" "$exp/$model/decode_${set}_without_lm"
      score_test "beam, 3-gram" "$exp/$model/decode_$set"
    done
  done
fi

if stage 9 "stream" needs "$exp/@/model" "$exp/@/decode_test_other/text"; then
  for model in $models; do
    [[ $model != *blstm* ]] || continue # bidirectional: it needs the whole recording
    for set in test_clean test_other; do
      recitative decode "$exp/$model/model" "$data/$set" --output "$exp/$model/stream_$set" --chunk-ms "$chunk_ms"
      cmp "$exp/$model/decode_$set/text" "$exp/$model/stream_$set/text"
      echo "$model, $set: the text in pieces of $chunk_ms ms equals the text of whole recordings"
    done
  done
fi

if stage 10 "export" needs "$exp/@/model" "$data/dev" makes "$exp/@/model.onnx"; then
  for model in $models; do recitative export "$exp/$model/model" --dev "$data/dev" --output "$exp/$model/model.onnx"; done
fi

if stage 11 "report" needs "$exp/@/checkpoint"; then
  for model in $models; do recitative report "$exp/$model"; done
fi
