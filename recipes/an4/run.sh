#!/usr/bin/env bash
# CMU AN4: 84 people spell names and say numbers, dates and addresses. 0.7 h of training data.
# Trains a bidirectional and a streaming LSTM with CTC on the phones of the corpus's dictionary. 8 speakers held
# out of train select the models; the official test set is scored once.

models="blstm lstm" # models to train and score; each has conf/<model>.yaml
corpus=""           # folder of a copy of AN4, with etc/ and wav/; default: download (64 MB)
data=data           # folder of the data directories
exp=exp             # folder of the experiments
results=RESULTS.md  # table that the score stage writes
train_args=""       # settings for training, such as "train.epochs=3 model.recurrent.hidden=64"
init=""             # model folder to fine-tune, such as ../english/exp/blstm/model
teacher=blstm       # teacher of the model 'student' (conf/student.yaml)
subset=0            # use only the first N recordings of each speaker (0: all)
chunk_ms=160        # chunk size of the stream stage
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

# shellcheck source=tools/asr_stages.sh
. ../../tools/asr_stages.sh
lexicon=$data/lexicon.txt lm_order=4 rnnlm=$exp/rnnlm/model search=lexicon time_words=true score_exported=true

if stage 1 "prepare" needs "$corpus/etc" makes "$data/train" "$data/dev" "$data/test" "$data/lexicon.txt" "$data/tokens.txt"; then
  python3 local/prepare.py --corpus "$corpus" --dev-speakers local/dev_speakers.txt --output "$data" --subset "$subset"
  recitative lexicon "$data/train" "$data/dev" --dictionary "$data/dictionary.txt" --whole --output "$data/lexicon.txt"
  recitative tokens "$data/lexicon.txt" --unit phone --output "$data/tokens.txt"
fi

shared_stages 2 3 4 5 6 7 8 9 10 11
