#!/usr/bin/env bash
# One language of Mozilla's Common Voice: sentences read by volunteers, with the official train, dev and test sets.
# Chooses model and schedule from the hours of audio, the speakers and this machine, and trains with CTC on characters.

corpus=""          # folder of an unpacked language, with clips/, train.tsv, dev.tsv and test.tsv; default: data/corpus
models="lstm"      # lstm (streaming), blstm (bidirectional, fewer errors), or "lstm blstm"
hours=""           # time limit for training one model; default: as long as the amount of data warrants
import_args="--skip-bad" # options for 'recitative data import'; skipped rows are listed in data/<set>/skipped.txt
data=data          # folder of the data directories
exp=exp            # folder of the experiments
results=RESULTS.md # table that the score stage writes
train_args=""      # settings for training, such as "train.epochs=3 model.recurrent.hidden=64"
drop_bad=true      # leave out utterances in which the check finds a problem, at most 5 % of a set
chunk_ms=160       # chunk size of the stream stage
num_gpus=1         # workers on each machine; without GPUs, processes on the CPU
num_nodes=1        # machines that train together
# shellcheck source=tools/stages.sh
. "$(dirname "$0")/../../tools/stages.sh"
corpus=${corpus:+$(from_caller "$corpus")} && corpus=${corpus:-$data/corpus}
# shellcheck source=tools/asr_stages.sh
. ../../tools/asr_stages.sh
conf=$data/conf shards=true

if stage 1 "prepare" needs "$corpus/clips" "$corpus/train.tsv" "$corpus/dev.tsv" "$corpus/test.tsv" \
  makes "$data/train" "$data/dev" "$data/test" "$tokens" "$conf/@.yaml"; then
  for set in train dev test; do
    # shellcheck disable=SC2086  # a list of options
    recitative data import "$corpus" "$data/$set" --table "$corpus/$set.tsv" $import_args
  done
  recitative tokens "$data/train" "$data/dev" --output "$tokens"
  for model in $models; do
    direction=() && [[ $model != blstm ]] || direction=(--offline)
    recitative init-config "$data/train" --output "$conf/$model.yaml" "${direction[@]}" ${hours:+--hours "$hours"}
  done
fi

if stage 2 "check" needs "$data/train" "$data/dev" "$data/test" "$tokens" "$conf/@.yaml"; then
  drop=() && [[ $drop_bad == false ]] || drop=(--fix --drop-bad)
  for set in train dev; do
    recitative check "$data/$set" --conf "$conf/${models%% *}.yaml" --tokens "$tokens" "${drop[@]}"
  done
  recitative check "$data/test" --conf "$conf/${models%% *}.yaml" "${drop[@]}" # without --tokens: test may have unseen letters
fi

shared_stages 3 4 5 6 7 8 9 10 11
