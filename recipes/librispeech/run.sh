#!/usr/bin/env bash
# LibriSpeech: read English books, 5 hours (mini) to 960, downloaded from OpenSLR. Trains a bidirectional LSTM with CTC on
# word pieces, then a streaming one distilled from it. The official dev sets select the models; the official test sets
# are scored once.

models="blstm lstm" # models to train and score, a teacher before its students; each has conf/<conf_set>/<model>.yaml
teacher=blstm       # teacher of the other models; empty: no distillation
size=mini           # hours of training data: mini (5), 100, 460 or 960
conf_set=cpu        # settings for the machine: cpu, gpu (one GPU) or gpu8 (eight)
pieces=""           # word pieces, including the blank; empty: 256 for mini, 512 for 100, 1024 for more
lm_lines=0          # lines of the official language model text to add; above 0: 1.4 GB more to download
corpus=""           # folder LibriSpeech of a copy, with a folder for each part; default: download
data=data           # folder of the data directories
exp=exp             # folder of the experiments
results=RESULTS.md  # table that the score stage writes
train_args=""       # settings for training, such as "train.epochs=3 model.recurrent.hidden=64"
subset=0            # use only the first N recordings of each speaker (0: all)
chunk_ms=160        # chunk size of the stream stage
num_gpus=1          # workers on each machine; without GPUs, processes on the CPU
num_nodes=1         # machines that train together
# shellcheck source=tools/stages.sh
. "$(dirname "$0")/../../tools/stages.sh"
corpus=$(from_caller "$corpus")
lm_text=$([[ $lm_lines == 0 ]] || echo "$data/lm_text")
[[ -n $pieces ]] || case $size in mini) pieces=256 ;; 100) pieces=512 ;; *) pieces=1024 ;; esac

if [[ -z $corpus ]]; then
  corpus=$data/download/LibriSpeech
  if stage 0 "fetch" makes "$corpus"; then
    python3 local/fetch.py --size "$size" --output "$data/download" ${lm_text:+--lm-text}
  fi
fi

# shellcheck source=tools/asr_stages.sh
. ../../tools/asr_stages.sh
conf=conf/$conf_set shards=true students="*" test_sets="test_clean test_other"
sets=("$data/train" "$data/dev" "$data/test_clean" "$data/test_other")

if stage 1 "prepare" needs "$corpus" makes "$data/train" "$data/dev" "$data/test_clean" "$data/test_other" "$data/tokens.txt"; then
  python3 local/prepare.py --corpus "$corpus" --size "$size" --output "$data" --subset "$subset"
  recitative tokens "$data/train" --unit piece --size "$pieces" --output "$data/tokens.txt"
fi

shared_stages 2 3

if stage 4 "language model" needs "$data/train" "$data/dev" makes "$data/lm.arpa"; then
  [[ -z $lm_text ]] || python3 local/prepare.py --lm-text "$(dirname "$corpus")/librispeech-lm-norm.txt.gz" \
    --lines "$lm_lines" --output "$data"
  recitative lm train "$data/train" ${lm_text:+"$lm_text"} --dev "$data/dev" --prune 1e-8 --output "$data/lm.arpa"
fi

shared_stages 5 6 7 8 9 10 11
