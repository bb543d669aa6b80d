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
# shellcheck source=tools/asr_stages.sh
. ../../tools/asr_stages.sh
conf=$data/conf shards=true
[[ $drop_bad == false ]] || check_args=(--fix --drop-bad)

if stage 1 "prepare" needs "$audio" makes "$data/train" "$data/dev" "$data/test" "$tokens" "$conf/@.yaml"; then
  # shellcheck disable=SC2086  # a list of options
  recitative data import "$audio" "$data/all" ${table:+--table "$table"} $import_args
  python3 local/divide.py "$data/all" "$data" --part "$part"
  recitative tokens "$data/all" --output "$tokens" # a letter that only test has is a letter too
  for model in $models; do
    direction=() && [[ $model != blstm ]] || direction=(--offline)
    recitative suggest "$data/train" --output "$conf/$model.yaml" "${direction[@]}" ${hours:+--hours "$hours"}
  done
fi

shared_stages 2 3 4 5 6 7 8 9 10

if stage 11 "report" needs "$exp/@/checkpoint" "$exp/@/model.onnx"; then
  for model in $models; do
    recitative report "$exp/$model"
    file=$(realpath "$exp/$model/model.onnx")
    [[ $model == blstm ]] || echo "to speak to it: recitative listen --model $file"
    echo "for recordings: recitative transcribe recording.wav --model $file"
  done
fi
