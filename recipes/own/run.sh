#!/usr/bin/env bash
# Your own recordings: from a folder of audio and transcripts to a recognizer for the microphone. Chooses model and schedule
# from the hours of audio, the speakers and this machine, trains, scores on held-out recordings, and prints how to use
# the model. Without --audio it uses the recordings of recipes/digits as an example.

audio=""           # folder of your recordings; transcripts are .txt files beside them, a --table, or lhotse's manifests
table=""           # CSV or TSV with the columns path, text and perhaps speaker
models="lstm"      # lstm (streaming), blstm (bidirectional, fewer errors), or "lstm blstm"
hours=""           # time limit for training one model; default: as long as the amount of data warrants
import_args=""     # options for 'recitative data import', such as "--skip-bad --speaker-per-file"
part=0.1           # share of the recordings to hold out for dev, and again for test
data=data          # folder of the data directories
exp=exp            # folder of the experiments
results=RESULTS.md # table that the score stage writes
train_args=""      # settings for training, such as "train.epochs=3 model.recurrent.hidden=64"
drop_bad=false     # leave out utterances in which the check finds a problem, at most 5 % of a set
chunk_ms=160       # chunk size of the stream stage
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
  recitative tokens "$data/all" --output "$tokens" # test may have letters that train lacks
  for model in $models; do
    direction=() && [[ $model != blstm ]] || direction=(--offline)
    recitative init-config "$data/train" --output "$conf/$model.yaml" "${direction[@]}" ${hours:+--hours "$hours"}
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
