#!/usr/bin/env bash
# Google's Speech Commands, version 2: classification of one-second recordings as ten commands, unknown words and silence,
# or as 35 words. 16 kHz. Downloads the corpus.

models="command"   # models to train; each has conf/<model>.yaml
classes=12         # labels: 12 (ten commands, _unknown_ and _silence_) or 35 (all words)
corpus=""          # folder of a copy, with a folder for each word; default: download (2.4 GB)
data=data          # folder of the data directories
exp=exp            # folder of the experiments
results=RESULTS.md # table that the score stage writes
train_args=""      # settings for training, such as "train.epochs=3 model.recurrent.hidden=64"
subset=0           # train only on this many recordings of each word; dev and test are complete (0: all)
report_args=""     # options of the report, such as "--errors 50"
# shellcheck source=tools/stages.sh
. "$(dirname "$0")/../../tools/stages.sh"
corpus=$(from_caller "$corpus") downloads=$data/download data=$data/$classes exp=$exp/$classes

if [[ -z $corpus ]]; then
  corpus=$downloads/speech_commands
  if stage 0 "fetch" makes "$corpus"; then
    python3 local/fetch.py --output "$downloads"
  fi
fi

# shellcheck source=tools/classifier_stages.sh
. ../../tools/classifier_stages.sh
decoding="$classes labels" timed="$classes labels, model.onnx, one thread"
title="Speech commands" subtitle="$classes labels, the test set"

if stage 1 "prepare" needs "$corpus" makes "$data/train" "$data/dev" "$data/test" "$labels"; then
  python3 local/prepare.py --corpus "$corpus" --classes "$classes" --output "$data" --subset "$subset"
  recitative tokens "$data/train" --unit word --output "$labels"
fi

shared_stages 2 5 8 10 11 12
