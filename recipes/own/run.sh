#!/usr/bin/env bash
# Your own recordings: from a folder of audio and transcripts to a recogniser that listens to the microphone.
# Chooses model and schedule by the hours of audio, the speakers and this machine, trains, scores on recordings that
# were held out, and says how to use what came out. Without --audio it shows all this on the recordings of recipes/digits.

audio=""           # folder of your recordings; transcripts are .txt files beside them, a --table, or lhotse's manifests
table=""           # CSV or TSV with the columns path, text and perhaps speaker
models="lstm"      # lstm streams, blstm hears whole recordings first and makes fewer errors; or "lstm blstm"
hours=""           # that training of a model may take; without it as long as the corpus is worth
import_args=""     # options for 'recitative data import', such as "--skip-bad --speaker-per-file"
part=0.1           # of the recordings held out for dev, and as many for test
data=data          # folder of the data directories
exp=exp            # folder of the experiments
results=RESULTS.md # table that the score stage writes
train_args=""      # settings for training, such as "train.epochs=3 model.recurrent.hidden=64"
drop_bad=false     # leave out the utterances that the check finds a problem with, 5 % of a set at most
chunk_ms=160       # length of the pieces in the stream stage
num_gpus=1         # workers on each machine; without GPUs, processes on the CPU
num_nodes=1        # machines that train together
# shellcheck source=tools/stages.sh
. "$(dirname "$0")/../../tools/stages.sh"
audio=$(from_caller "$audio") table=$(from_caller "$table")
if [[ -z $audio ]]; then
  audio=../digits/corpus table=../digits/corpus/manifest.tsv
fi

if stage 1 "prepare" needs "$audio" makes "$data/train" "$data/dev" "$data/test" "$data/tokens.txt" "$data/conf/@.yaml"; then
  # shellcheck disable=SC2086  # a list of options
  recitative data import "$audio" "$data/all" ${table:+--table "$table"} $import_args
  python3 local/divide.py "$data/all" "$data" --part "$part"
  recitative tokens "$data/all" --output "$data/tokens.txt" # a letter that only test has is a letter too
  for model in $models; do
    offline=() && [[ $model != blstm ]] || offline=(--offline)
    recitative suggest "$data/train" --output "$data/conf/$model.yaml" "${offline[@]}" ${hours:+--hours "$hours"}
  done
fi

if stage 2 "check" needs "$data/train" "$data/dev" "$data/test" "$data/tokens.txt" "$data/conf/@.yaml"; then
  drop=() && [[ $drop_bad == false ]] || drop=(--fix --drop-bad)
  for set in train dev test; do
    recitative check "$data/$set" --conf "$data/conf/${models%% *}.yaml" --tokens "$data/tokens.txt" "${drop[@]}"
  done
fi

if stage 3 "features" needs "$data/train" "$data/conf/@.yaml" makes "$data/cmvn" "$data/train_shards/index.safetensors"; then
  recitative cmvn "$data/train" --conf "$data/conf/${models%% *}.yaml" --output "$data/cmvn"
  recitative shards "$data/train" "$data/train_shards"
fi

if stage 4 "language model" needs "$data/train" "$data/dev" makes "$data/lm.arpa"; then
  recitative lm train "$data/train" --order 3 --dev "$data/dev" --output "$data/lm.arpa"
fi

if stage 5 "train" needs "$data/train_shards/index.safetensors" "$data/dev" "$data/tokens.txt" "$data/cmvn" "$data/conf/@.yaml" \
  makes "$exp/@/checkpoint" "$exp/@/summary.json"; then
  for model in $models; do
    # shellcheck disable=SC2086  # a list of settings
    on_workers train --conf "$data/conf/$model.yaml" --train "$data/train_shards" --dev "$data/dev" \
      --tokens "$data/tokens.txt" --cmvn "$data/cmvn" --output "$exp/$model" $train_args
  done
fi

if stage 6 "average" needs "$exp/@/checkpoint" "$data/dev" "$data/lm.arpa" makes "$exp/@/model"; then
  for model in $models; do # the language model and its weight go into the model
    recitative average "$exp/$model"
    recitative tune "$exp/$model/model" "$data/dev" --lm "$data/lm.arpa"
  done
fi

if stage 7 "decode" needs "$exp/@/model" "$data/test" makes "$exp/@/decode_test/text" "$exp/@/decode_test_without_lm/text"; then
  for model in $models; do
    recitative decode "$exp/$model/model" "$data/test" --lm none --output "$exp/$model/decode_test_without_lm"
    recitative decode "$exp/$model/model" "$data/test" --output "$exp/$model/decode_test"
  done
fi

score_test() { # decoding, folder of the text, further options
  recitative score "$data/test" "$2/text" --output "$2/score" --model "$model" --set test --decoding "$1" \
    --settings "$exp/$model/model/settings.yaml" --seconds "$(json_number seconds "$2/summary.json")" \
    --command "$recipe_command" --results "$exp/results.jsonl" --results-md "$results" "${@:3}"
}

if stage 8 "score" needs "$exp/@/decode_test/text" "$exp/@/summary.json" makes "$exp/@/decode_test/score" "$exp/results.jsonl"; then
  for model in $models; do
    score_test "beam" "$exp/$model/decode_test_without_lm" --train-seconds "$(json_number seconds "$exp/$model/summary.json")"
    score_test "beam, 3-gram" "$exp/$model/decode_test"
  done
fi

if stage 9 "stream" needs "$exp/@/model" "$exp/@/decode_test/text"; then
  for model in $models; do
    [[ $model != blstm ]] || continue # bidirectional: it needs the whole recording
    recitative decode "$exp/$model/model" "$data/test" --output "$exp/$model/stream_test" --chunk-ms "$chunk_ms"
    cmp "$exp/$model/decode_test/text" "$exp/$model/stream_test/text"
    echo "$model: the text in pieces of $chunk_ms ms equals the text of whole recordings"
  done
fi

if stage 10 "export" needs "$exp/@/model" "$data/dev" makes "$exp/@/model.onnx"; then
  for model in $models; do recitative export "$exp/$model/model" --dev "$data/dev" --output "$exp/$model/model.onnx"; done
fi

if stage 11 "report" needs "$exp/@/checkpoint" "$exp/@/model.onnx"; then
  for model in $models; do
    recitative report "$exp/$model"
    file=$(realpath "$exp/$model/model.onnx")
    [[ $model == blstm ]] || echo "to speak to it: recitative listen --model $file"
    echo "for recordings: recitative transcribe recording.wav --model $file"
  done
fi
